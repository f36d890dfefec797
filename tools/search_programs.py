"""Search for programs of few products, certify them and write them into the package.

    python tools/search_programs.py run [FOLDER]       do the steps that are missing, one after the other
    python tools/search_programs.py search [FOLDER]    do the searches alone, from the package's programs
    python tools/search_programs.py study [FOLDER]     take over the best programs of the collected study
    python tools/search_programs.py collect [FOLDER]   certify what is better than the package's programs,
                                                       write programs.json and a record

A step composes two programs, follows one to another condition number or searches from many starts, and
improves what it has. Each writes one file, so that to resume is to run again. The study of the page
`search-programs` makes the same searches, with more restarts, and records each.
Results differ in the last digits from one CPU to another: what is in the package is what `collect` certified.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from neuinv import verify
from neuinv._files import write_whole
from neuinv.certificates import program_certificate
from neuinv.iterations import embedding, load_programs
from neuinv.iterations.halving import search_restarts
from neuinv.iterations.objective import Objective, condition_radius, growth, peak, search_objective
from neuinv.iterations.programs import Program
from neuinv.iterations.search import PENALTY, descend, improve, polish, restart
from neuinv.iterations.starts import flat_program
from neuinv.records import write_record
from neuinv.sweep import load_study

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "neuinv" / "iterations" / "programs.json"
RECORDS = ROOT / "book" / "results" / "fewest-products"
DEGREES = (2, 3, 5, 9)
ROUNDS = 10
MARGIN = 1e-6  # of a supremum above what the grid shows
BETTER = 1e-3  # of a supremum, for a program to replace the package's

# (products, kappa, how, from where)
STEPS = [
    *((m, 1e3, "compose", 1e3) for m in (4, 5, 6, 7)),
    *((6, kappa, "walk", start) for start, kappa in ((1e3, 300), (1e3, 100), (100, 30))),
    *((m, 1e3, "compose without penalty", 1e3) for m in (6, 7)),
    (6, 100, "walk without penalty", 1e3),
    *((7, kappa, "walk without penalty", start) for start, kappa in ((1e3, 300), (300, 100))),
    (5, 100, "restart", 0),
    *((5, kappa, "walk", start) for start, kappa in ((100, 30), (30, 10))),
    (7, 1e4, "walk", 1e3),
    (9, 1e4, "compose", 1e4),
    (6, 1e4, "walk", 1e3),
    (8, 1e4, "compose", 1e4),
    (9, 1e6, "walk", 1e4),
    (8, 1e6, "walk", 1e4),
    (5, 300, "walk", 100),
    (4, 100, "walk", 1e3),
    (7, 1e6, "walk", 1e4),
    (4, 10, "restart", 0),
    (5, 10, "more without penalty", 10),
    (9, 1e4, "more", 1e4),
    (9, 1e8, "walk", 1e6),
    (8, 1e8, "walk", 1e6),
    (10, 1e6, "compose", 1e6),
    (9, 1e6, "more", 1e6),
    (9, 1e4, "more without penalty", 1e4),
    (10, 1e4, "compose", 1e4),
    (10, 1e6, "walk", 1e4),
]

# (products, kappa, kind of start, restarts, seed), from the programs that the steps above and these found;
# or for the best one "descend" and a number of cycles, or "polish" and a number of linear programs
SEARCHES = [
    (8, 1e4, "extension", 60, 0),
    (8, 1e3, "mixed", 60, 0),
    (9, 1e4, "extension", 40, 0),
    (9, 1e3, "mixed", 40, 0),
    (10, 1e4, "extension", 30, 0),
    (10, 1e6, "walk", 6, 0),
    (8, 1e3, "walk", 10, 1),
    (9, 1e3, "walk", 6, 1),
    (9, 1e3, "extension", 20, 1),
    (10, 1e8, "walk", 3, 2),
    (8, 1e3, "descend", 12, 0),
    (9, 1e3, "extension", 20, 3),
    (9, 1e3, "descend", 8, 0),
    (9, 1e4, "descend", 4, 0),
    (10, 1e4, "extension", 10, 3),
    (10, 1e4, "descend", 4, 0),
    (10, 1e6, "extension", 10, 3),
    (10, 1e6, "descend", 3, 0),
    (10, 1e6, "descend", 6, 0),
    (10, 1e8, "walk", 4, 5),
    (10, 1e6, "polish", 12, 0),
]


def main(arguments):
    """Run the command line and return its exit code."""
    if not arguments or arguments[0] not in ("run", "search", "study", "collect"):
        print(__doc__)
        return 2
    folder = Path(arguments[1]) if len(arguments) > 1 else ROOT / "_build" / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    if arguments[0] == "run":
        for step in STEPS:
            run(folder, *step)
    if arguments[0] in ("run", "search"):
        for m, kappa, kind, count, seed in SEARCHES:
            search(folder, m, kappa, kind, count, seed)
    elif arguments[0] == "study":
        take_over(folder)
    elif arguments[0] == "collect":
        collect(folder)
    return 0


def objective(m, kappa, fine=False):
    """Return the problem on the grid of the search, or on a finer one."""
    density = 40 if fine else 14 if m < 7 else 9 if m == 7 else 6 if m == 8 else 4
    return Objective(m, condition_radius(kappa), max(density * (2**m + 1), 8000 if fine else 1500) + 1)


def run(folder, m, kappa, how, origin):
    """Do one step unless its file is there, and print what it brought."""
    name = f"{m}@{kappa:g}-{how.replace(' ', '-')}-{origin:g}"
    path = folder / f"{name}.json"
    if path.exists():
        return
    clock = time.process_time()
    penalty = 0.0 if how.endswith("without penalty") else PENALTY
    if how.startswith("compose"):
        theta, words = composed(folder, m, kappa, penalty)
    elif how.startswith("more"):
        theta, entry = best(folder, m, kappa)
        theta, _ = improve(objective(m, kappa), theta, 2 * ROUNDS, penalty=penalty)
        words = f"{entry['start']}, improved again"
    elif how.startswith("walk"):
        theta, words = walked(folder, m, kappa, origin, penalty)
    else:
        theta, words = restarted(m, kappa, origin)
    seed = origin if how == "restart" else None
    keep(path, m, kappa, theta, words, seed, penalty, time.process_time() - clock)


def keep(path, m, kappa, theta, words, seed, penalty, seconds):
    """Write what a step has found."""
    content = {
        "products": m,
        "kappa": kappa,
        "start": words,
        "seed": seed,
        "penalty": penalty,
        "cpu_seconds": round(seconds, 1),
        "supremum": float(objective(m, kappa, fine=True).supremum(theta)),
        "theta": [float(x).hex() for x in theta],
    }
    write_whole(path, json.dumps(content).encode())
    print(f"{time.strftime('%H:%M:%S')} {path.stem}: {content['supremum']:.6g} ({seconds:.1f} s)", flush=True)


def search(folder, m, kappa, kind, count, seed):
    """Search from many starts, which draw on the folder's programs and the package's."""
    path = folder / f"{m}@{kappa:g}-{kind}-{count}-{seed}.json"
    if path.exists():
        return
    if kind in ("descend", "polish"):
        clock, known = time.process_time(), {p.name: p for p in drawable(folder)}
        start = known[f"{m}@{kappa:g}"]
        problem = search_objective(m, kappa, 8 if kind == "polish" else 4)
        theta = flat_program(start)
        theta = polish(problem, theta, count)[0] if kind == "polish" else descend(problem, theta, count)
        words = f"{start.origin.get('start', 'the best of the searches')}, improved again"
        keep(path, m, kappa, theta, words, seed, PENALTY / 10, time.process_time() - clock)
        return
    found = search_restarts(m, kappa, kind, count, seed, drawable(folder), rounds=2)
    words = f"the best of {count} restarts of kind {kind}"
    keep(path, m, kappa, found.theta, words, seed, PENALTY, found.cpu_seconds)


def drawable(folder):
    """Return the programs of the package, and in their place those of the folder that are better."""
    known = dict(load_programs())
    for m, kappa in names(folder):
        theta, entry = best(folder, m, kappa, None)
        name = f"{m}@{kappa:g}"
        if name not in known or entry["supremum"] < known[name].supremum:
            left, right, out = embedding.unpack(theta, m)
            origin = {"start": entry["start"]}
            radius = condition_radius(kappa)
            known[name] = Program(kappa, left, right, out, radius, entry["supremum"], origin)
    return known.values()


def names(folder):
    """Return the products and condition numbers of the files in the folder."""
    stems = {path.name.split("-")[0] for path in folder.glob("*@*.json")}
    return sorted((int(m), float(kappa)) for m, kappa in (stem.split("@") for stem in stems))


def take_over(folder):
    """Write the best program of each run of the study into the folder."""
    for _, row in load_study("search-programs", "cpu").rows.iterrows():
        m, kappa, kind = int(row["products"]), float(row["kappa"]), row["start"]
        path = folder / f"{m}@{kappa:g}-study-{kind}-{row['restarts']}-{row['seed']}.json"
        theta = np.array([float.fromhex(x) for x in row["theta"].split()])
        words = f"the best of {row['restarts']} restarts of kind {kind} in the study search-programs"
        keep(path, m, kappa, theta, words, int(row["seed"]), float(row["penalty"]), row["cpu_seconds"])


def best(folder, m, kappa, penalty=PENALTY):
    """Return the best program so far for these products, this condition number and penalty, and its file.

    Any penalty where it is None.
    """
    found = [json.loads(path.read_text()) for path in folder.glob(f"{m}@{kappa:g}-*.json")]
    found = [entry for entry in found if penalty is None or entry.get("penalty", PENALTY) == penalty]
    entry = min(found, key=lambda entry: entry["supremum"])
    return np.array([float.fromhex(x) for x in entry["theta"]]), entry


def composed(folder, m, kappa, penalty):
    """Compose the program with m - 2 products and the optimal stage of degree 2, and improve."""
    radius = condition_radius(kappa)
    if m - 2 <= 3:
        first, _ = embedding.chebyshev_program(DEGREES[m - 2], radius)
    else:
        first, _ = best(folder, m - 2, kappa)
    supremum = objective(m - 2, kappa, fine=True).supremum(first) * (1 + MARGIN)
    second, _ = embedding.chebyshev_program(2, supremum)
    theta = embedding.compose(first, m - 2, radius, supremum, second, 0)
    theta, _ = improve(objective(m, kappa), theta, ROUNDS, penalty=penalty)
    return theta, f"the program {m - 2}@{kappa:g} and a stage of degree 2"


def walked(folder, m, kappa, start, penalty):
    """Follow a program to another condition number, at most by factors of 2.5, and improve at each."""
    theta, _ = best(folder, m, start, penalty)
    at = start
    while at != kappa:
        at = min(at * 2.5, kappa) if kappa > at else max(at / 2.5, kappa)
        theta, _ = improve(objective(m, at), theta, ROUNDS if at == kappa else 3, penalty=penalty)
    return theta, f"the program {m}@{start:g}"


def restarted(m, kappa, seed, tries=25):
    """Search from random programs, and keep the best."""
    return restart(objective(m, kappa), tries, seed), f"{tries} random programs with seed {seed}"


def collect(folder):
    """Certify what is better than the package's program of the same name, and write all and a record."""
    known = dict(load_programs())
    entries = {entry_name(e): e for e in json.loads(DATA.read_text())["programs"]}
    for m, kappa in names(folder):
        name = f"{m}@{kappa:g}"
        theta, found = best(folder, m, kappa, None)
        theta = embedding.balance(theta, m)
        supremum = peak(objective(m, kappa, fine=True), theta) * (1 + MARGIN)
        if not supremum < (known[name].supremum * (1 - BETTER) if name in known else 1):
            continue
        entries[name] = certified(folder, m, kappa, theta, supremum, found)
    ordered = sorted(entries.values(), key=lambda e: (len(e["left"]), e["kappa"]))
    # One program a line, so that a change of one shows as a change of one.
    lines = ",\n".join(map(json.dumps, ordered))
    write_whole(DATA, f'{{"format": "neuinv-programs", "version": 1, "programs": [\n{lines}\n]}}\n'.encode())
    rows = [
        {
            "products": len(e["left"]),
            "kappa": e["kappa"],
            "supremum": float.fromhex(e["supremum"]),
            **e["origin"],
        }
        for e in ordered
    ]
    values = {"programs": rows, "rounds": ROUNDS, "margin": MARGIN}
    print(write_record(RECORDS, values, parameters={"seed": 0}).name)


def entry_name(entry):
    """Return the name of an entry of the package's file, as :attr:`Program.name`."""
    return f"{len(entry['left'])}@{entry['kappa']:g}"


def certified(folder, m, kappa, theta, supremum, found):
    """Return the entry of a program, or stop where its supremum is not certified."""
    left, right, out = embedding.unpack(theta, m)
    radius = condition_radius(kappa)
    candidate = SimpleNamespace(left=left, right=right, out=out, radius=radius, supremum=supremum)
    certificate = program_certificate(candidate)
    certificate.save(folder / "certificate.json")
    clock = time.process_time()
    if not all(holds for _, holds in verify.verify(folder / "certificate.json")):
        raise SystemExit(f"{m}@{kappa:g}: the supremum {supremum!r} is not certified.")
    origin = {key: found.get(key) for key in ("start", "seed", "penalty", "cpu_seconds")}
    origin["growth"] = growth(objective(m, kappa), theta)
    content = certificate.to_dict()
    print(
        f"{m}@{kappa:g} {supremum:.6g}, growth {origin['growth']}, certified in "
        f"{time.process_time() - clock:.1f} s",
        flush=True,
    )
    return {"kappa": kappa, "origin": origin} | {
        key: content[key] for key in ("radius", "supremum", "left", "right", "out")
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
