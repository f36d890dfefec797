"""Values as strict JSON: lossless for floats, free of machine paths, with one canonical text."""

import hashlib
import json
import math
import re
from enum import Enum

_FLOAT = "$float"
_DEEPEST = 50
# An absolute path of two or more parts, after ~ or a drive letter too; the look-behind keeps URLs, fractions
# and relative paths out, and a backslash counts only after a drive letter, because TeX has backslashes.
_PATH = re.compile(
    r"""(?<![\w/.:~])(?:~?/(?:[^\s/:'"]+/)+|[A-Za-z]:[/\\](?:[^\s/\\:'"]+[/\\])*)([^\s/\\:'"]*)"""
)


def to_json(value, name="value"):
    """Return ``value`` in types that strict JSON knows.

    Parameters
    ----------
    value : None, bool, int, float, str, Enum, list, tuple, dict, or a NumPy or torch scalar
        Non-finite floats become ``{"$float": "inf"}`` and come back with :func:`from_json`.
    name : str
        What to call it in a message.

    Raises
    ------
    TypeError
        A type JSON does not have, an array of more than one element, a key that is not a string.
    ValueError
        A key that starts with ``$``, or lists nested too deeply, as those that contain themselves are.
    """
    return _to_json(value, name, 0)


def _to_json(value, name, depth):
    if depth > _DEEPEST:
        root = name.partition("[")[0]
        raise ValueError(
            f"{root} is nested more than {_DEEPEST} deep or contains itself; record a flat value."
        )
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    # NumPy's float64 is a float and torch's Size a tuple: subclasses are cast to the plain type.
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        value = float(value)
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list | tuple):
        return [_to_json(item, f"{name}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            check_key(key, name): _to_json(item, f"{name}[{key!r}]", depth + 1) for key, item in value.items()
        }
    return _scalar(value, name)


def check_key(key, name):
    """Return ``key`` if it can be a key of the dict called ``name``.

    Raises
    ------
    TypeError, ValueError
        No string, or reserved for :func:`to_json` itself.
    """
    if not isinstance(key, str):
        raise TypeError(f"{name} has the key {key!r}; use strings as keys.")
    if key.startswith("$"):
        raise ValueError(f"{name} has the key {key!r}; keys that start with $ are reserved.")
    return key


def _scalar(value, name):
    """Unpack a NumPy or torch scalar, which both answer to ``shape`` and ``item``."""
    if hasattr(value, "shape") and hasattr(value, "item"):
        shape = tuple(value.shape)
        if math.prod(shape) != 1:
            raise TypeError(
                f"{name} is an array of shape {shape}; record its median, say, or .tolist() if small."
            )
        item = value.item()
        # NumPy's longdouble has no Python type and unpacks to itself.
        if type(item) is not type(value):
            return to_json(item, name)
        raise TypeError(
            f"{name} is a {type(value).__name__}, wider than JSON's numbers; record float(...) of it."
        )
    raise TypeError(f"{name} is a {type(value).__name__}; record numbers, strings, lists and dicts of them.")


def from_json(value):
    """Undo :func:`to_json`: bring back the non-finite floats."""
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: from_json(item) for key, item in value.items()}
    return value


def without_paths(value):
    """Return JSON ``value`` with every absolute path shortened to ``<local>/last part``.

    Raises
    ------
    ValueError
        Two keys of a dict differ only in what is cut off.
    """
    if isinstance(value, str):
        return _PATH.sub(r"<local>/\1", value)
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, dict):
        shortened = {}
        for key, item in value.items():
            short = without_paths(key)
            if short in shortened:
                raise ValueError(
                    f"two keys become {short!r} without their folders; use keys that stay apart."
                )
            shortened[short] = without_paths(item)
        return shortened
    return value


def canonical(value):
    """Return the one JSON text of ``value``: keys sorted, no spaces, 1 and 1.0 different."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value):
    """Return the SHA-256 of :func:`canonical`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
