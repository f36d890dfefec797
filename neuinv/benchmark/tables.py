"""Lines of text, at most 84 characters, that show a record: every cell, and what follows from them."""

import math

import numpy as np

from neuinv.benchmark.cells import plan_cells
from neuinv.benchmark.methods import TOLERANCES
from neuinv.benchmark.results import KEYS, break_even

__all__ = [
    "backend_lines",
    "break_even_lines",
    "classes",
    "find_method",
    "missing_lines",
    "other_lines",
    "proof_lines",
    "residual_lines",
    "roofline_lines",
    "spread_lines",
    "tally_lines",
    "time_lines",
    "unsteady_lines",
    "winner_lines",
]

WANTED = {"cpu": "make bench", "cuda": "make bench DEVICE=cuda"}


def missing_lines(records):
    """Return what is not measured: devices without a record, and cells that a record lacks.

    Examples
    --------
    >>> missing_lines([])
    ['no record of cpu: make bench makes one', 'no record of cuda: make bench DEVICE=cuda makes one']
    """
    lines = [
        f"no record of {device}: {verb} makes one"
        for device, verb in WANTED.items()
        if device not in [record.device for record in records]
    ]
    for record in records:
        planned = plan_cells(record.device)
        lacking = [cell for cell in planned if not record.has(cell)]
        if lacking:
            lines.append(f"{record.hardware}: {len(lacking)} of {len(planned)} planned cells are missing:")
            lines += [f"  {line}" for line in _lacking(lacking, planned)]
    return lines


def _lacking(lacking, planned):
    """Return a line for each dtype and condition number, or one for all of a dtype."""
    for dtype in sorted({cell.dtype for cell in lacking}):
        mine = [cell for cell in lacking if cell.dtype == dtype]
        if len(mine) == sum(cell.dtype == dtype for cell in planned):
            yield f"{dtype}: all of them"
            continue
        for kappa in sorted({cell.kappa for cell in mine}):
            kinds = {}
            for cell in mine:
                if cell.kappa == kappa:
                    kinds.setdefault(cell.n, []).append(cell.kind)
            sizes = [str(n) if len(of) == 2 else f"{n} ({of[0]})" for n, of in sorted(kinds.items())]
            every = len(kinds) == len({cell.n for cell in planned}) and all(map(str.isdigit, sizes))
            yield f"{dtype}, kappa = {kappa:g}: n = {'every size' if every else ', '.join(sizes)}"


def backend_lines(record):
    """Return where and with what the runs of a record were made."""
    return [f"{record.hardware}, {len(record.cells)} cells"] + [
        line for number, run in enumerate(record.runs) for line in _run_lines(record, number, run)
    ]


def _run_lines(record, number, run):
    about, source = run["values"]["environment"], run["provenance"]
    cells = record.cells[record.cells["run"] == number]
    commit = (source["package"]["commit"] or "unknown")[:7]
    versions = f"torch {source['libraries']['torch']}, Python {source['libraries']['python']}"
    lines = [
        f"  {source['start'][:16]}, {len(cells)} cells, {run['values']['repetitions']} repetitions",
        f"    commit {commit}, {versions}, {about['cpu_capability']}",
        *(f"    {line.split(' for ')[0].split(' (')[0]}" for line in about["libraries"]),
    ]
    if record.device == "cpu":
        share = cells["cpu_share"]
        lines.append(f"    had a processor: median {share.median():.2f} of the time, least {share.min():.2f}")
    else:
        lines.append(f"    linear algebra: {about['preferred_linalg_library']}, MAGMA {about['magma']}")
        rates = about.get("ceilings")
        if rates:
            named = [f"{name} {rates[name] / 1e12:.3g}" for name in rates if name != "copy"]
            lines.append(f"    copies at {rates['copy'] / 1e12:.3g} TB/s, read and written")
            lines.append(f"    products at {', '.join(named)} Tflop/s")
        slow = record.rows["run"].eq(number) & record.rows["note"].str.endswith(" repetitions")
        if slow.any():
            lines.append(f"    {slow.sum()} of {len(record.rows)} measurements, of slow methods, had fewer")
        lines.append(f"    CUDA {about['cuda']}, driver {source['device']['driver']}")
    return lines


def _ratio(value):
    """Return a ratio in five characters."""
    if math.isnan(value):
        return "   --"
    if math.isinf(value):
        return " only"
    return "fails" if value == 0 else f"{value:5.2f}"


def break_even_lines(record, group="polynomial"):
    """Return the break-even of each n, kind and dtype: a column for each condition number and tolerance."""
    tables = {tolerance: break_even(record.rows, tolerance, group) for tolerance in TOLERANCES}
    kappas = sorted(record.rows["kappa"].unique())
    head = ("   n  " + "  ".join(f"kappa = {kappa:<10g}" for kappa in kappas)).rstrip()
    lines = []
    for kind, dtype in classes(record.rows):
        lines += [f"{kind}, {dtype}; each three: " + ", ".join(f"{t:.0e}" for t in TOLERANCES), head]
        part = record.rows[(record.rows["kind"] == kind) & (record.rows["dtype"] == dtype)]
        for n in sorted(part["n"].unique()):
            cells = []
            for kappa in kappas:
                key = (n, kappa, kind, dtype)
                known = key in tables[TOLERANCES[0]].index
                found = [_ratio(tables[t].loc[key, "ratio"]) if known else "    ." for t in TOLERANCES]
                cells.append(" ".join(found))
            lines.append(f"{n:4}  " + "  ".join(f"{cell:18}" for cell in cells).rstrip())
        lines.append("")
    return lines[:-1]


def classes(rows):
    """Return the pairs of a kind and a dtype that some rows have."""
    pairs = [(kind, dtype) for kind in ("spd", "general") for dtype in sorted(rows["dtype"].unique())]
    return [pair for pair in pairs if ((rows["kind"] == pair[0]) & (rows["dtype"] == pair[1])).any()]


def tally_lines(record, group="polynomial"):
    """Return, for each kind, dtype and tolerance, in how many cells the challenger wins, ties and loses."""
    lines = ["kind     dtype    tolerance  faster  undecided  slower  fails  none reaches it"]
    for kind, dtype in classes(record.rows):
        for tolerance in TOLERANCES:
            table = break_even(record.rows, tolerance, group)
            table = table[table.index.isin([kind], level="kind") & table.index.isin([dtype], level="dtype")]
            ratio = table["ratio"]
            wins, fails = (table["low"] > 1).sum(), (ratio == 0).sum()
            loses, none = ((table["high"] < 1) & (ratio > 0)).sum(), ratio.isna().sum()
            tied = len(table) - wins - fails - loses - none
            lines.append(
                f"{kind:8} {dtype}  {tolerance:7.0e} {wins:8} {tied:10} {loses:7} {fails:6} {none:9}"
            )
    return lines


def winner_lines(record, tolerance):
    """Return the cells in which the best scheme beats the best direct method: names, ratio, its quartiles."""
    table = break_even(record.rows, tolerance)
    table = table[table["ratio"] > 1]
    lines = [
        f"{n:4} {kappa:5g} {kind[:3]:4} {dtype[-2:]:>4} {row['other']:21} "
        + (f"{row['direct']:17}" if isinstance(row["direct"], str) else f"{'no direct method':17}")
        + " ".join(_ratio(row[name]) for name in ("ratio", "low", "high"))
        for (n, kappa, kind, dtype), row in table.iterrows()
    ]
    head = f"   n kappa kind bits {'scheme':21} {'direct method':17}ratio   low  high"
    return [head, *lines] if lines else [f"none of {len(break_even(record.rows, tolerance))} cells"]


def unsteady_lines(record, tolerance):
    """Return the schemes whose residual is small enough in the median of a cell, and not in the worst."""
    rows = record.rows
    some = rows[(rows["group"] == "polynomial") & (rows["residual_median"] <= tolerance)]
    some = some[some["residual_worst"] > tolerance]
    distinct = record.cells.set_index(KEYS)["distinct"]
    lines = [
        f"{row['n']:4} {row['kappa']:5g} {row['kind'][:3]:4} {row['dtype'][-2:]:>4} {row['method']:26}"
        f" {row['residual_median']:7.0e} {row['residual_worst']:7.0e}"
        f" {distinct[tuple(row[key] for key in KEYS)]:8.0f}"
        for _, row in some.iterrows()
    ]
    head = f"   n kappa kind bits {'scheme':26}  median   worst matrices"
    return [head, *lines] if lines else ["none"]


DIRECT = ("inv", "inv_ex", "solve", "cholesky", "gauss-jordan")
SCHEMES = (
    "newton-schulz 1e-03",
    *(f"{label} {t:.0e}" for label in ("scaled", "program") for t in TOLERANCES),
)
FRONT = ("front 1e-03", "front 1e-06", "front 1e-03 unknown")


def find_method(part, name):
    """Return the row of a method in the rows of one cell, or None.

    A scheme that serves two tolerances was measured once, under the larger one.
    """
    label, _, tolerance = name.partition(" ")
    names = [name]
    if label in ("scaled", "program"):
        names = [f"{label} {t:.0e}" for t in TOLERANCES if t >= float(tolerance) * 0.99][::-1]
    for candidate in names:
        found = part[part["method"] == candidate]
        if len(found):
            return found.iloc[0]
    return None


def _time(row, batch):
    """Return microseconds a matrix in six characters."""
    if row is None:
        return "     ."
    if math.isnan(row["median"]):
        return " failed"[-6:]
    value = row["median"] / batch * 1e6
    digits = 0 if value >= 1000 else max(0, 2 - math.floor(math.log10(max(value, 1e-3))))
    return f"{value:6.{min(digits, 4)}f}"


def _residual(row):
    return "     ." if row is None else f"{row['residual_worst']:6.0e}"


def time_lines(record, kind, dtype, methods):
    """Return a line for each cell of a kind and dtype: median microseconds a matrix of some methods."""
    return _lines(record, kind, dtype, methods, _time)


def residual_lines(record, kind, dtype, methods):
    """Return a line for each cell of a kind and dtype: worst right residuals of some methods."""
    return _lines(record, kind, dtype, methods, lambda row, _: _residual(row))


SHORT = {"newton-schulz": "NS", "scaled": "s", "program": "p", "front": "f", "product": "AA"}
SHORT |= {"cholesky": "chol", "gauss-jordan": "GJ"}


def _short(name):
    label, *rest = name.split(" ")
    rest = [part.replace("e-0", "e-").replace("unknown", "?") for part in rest]
    return (SHORT.get(label, label) + "".join(rest))[-6:]


def _lines(record, kind, dtype, methods, shown):
    rows = record.rows[(record.rows["kind"] == kind) & (record.rows["dtype"] == dtype)]
    batches = record.cells.set_index(KEYS)["batch"]
    lines = ["   n kappa " + " ".join(f"{_short(name):>6}" for name in methods)]
    for (n, kappa), part in rows.groupby(["n", "kappa"]):
        batch = batches[n, kappa, kind, dtype]
        lines.append(
            f"{n:4} {kappa:5g} " + " ".join(shown(find_method(part, name), batch) for name in methods)
        )
    return lines


def other_lines(record):
    """Return a line for each measurement of a method without a column: other libraries, low precision."""
    known = {"product", *DIRECT, *SCHEMES, *FRONT}
    batches = record.cells.set_index(KEYS)["batch"]
    return [
        f"{row['n']:4} {row['kappa']:5g} {row['kind']:7} {row['dtype']} {row['method']:26}"
        f" {_time(row, batches[tuple(row[key] for key in KEYS)])} us, residual {_residual(row).strip()}"
        for _, row in record.rows.iterrows()
        if row["method"] not in known
    ] or ["none on this device"]


def spread_lines(record):
    """Return how far the quartiles of a method lie apart, relative to its median."""
    rows = record.rows[record.rows["median"].notna()]
    spread = (rows["high"] - rows["low"]) / rows["median"]
    low, middle, high = spread.quantile([0.5, 0.9, 1.0])
    return [f"quartiles apart, over medians: half below {low:.2f}, 90 % below {middle:.2f}, worst {high:.2f}"]


def _medians(record, kind, dtype, n, quotient):
    """Return the median over the condition numbers of a quotient of rows found by name."""
    rows = record.rows
    rows = rows[(rows["kind"] == kind) & (rows["dtype"] == dtype) & (rows["n"] == n)]
    found = [quotient(lambda name, part=part: find_method(part, name)) for _, part in rows.groupby("kappa")]
    found = [value for value in found if value is not None and not math.isnan(value)]
    return float(np.median(found)) if found else float("nan")


def _table(record, quotients):
    """Return a line for each n with the medians of some quotients, for each kind and dtype."""
    columns = classes(record.rows)
    lines = ["   n  " + "   ".join(f"{kind + ', ' + dtype:17}" for kind, dtype in columns)]
    lines.append("      " + "   ".join(f"{' '.join(f'{name:>8}' for name in quotients):17}" for _ in columns))
    for n in sorted(record.rows["n"].unique()):
        cells = [
            " ".join(f"{_medians(record, kind, dtype, n, quotient):8.2f}" for quotient in quotients.values())
            for kind, dtype in columns
        ]
        lines.append(f"{n:4}  " + "   ".join(f"{cell:17}" for cell in cells))
    return [line.rstrip() for line in lines]


def _over(above, below):
    def quotient(get):
        first, second = get(above), get(below)
        return None if first is None or second is None else first["median"] / second["median"]

    return quotient


def proof_lines(record):
    """Return what the front door takes, over the program for 1e-3 and over ``inv``: medians over kappa."""
    return _table(
        record,
        {"/program": _over("front 1e-03", "program 1e-03"), "/inv": _over("front 1e-03", "inv")},
    )


def roofline_lines(record):
    """Return the share of the rate of one batched product, and ``inv`` in products: medians over kappa."""

    def share(get):
        program, product = get("program 1e-03"), get("product")
        if program is None or product is None:
            return None
        return program["matmuls"] * product["median"] / program["median"]

    return _table(record, {"share": share, "inv/AA": _over("inv", "product")})
