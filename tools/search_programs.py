"""Search for programs of few products, certify them and write them into the package.

    python tools/search_programs.py run [FOLDER]       do the steps that are missing, one after the other
    python tools/search_programs.py collect [FOLDER]   certify what is there, write programs.json and a record

A step composes two programs, follows one to another condition number or starts at random, and improves what
it has. Each writes one file, so that to resume is to run again; all of them take hours on one core.
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
from neuinv.iterations import embedding
from neuinv.iterations.search import PENALTY, Objective, improve, restart
from neuinv.records import write_record

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "neuinv" / "iterations" / "programs.json"
RECORDS = ROOT / "book" / "results" / "fewest-products"
DEGREES = (2, 3, 5, 9)
ROUNDS = 10
MARGIN = 1e-6  # of a supremum above what the grid shows
WIDER = 2e-9  # of the condition number, so that one that is rounded up still has its program

# Without the penalty on coefficients rounding costs a digit more; needed where a tolerance is missed with it.
FREE = ((5, 10), (6, 1e3), (6, 1e2), (7, 300), (7, 100))

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


def main(arguments):
    """Run the command line and return its exit code."""
    if not arguments or arguments[0] not in ("run", "collect"):
        print(__doc__)
        return 2
    folder = Path(arguments[1]) if len(arguments) > 1 else ROOT / "_build" / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    if arguments[0] == "run":
        for step in STEPS:
            run(folder, *step)
    else:
        collect(folder)
    return 0


def radius_of(kappa):
    """Return the radius of the residuals of the condition number, a little wider."""
    kappa = kappa * (1 + WIDER)
    return 1 - 2 / (kappa + 1)


def objective(m, kappa, fine=False):
    """Return the problem on the grid of the search, or on a finer one."""
    density = 40 if fine else 14 if m < 7 else 9 if m == 7 else 6 if m == 8 else 4
    return Objective(m, radius_of(kappa), max(density * (2**m + 1), 8000 if fine else 1500) + 1)


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
    problem = objective(m, kappa, fine=True)
    supremum = problem.supremum(theta)
    content = {
        "products": m,
        "kappa": kappa,
        "start": words,
        "seed": origin if how == "restart" else None,
        "penalty": penalty,
        "cpu_seconds": round(time.process_time() - clock, 1),
        "supremum": float(supremum),
        "theta": [float(x).hex() for x in theta],
    }
    write_whole(path, json.dumps(content).encode())
    print(f"{time.strftime('%H:%M:%S')} {name}: {supremum:.6g} ({content['cpu_seconds']} s)", flush=True)


def best(folder, m, kappa, penalty=PENALTY):
    """Return the best program so far for these products, this condition number and penalty, and its file."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"{m}@{kappa:g}-*.json")]
    found = [entry for entry in found if entry.get("penalty", PENALTY) == penalty]
    entry = min(found, key=lambda entry: entry["supremum"])
    return np.array([float.fromhex(x) for x in entry["theta"]]), entry


def composed(folder, m, kappa, penalty):
    """Compose the program with m - 2 products and the optimal stage of degree 2, and improve."""
    radius = radius_of(kappa)
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
    """Certify the best program of each name and write all of them, and a record of the search."""
    names = sorted(
        {tuple(map(float, path.name.split("-")[0].split("@"))) for path in folder.glob("*@*.json")}
    )
    entries, rows = [], []
    for m, kappa in ((int(m), kappa) for m, kappa in names):
        theta, found = best(folder, m, kappa, 0.0 if (m, kappa) in FREE else PENALTY)
        left, right, out = embedding.unpack(embedding.balance(theta, m), m)
        supremum = peak(objective(m, kappa, fine=True), embedding.balance(theta, m)) * (1 + MARGIN)
        if not supremum < 1:
            continue
        candidate = SimpleNamespace(
            left=left, right=right, out=out, radius=radius_of(kappa), supremum=supremum
        )
        certificate = program_certificate(candidate)
        certificate.save(folder / "certificate.json")
        clock = time.process_time()
        if not all(holds for _, holds in verify.verify(folder / "certificate.json")):
            raise SystemExit(f"{m}@{kappa:g}: the supremum {supremum!r} is not certified.")
        origin = {key: found.get(key) for key in ("start", "seed", "penalty", "cpu_seconds")}
        origin["penalty"] = 0.0 if (m, kappa) in FREE else PENALTY
        origin["growth"] = growth(objective(m, kappa), np.concatenate([*left, *right, out]))
        content = certificate.to_dict()
        entries.append(
            {"kappa": kappa, "origin": origin}
            | {key: content[key] for key in ("radius", "supremum", "left", "right", "out")}
        )
        rows.append({"products": m, "kappa": kappa, "supremum": supremum, **origin})
        print(f"{m}@{kappa:g} {supremum:.6g} certified in {time.process_time() - clock:.1f} s", flush=True)
    # One program a line, so that a change of one shows as a change of one.
    lines = ",\n".join(map(json.dumps, entries))
    write_whole(DATA, f'{{"format": "neuinv-programs", "version": 1, "programs": [\n{lines}\n]}}\n'.encode())
    values = {"programs": rows, "rounds": ROUNDS, "margin": MARGIN}
    print(write_record(RECORDS, values, parameters={"seed": 0}).name)


def growth(problem, theta):
    """Return how rounding grows: the largest sum of |coefficient times derivative of q|, over kappa."""
    _, J = problem.jacobian(theta)
    kappa = (1 + problem.radius) / (1 - problem.radius)
    return round(float((np.abs(J) @ np.abs(theta)).max() / kappa), 3)


def peak(problem, theta):
    """Return the largest |q| on the grid, refined by a parabola through each of its local maxima."""
    size = np.abs(problem.residual(theta))
    inner = np.nonzero((size[1:-1] >= size[:-2]) & (size[1:-1] >= size[2:]))[0] + 1
    low, middle, high = size[inner - 1], size[inner], size[inner + 1]
    bend = 2 * middle - low - high
    top = middle + np.where(bend > 0, (high - low) ** 2 / np.where(bend > 0, 8 * bend, 1), 0)
    return float(max(size[0], size[-1], top.max()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
