"""The door of a notebook: parameters from outside must be known, of the right type and in range."""

import types
import typing
from difflib import get_close_matches

from neuinv.records.provenance import remember

# What ``papermill -p`` and ``-y`` can inject; anything else in a namespace was made by a cell.
_INJECTABLE = (type(None), bool, int, float, str, list, dict)
_IPYTHON = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython"})
# Left in a namespace seen before: on a second run the user's own variables are there and mean nothing.
_SEEN = "_neuinv_parameters_seen"


def notebook_parameters(namespace, notebook=None, /, *, check_device=False, **ranges):
    """Check the parameters of a notebook and return them.

    Call it in the first cell after the cell tagged ``parameters``, whose variables
    are annotated: ``parameters = notebook_parameters(globals(), n=(1, 512))``.

    Parameters
    ----------
    namespace : dict
        ``globals()`` of the notebook.
    notebook : str, optional
        Its slug, for the records of a run that does not set ``$NEUINV_NOTEBOOK``.
    check_device : bool
        Whether to try the parameter ``device`` now.
    **ranges
        For a parameter, ``(low, high)`` as a tuple of two numbers, both allowed, or None for no
        bound; or a list or set of the values it may take.

    Returns
    -------
    dict
        Name to value; an integer given for a float is a float.

    Raises
    ------
    TypeError
        A value is not of the annotated type, or a range names no parameter.
    ValueError
        No annotated parameter, an unknown parameter, a value out of range, an unknown device.

    Examples
    --------
    >>> notebook_parameters({"__annotations__": {"n": int}, "n": 4}, n=(1, 8))
    {'n': 4}
    >>> notebook_parameters({"__annotations__": {"n": int}, "n": 4, "m": 5})
    Traceback (most recent call last):
    ...
    ValueError: m is not a parameter of this notebook, whose parameters are n; leave it out.
    """
    hints = annotated_parameters(namespace)
    if _SEEN not in namespace:
        _refuse_unknown(namespace, hints)
    else:
        _refuse_rebound(namespace, hints)
    parameters = {name: typed_value(name, namespace[name], hint) for name, hint in hints.items()}
    for name, allowed in ranges.items():
        if name not in parameters:
            raise TypeError(f"a range is given for {name}, which is not one of {_list(hints)}; rename it.")
        check_range(name, parameters[name], allowed)
    if check_device:
        from neuinv._checks import resolve_device

        resolve_device(parameters.get("device", "auto"))
    namespace[_SEEN] = True
    remember(parameters, notebook)
    return parameters


def annotated_parameters(namespace):
    """Return the annotated variables of a namespace that have a value, with their types.

    Raises
    ------
    ValueError
        There is none.
    """
    holder = types.SimpleNamespace(__annotations__=dict(namespace.get("__annotations__", {})))
    hints = typing.get_type_hints(holder, globalns=namespace)
    hints = {name: hint for name, hint in hints.items() if name in namespace and not name.startswith("_")}
    if not hints:
        raise ValueError(
            "no parameter is annotated here; write 'n: int = 8' in its parameters cell and run that."
        )
    return hints


def _refuse_unknown(namespace, hints):
    for name, value in namespace.items():
        if name in hints or name.startswith("_") or name in _IPYTHON or type(value) not in _INJECTABLE:
            continue
        refuse_unknown(name, hints)


def refuse_unknown(name, hints):
    """Say that ``name`` is none of the parameters in ``hints``, and which is closest.

    Raises
    ------
    ValueError
        Always.
    """
    close = get_close_matches(name, hints, n=1)
    advice = f"did you mean {close[0]}?" if close else "leave it out."
    raise ValueError(
        f"{name} is not a parameter of this notebook, whose parameters are {_list(hints)}; {advice}"
    )


def _refuse_rebound(namespace, hints):
    # Notebooks reuse the name: device = neuinv.resolve_device(device); then this cell alone cannot run twice.
    for name in hints:
        if type(namespace[name]) not in _INJECTABLE + (tuple,):
            found = type(namespace[name]).__name__
            raise TypeError(f"{name} has become a {found} since; run the cell tagged parameters again first.")


def _list(names):
    return ", ".join(names)


def typed_value(name, value, hint):
    """Return ``value``, as a float where ``hint`` asks for one, if it is of the type ``hint``.

    Raises
    ------
    TypeError
        It is not.
    """
    if not _fits(value, hint):
        # A class has a short name; int | None, list[int] and Literal read best as they are written.
        wanted = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
        raise TypeError(f"{name} = {value!r} is of type {type(value).__name__}; pass one of type {wanted}.")
    return float(value) if hint is float else value


def _fits(value, hint):
    """Return whether ``value`` is of the type ``hint``; a bool is no number, an int is a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if hint is None or hint is type(None):
        return value is None
    if origin in (list, tuple) or hint in (list, tuple):
        return _fits_sequence(value, origin or hint, arguments)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type):
        return isinstance(value, hint)
    raise TypeError(
        f"the annotation {hint} is not supported; use int, float, bool, str, list, dict or a union."
    )


def _fits_sequence(value, kind, arguments):
    # YAML and JSON know only lists, so a list is welcome where a tuple is annotated.
    if not isinstance(value, list if kind is list else list | tuple):
        return False
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return not arguments or all(_fits(item, arguments[0]) for item in value)


def check_range(name, value, allowed):
    """Refuse a value outside ``allowed``: a tuple (low, high), or the values themselves.

    Raises
    ------
    ValueError
        The value is outside.
    """
    if isinstance(allowed, tuple):
        low, high = allowed
        # Written so that NaN, which compares false with everything, is out of range.
        if value is not None and not ((low is None or value >= low) and (high is None or value <= high)):
            bounds = f"{'-inf' if low is None else low} ... {'inf' if high is None else high}"
            raise ValueError(f"{name} = {value!r} is out of range; pass a value in {bounds}.")
    elif value not in allowed:
        close = get_close_matches(str(value), [str(choice) for choice in allowed], n=1)
        known = _list(sorted(map(str, allowed)))
        advice = f"did you mean {close[0]}?" if close else f"pass one of {known}."
        raise ValueError(f"{name} = {value!r} is not available; {advice}")
