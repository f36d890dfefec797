"""Repeat some runs of a study, or all, and compare them with the committed rows.

    python tools/repeat_study.py notebooks/sweeps/why-cannot.yaml              the three cheapest runs
    python tools/repeat_study.py notebooks/sweeps/why-cannot.yaml --every 1    every run

The record in ``book/results/repeats`` says on which processor, how many values, and to how many digits.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this checkout, whatever else is installed

from neuinv.records import write_record  # noqa: E402
from neuinv.sweep import (  # noqa: E402
    Progress,
    Serial,
    agreement,
    collect,
    load_study,
    parameter_key,
    prepare,
    read_plan,
    run_plan,
    summarize,
)


def main(arguments=None):
    """Run the command line and return its exit code: 0 compared, 1 a run failed, 2 misuse."""
    parser = argparse.ArgumentParser(
        description="Repeat runs of a study and compare them with the committed rows.",
        epilog="example: python tools/repeat_study.py notebooks/sweeps/why-cannot.yaml --runs 3",
    )
    parser.add_argument("spec", help="the sweep file")
    parser.add_argument("--runs", type=int, default=3, help="how many of the cheapest runs to repeat")
    parser.add_argument("--every", type=int, help="instead, every k-th run of the plan; 1 means all")
    parser.add_argument("--results", type=Path, default=ROOT / "book" / "results")
    options = parser.parse_args(arguments)
    try:
        found = repeat(options.spec, options.runs, options.every, options.results)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    path = write_record(options.results / "repeats", found)
    print(f"{found['study']}: {found['runs']} runs, {found['values']} values; {path.name}")
    return 0


def repeat(spec, count, every, results):
    """Return what repeated runs of a study agree in.

    Raises
    ------
    RuntimeError
        A run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan = read_plan(spec, "cpu", folder=Path(folder) / "runs")
        committed = load_study(plan.spec.study, folder=results / plan.spec.study).rows
        plan = dataclasses.replace(plan, runs=_chosen(plan, committed, count, every))
        prepare(plan)
        begun = time.perf_counter()
        if not run_plan(plan, Serial(), Progress(plan, sys.stderr, 0)).ok:
            raise RuntimeError(f"{plan.spec.study}: a run failed; see what 'neuinv sweep run' says of it.")
        seconds = time.perf_counter() - begun
        collect(plan, Path(folder) / "table")
        repeated = load_study(plan.spec.study, folder=Path(folder) / "table").rows
    names = list(plan.runs[0].parameters)
    found = agreement(committed, repeated, names)
    return {
        "study": plan.spec.study,
        "runs": found.runs,
        "values": found.values,
        "least_digits": found.least,
        "share_one_digit": found.share(1),
        "share_two_digits": found.share(2),
        "share_three_digits": found.share(3),
        "least_by_column": {name: min(digits) for name, digits in found.digits.items()},
        "summaries": len(summarize(repeated, names)),
        "seconds": seconds,
    }


def _chosen(plan, committed, count, every):
    """Return every k-th run, or the cheapest ones of the committed table."""
    if every is not None:
        return plan.runs[::every]
    first = committed.groupby("run", sort=False).last()
    names = [name for name in plan.runs[0].parameters if name in first.columns]
    price = {parameter_key(row, names): row["run.wall_seconds"] for _, row in first.iterrows()}
    known = [run for run in plan.runs if parameter_key(run.parameters, names) in price]
    return tuple(sorted(known, key=lambda run: price[parameter_key(run.parameters, names)])[:count])


if __name__ == "__main__":
    sys.exit(main())
