"""From a sweep file to the list of its runs, each with the name of its folder."""

import itertools
import json
import math
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from neuinv._files import write_whole
from neuinv.records import code_hash, notebook_hash, package_hash, run_key
from neuinv.sweep.schema import read_schema
from neuinv.sweep.spec import Spec, read_spec

MAX_RUNS = 100_000
# What a profile says to a notebook with a parameter `device`, unless the sweep file says otherwise.
_DEVICES = {"smoke": "cpu", "cpu": "cpu", "gpu": "cuda"}


@dataclass(frozen=True)
class Run:
    """One planned run: its ``key``, the ``given`` parameters, and ``parameters``, the defaults included."""

    key: str
    given: dict
    parameters: dict


@dataclass(frozen=True)
class Plan:
    """All runs of one profile.

    Attributes
    ----------
    spec : Spec
        Where they come from.
    folder : Path
        The run folders are below it.
    notebook : str
        Hash of the notebook's cells, prose included: it names the text that goes with the runs.
    code : str
        Hash of what a run of the notebook executes, a part of the key of every run.
    package : str
        Hash of the package.
    runs : list of Run
        In the order of the sweep file; each key occurs once.
    """

    spec: Spec
    folder: Path
    notebook: str
    code: str
    package: str
    runs: list

    def shard(self, part, parts):
        """Return the plan of every ``parts``-th run, beginning with number ``part`` from 1.

        Raises
        ------
        ValueError
            Not 1 <= part <= parts.
        """
        if not 1 <= part <= parts:
            raise ValueError(f"the shard is {part}/{parts}; use i/k with 1 <= i <= k.")
        return replace(self, runs=self.runs[part - 1 :: parts])

    @cached_property
    def source(self):
        """The private copy of the notebook that the runs execute, without outputs."""
        # Neither hash says all: one does not see the tags, the other not the prose, which provenance names.
        return self.folder / "sources" / f"{self.notebook}-{self.code}" / self.spec.notebook.name

    def write_source(self):
        """Write that copy, so that an edit of the notebook does not reach a sweep that has begun.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        with suppress(OSError, ValueError):
            if self._is_source(self.source):
                return
        content = json.loads(self.spec.notebook.read_text(encoding="utf-8"))
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
        self.source.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.source, (json.dumps(content, sort_keys=True) + "\n").encode())
        if not self._is_source(self.source):
            raise OSError(f"{self.spec.notebook.name} changed while it was read; start again.")

    def _is_source(self, path):
        return (notebook_hash(path), code_hash(path)) == (self.notebook, self.code)

    def task(self, run):
        """Return what a worker needs for one run, in plain JSON types."""
        return {
            "key": run.key,
            "identity": self.identity(run),
            "given": run.given,
            "folder": str(self.folder),
            "source": str(self.source),
            "directory": str(self.spec.notebook.parent),
            "timeout": self.spec.timeout,
        }

    def identity(self, run):
        """Return what the key of a run is the hash of."""
        return _identity(self.code, run.parameters, self.package)


def read_plan(path, profile="cpu", *, folder=None):
    """Return the :class:`Plan` of one profile of a sweep file; nothing is run or written.

    Parameters
    ----------
    path : str or Path
        The sweep file.
    profile : str
        ``"smoke"``, ``"cpu"`` or ``"gpu"``.
    folder : str or Path, optional
        Where the run folders go; ``runs/STUDY`` of the project by default.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        The file or the notebook is missing or malformed, a parameter is unknown, of the wrong
        type or out of range, or there are too many runs.
    """
    spec = read_spec(path, profile)
    schema = read_schema(spec.notebook)
    _check_count(spec)
    _check_names(spec)
    notebook, code, package = notebook_hash(spec.notebook), code_hash(spec.notebook), package_hash()
    try:
        fixed = _injected(spec, schema)
        combinations = list(_combinations(spec, schema))
    except (ValueError, TypeError) as error:
        raise type(error)(f"{spec.path.name}, profile {profile}: {error}") from None
    runs = {}
    for chosen in combinations:
        given = {**fixed, **chosen}
        parameters = {**schema.defaults, **given}
        try:
            key = run_key(**_identity(code, parameters, package))
        except (ValueError, TypeError) as error:  # such as a date for a parameter of any type
            raise type(error)(f"{spec.path.name}, profile {profile}: {error}") from None
        # Two draws of a sample, or a row and a point of a grid, may be the same run.
        runs.setdefault(key, Run(key, given, parameters))
    where = Path(folder) if folder is not None else spec.root / "runs" / spec.study
    return Plan(spec, where.absolute(), notebook, code, package, list(runs.values()))


def _identity(code, parameters, package):
    return {"code": code, "parameters": parameters, "package": package}


def _check_count(spec):
    """Count the runs before any is made."""
    # len() of a range fails beyond the largest index, which is just what must be counted here.
    factors = [a.stop - a.start if isinstance(a, range) else len(a) for a in spec.grid.values()]
    factors += [len(spec.rows) or 1, spec.sample.get("count", 1)]
    count = math.prod(factors)
    if count > MAX_RUNS:
        raise ValueError(
            f"{spec.path.name}, profile {spec.profile}: it has {count:,} runs and at most {MAX_RUNS:,} "
            "can be planned; shorten the grid or draw a random sample."
        )


def _check_names(spec):
    """Refuse a parameter that two parts of a profile set."""
    parts = {
        "parameters": set(spec.parameters),
        "grid": set(spec.grid),
        "list": set().union(*spec.rows),
        "random": set(spec.sample.get("parameters", {})),
    }
    for (one, first), (two, second) in itertools.combinations(parts.items(), 2):
        if first & second:
            raise ValueError(
                f"{spec.path.name}, profile {spec.profile}: {min(first & second)} is set by '{one}:' and by "
                f"'{two}:'; keep one."
            )


def _injected(spec, schema):
    """Return the parameters that every run is given: those of the profile, its device, and the seed."""
    fixed = {name: schema.check(name, value) for name, value in spec.parameters.items()}
    if "seed" in schema.hints:
        fixed.setdefault("seed", schema.defaults["seed"])
    if "device" in schema.hints:
        chosen = {*spec.grid, *spec.sample.get("parameters", {})}.union(*spec.rows)
        device = _DEVICES[spec.profile]
        fixed.setdefault("device", device if "device" in chosen else schema.check("device", device))
    return fixed


def _combinations(spec, schema):
    """Yield every row of the list with every point of the grid and every draw of the sample."""
    axes = [[(name, schema.check(name, value)) for value in axis] for name, axis in spec.grid.items()]
    rows = [{name: schema.check(name, value) for name, value in row.items()} for row in spec.rows]
    draws = [_draw(spec.sample, number, schema) for number in range(spec.sample.get("count", 0))]
    for row, point, draw in itertools.product(rows or [{}], itertools.product(*axes), draws or [{}]):
        yield {**row, **dict(point), **draw}


def _draw(sample, number, schema):
    chosen = {}
    for name, options in sample["parameters"].items():
        # One generator a value: a longer sample begins with the shorter one, whatever is drawn besides.
        uniform = random.Random(f"{sample['seed']}/{name}/{number}").random()
        chosen[name] = schema.check(name, _value(uniform, options))
    return chosen


def _value(uniform, options):
    """Map a uniform number in [0, 1) to one of the values, or into low ... high; integers reach both ends."""
    if isinstance(options, list):
        return options[int(uniform * len(options))]
    low, high, whole = options["low"], options["high"], type(options["low"]) is type(options["high"]) is int
    if options.get("log"):
        value = low * ((high + whole) / low) ** uniform
    else:
        value = low + uniform * (high - low + whole)
    return min(high, max(low, math.floor(value))) if whole else float(min(high, max(low, value)))
