"""What ``neuinv sweep run | status | collect`` do with their options."""

import json
import re

from neuinv.records.values import to_json
from neuinv.sweep.driver import prepare, run_plan
from neuinv.sweep.engines import Serial, connect, start_local
from neuinv.sweep.plan import read_plan
from neuinv.sweep.progress import Progress, label, let_go, varying
from neuinv.sweep.status import read_status

_MOST_WORKERS = 1000


def run(options, stream):
    """Do the missing runs and return whether every run is now complete.

    Raises
    ------
    ValueError
        ``--workers``, ``--shard`` or ``--scheduler`` is malformed, or they exclude each other.
    """
    for name in ("scheduler", "shard"):
        # What an unset variable of a shell leaves: without this the sweep would run on this machine.
        if getattr(options, name) == "":
            raise ValueError(f"--{name} is empty; write its value or leave it out.")
    plan = _plan(options)
    if options.workers is not None and not 1 <= options.workers <= _MOST_WORKERS:
        raise ValueError(f"--workers is {options.workers}; use 1 or more, at most {_MOST_WORKERS}.")
    if options.scheduler and options.workers:
        raise ValueError("--scheduler and --workers exclude each other; the cluster has its own workers.")
    if options.shard:
        if options.scheduler or options.workers:
            raise ValueError("--shard does without Dask; leave --scheduler and --workers out.")
        plan = _shard(plan, options.shard)
    prepare(plan)
    status = read_status(plan)
    if len(status.complete) == len(plan.runs):
        engine = Serial()  # nothing to do: no cluster need be started
    elif options.shard:
        engine = Serial()
    elif options.scheduler:
        engine = connect(options.scheduler, plan)
    else:
        engine = start_local(plan.spec.profile, options.workers)
    progress = Progress(plan, stream, len(status.complete))
    if not engine.slots:
        progress.say("the cluster has no worker yet: the runs begin when one joins it")
    try:
        result = run_plan(plan, engine, progress)
    except KeyboardInterrupt:
        progress.say("interrupted: what is complete is kept; run the same command to go on")
        raise
    finally:
        engine.close()
    return _report(result, progress)


def _report(result, progress):
    progress.draw(0, 0)
    if result.stopped:
        progress.say(f"stopped: {result.stopped}")
    text = f"{result.complete} of {result.planned} runs are complete"
    if result.failures:
        text += f", {len(result.failures)} failed for good; their notebooks are kept in the folders *.failed"
    progress.say(text)
    return result.ok


def status(options, stream):
    """Print what the folder says; ``status --runs | head`` may stop reading."""
    try:
        _print_status(options, stream)
        stream.flush()
    except BrokenPipeError:
        let_go(stream)


def _print_status(options, stream):
    plan = _plan(options)
    found = read_status(plan)
    counts = found.to_dict()
    names = varying(plan.runs)
    if options.json:
        if options.runs:
            counts["runs"] = [
                {"key": run.key, "state": found.state(run.key), "parameters": to_json(run.parameters)}
                for run in plan.runs
            ]
        print(json.dumps(counts, indent=1), file=stream)
        return
    width = max(map(len, counts))
    for name, value in counts.items():
        print(f"{name:<{width}}  {value}", file=stream)
    if options.runs:
        for run_ in plan.runs:
            print(f"{run_.key}  {found.state(run_.key):8}  {label(run_, names)}".rstrip(), file=stream)
    for key, reason in found.failures.items():
        print(f"failed: {key[:12]}: {reason}", file=stream)


def collect(options, stream):
    """Write the table and the summary of a study; return whether every run is in them."""
    from neuinv.sweep.collect import collect as collect_plan

    plan = _plan(options)
    table, summary = collect_plan(plan, options.output)
    content = json.loads(summary.read_text(encoding="utf-8"))
    print(f"{content['complete']} of {content['planned']} runs, {content['rows']} rows", file=stream)
    print(f"{table}\n{summary}", file=stream)
    return content["complete"] == content["planned"]


def _plan(options):
    if options.folder == "":
        raise ValueError("--folder is empty; write its value or leave it out.")
    return read_plan(options.spec, options.profile, folder=options.folder)


def _shard(plan, text):
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if not match:
        raise ValueError(f"--shard is {text!r}; write i/k, such as 1/8.")
    return plan.shard(int(match[1]), int(match[2]))
