"""Sweep files: read with ``safe_load`` alone, without repeated keys, and with limits on their size."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

MAX_BYTES = 1_000_000
_MAX_DEPTH = 20
_MOST_SECONDS = 10**9
# Beyond it the arithmetic of a random sample would leave the floats.
_LARGEST = 1e300
PROFILES = ("smoke", "cpu", "gpu")
_TOP = {"notebook": str, "study": str, "retries": int, "timeout": (int, float), "profiles": dict}
_PROFILE = {
    "parameters": dict,
    "grid": dict,
    "list": list,
    "random": dict,
    "retries": int,
    "timeout": (int, float),
}
_WORDS = {str: "text", int: "a whole number", dict: "a mapping", list: "a list", (int, float): "a number"}


@dataclass(frozen=True)
class Spec:
    """One profile of a sweep file.

    Attributes
    ----------
    path, notebook, root : Path
        The file, the notebook it names, and the folder of the project they are in.
    study, profile : str
        What the results are called.
    retries : int
        How often a failed run is tried again.
    timeout : float or None
        Seconds a run may take.
    parameters, grid : dict
        Values of every run; and name to the values to combine.
    rows : list of dict
        Values of single runs.
    sample : dict
        ``count``, ``seed`` and ``parameters`` of a random sample, or empty.
    """

    path: Path
    notebook: Path
    root: Path
    study: str
    profile: str
    retries: int = 1
    timeout: float | None = None
    parameters: dict = field(default_factory=dict)
    grid: dict = field(default_factory=dict)
    rows: list = field(default_factory=list)
    sample: dict = field(default_factory=dict)


def read_spec(path, profile="cpu"):
    """Return one profile of the sweep file at ``path`` as a :class:`Spec`.

    Parameters
    ----------
    path : str or Path
        A YAML file.
    profile : str
        ``"smoke"``, ``"cpu"`` or ``"gpu"``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Not a sweep file, an unknown or repeated key, a value of the wrong type, or no such profile.
    """
    path = Path(path)
    table = _load(path)
    _check_keys(path.name, table, _TOP)
    for name in ("notebook", "profiles"):
        if name not in table:
            raise ValueError(f"{path.name} lacks the key '{name}:'; add it.")
    profiles = table["profiles"]
    for name, content in profiles.items():
        if name not in PROFILES:
            raise ValueError(f"{path.name} has the profile {name!r}; use smoke, cpu and gpu.")
        if not isinstance(content, dict):
            raise ValueError(f"{path.name}, profile {name}: it is not a mapping; write 'grid:' below it.")
        _check_keys(f"{path.name}, profile {name}", content, _PROFILE)
    if profile not in profiles:
        known = ", ".join(profiles) or "none"
        raise ValueError(f"{path.name} has no profile {profile!r}; its profiles are: {known}.")
    return _spec(path, table, profile, profiles[profile])


def _spec(path, table, profile, chosen):
    where = f"{path.name}, profile {profile}"
    folder = path.resolve().parent
    study = table.get("study", path.stem)
    plain = study.strip() == study and study.isprintable()
    if not study or not plain or any(letter in study for letter in "/\\") or study.startswith("."):
        raise ValueError(f"{path.name}: study is {study!r}; use a word that can be a folder's name.")
    retries, timeout = (chosen.get(key, table.get(key)) for key in ("retries", "timeout"))
    if retries is not None and not 0 <= retries <= 100:
        raise ValueError(f"{where}: retries is {retries}; use 0 ... 100.")
    if timeout is not None and not 0 < timeout <= _MOST_SECONDS:
        raise ValueError(f"{where}: timeout is {timeout}; use a number of seconds above 0, or leave it out.")
    sample = chosen.get("random", {})
    if "random" in chosen:
        _check_sample(where, sample)
    return Spec(
        path=path,
        notebook=(folder / table["notebook"]).resolve(),
        # A file in notebooks/sweeps/ belongs to the project two folders up; any other is its own project.
        root=folder.parent.parent if (folder.parent.name, folder.name) == ("notebooks", "sweeps") else folder,
        study=study,
        profile=profile,
        retries=1 if retries is None else retries,
        timeout=timeout,
        parameters=chosen.get("parameters", {}),
        grid={name: _axis(where, name, axis) for name, axis in chosen.get("grid", {}).items()},
        rows=_rows(where, chosen.get("list")),
        sample=sample,
    )


def _check_keys(where, table, known):
    for key, value in table.items():
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            advice = f"did you mean {close[0]}?" if close else f"use {', '.join(known)}."
            raise ValueError(f"{where} has the unknown key {key!r}; {advice}")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise ValueError(f"{where}: {key} is {_short(value)}; write {_WORDS[known[key]]}.")


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _axis(where, name, axis):
    """Return the values of a parameter of a grid, as a list or, for {low, high}, as a range."""
    if isinstance(axis, dict) and set(axis) == {"low", "high"}:
        low, high = axis["low"], axis["high"]
        if not all(type(end) is int for end in (low, high)) or low > high:
            raise ValueError(
                f"{where}: grid {name} goes from {low!r} to {high!r}; use whole numbers, low <= high."
            )
        return range(low, high + 1)
    if not isinstance(axis, list) or not axis:
        raise ValueError(
            f"{where}: grid {name} is {_short(axis)}; write a list such as [1, 2], or {{low: 1, high: 9}}."
        )
    return axis


def _rows(where, rows):
    if rows is None:
        return []
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        raise ValueError(f"{where}: list holds no mapping; write one run a line, such as '- {{n: 4}}'.")
    return rows


def _check_sample(where, sample):
    _check_keys(f"{where}, random", sample, {"count": int, "seed": int, "parameters": dict})
    if not sample.get("parameters") or sample.get("count", 0) < 1 or "seed" not in sample:
        raise ValueError(
            f"{where}: random needs 'count:' >= 1, 'seed:' and 'parameters:'; add what is missing."
        )
    for name, options in sample["parameters"].items():
        if isinstance(options, list) and options:
            continue
        if not isinstance(options, dict) or not {"low", "high"} <= set(options) <= {"low", "high", "log"}:
            raise ValueError(
                f"{where}: random {name} is {_short(options)}; write a list, or {{low: 1, high: 9}}."
            )
        _check_interval(where, name, **options)


def _check_interval(where, name, low, high, log=False):
    # Written so that NaN and the infinities are refused too.
    if not all(type(end) in (int, float) and abs(end) <= _LARGEST for end in (low, high)) or not low <= high:
        raise ValueError(
            f"{where}: random {name} goes from {_short(low)} to {_short(high)}; use numbers, low <= high."
        )
    if type(log) is not bool or (log and not low > 0):
        raise ValueError(f"{where}: random {name} has log: {log!r} from {low!r}; use true and a low above 0.")


# --- the file --------------------------------------------------------------------------------------


def _load(path):
    """Return the mapping in a YAML file.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`read_spec`.
    """
    try:
        import yaml
    except ImportError:
        raise ImportError("sweep files need PyYAML; run pip install 'neuinv[sweep]'.") from None

    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{str(path)!r} is no regular file; name a .yaml file.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{path.name} has {size} bytes; a sweep file may have {MAX_BYTES}.")
        text = path.read_text(encoding="utf-8")
        _check_events(path.name, text, yaml)
        table = yaml.load(text, Loader=_loader(yaml))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no sweep file {str(path)!r}; name a .yaml file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "a character that is not allowed"
        raise ValueError(f"{path.name} cannot be read{line}: {what}; correct it.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; save it as such.") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path.name} is not a mapping; its first line may read 'notebook: ../NAME.ipynb'.")
    return table


def _check_events(name, text, yaml):
    """Refuse what makes a small file mean an enormous one, or take minutes to read."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{name} uses a YAML alias (*name); write the value out.")
        letters = str(getattr(event, "value", None) or "")
        if "\0" in letters or any("\ud800" <= letter <= "\udfff" for letter in letters):
            raise ValueError(f"{name} has a character that no file name or notebook can hold; leave it out.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"{name} is nested too deeply; a sweep file has four levels.")


def _loader(yaml):
    """Return a safe loader that refuses a key given twice, of which plain YAML keeps the last."""

    class Loader(yaml.SafeLoader):
        def construct_object(self, node, deep=False):
            try:
                return super().construct_object(node, deep)
            except (ValueError, OverflowError, LookupError) as error:
                # YAML reads 2020-13-45 as a date, and a number may have more digits than Python converts.
                problem = f"{_short(node.value)} is no value ({_short(str(error))})"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

        def construct_mapping(self, node, deep=False):
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    problem = f"the key {key!r} is not text"
                elif key in seen:
                    problem = f"the key {key!r} is given twice"
                else:
                    seen.add(key)
                    continue
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            return super().construct_mapping(node, deep)

    return Loader
