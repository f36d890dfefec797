"""The registry of matrix families: register one, list them, build one by name."""

import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from neuinv._checks import check_matrices
from neuinv.gallery.base import MatrixFamily
from neuinv.gallery.facts import Facts
from neuinv.gallery.parameters import (
    Parameter,
    check_parameters,
    declared_arguments,
    infer_parameters,
    unknown,
)
from neuinv.gallery.tags import TAGS

_SPECS = {}


@dataclass(frozen=True)
class FamilySpec:
    """What a registration declares; :meth:`build` makes the family for given parameters."""

    name: str
    function: Callable
    tags: tuple
    parameters: dict
    use: str
    reference: str
    description: str
    facts: Callable | None = None
    with_inverse: Callable | None = None
    requires: tuple = ()
    data: str = ""
    detail: str = field(default="", repr=False)

    def build(self, n=None, **given):
        """Return the :class:`MatrixFamily` for the given parameters, defaults filled in.

        Raises
        ------
        TypeError, ValueError, ModuleNotFoundError
            As :func:`family`.
        """
        _check_installed(self)
        if n is not None and "n" in self.parameters:
            given["n"] = n
        parameters = check_parameters(self.name, self.parameters, given)
        facts = self.facts(**parameters) if self.facts else Facts()
        _check_tags(self.name, facts.tags)
        size = self._size(parameters, facts)
        if n is not None and n != size:
            raise ValueError(f"n = {n!r} does not fit family {self.name!r}, whose n is {size}; leave n away.")
        return MatrixFamily(self, parameters, facts, size)

    def _size(self, parameters, facts):
        if facts.n is not None:
            return facts.n
        if "n" in parameters:
            return parameters["n"]
        # a family registered without a size says it by its first draw
        probe = self.function(1, torch.Generator().manual_seed(0), **parameters)
        return check_matrices(probe, f"the draw of family {self.name!r}").shape[-1]


def register_family(
    name,
    *,
    tags=(),
    parameters=None,
    use="",
    reference="",
    facts=None,
    with_inverse=None,
    requires=(),
    data="",
):
    """Register a function ``(batch, generator, **parameters) -> (batch, n, n)`` as a family.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and hyphens.
    tags : iterable of str
        Properties that every setting of the parameters has, from :data:`neuinv.gallery.TAGS`.
    parameters : dict of str to Parameter, optional
        Declared parameters; without it they are read off the signature (type and default).
    use : str
        What the inverse of such a matrix is wanted for.
    reference : str
        Author, year, title.
    facts : callable, optional
        ``facts(**parameters) -> Facts``: what else is known for these parameters; raises
        ``ValueError`` when they contradict each other.
    with_inverse : callable, optional
        ``(batch, generator, **parameters) -> (A, X)`` with X the inverse in closed form, and A
        what the function itself draws from the same generator.
    requires : tuple of str
        Optional packages, as ``"module (distribution)"`` or ``"module"``.
    data : str
        Source of the data, for a family made from real data.

    Returns
    -------
    callable
        A decorator that registers the function and returns it unchanged.

    Raises
    ------
    ValueError
        A malformed or taken name, or a tag outside the vocabulary.
    TypeError
        A signature without (batch, generator), a parameter without a usable default, or a text where a
        tuple of texts is wanted.

    Notes
    -----
    The function draws from ``generator`` alone, on the CPU, in float64. Running the same
    registration again (a notebook cell, say) replaces the earlier one.

    Examples
    --------
    >>> import torch
    >>> @register_family("doubled-identity", tags=("spd",))
    ... def doubled_identity(batch, generator, n=2):
    ...     return 2.0 * torch.eye(n, dtype=torch.float64).expand(batch, n, n).clone()
    >>> family("doubled-identity").sample(1, seed=0)
    tensor([[[2., 0.],
             [0., 2.]]], dtype=torch.float64)
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"family name {name!r} is malformed; use lower-case words joined by hyphens.")
    # Tuples first, because a generator can be read only once.
    tags = _as_tuple(tags, "tags", name)
    requires = _as_tuple(requires, "requires", name)
    _check_tags(name, tags)

    def decorate(function):
        specs = infer_parameters(function) if parameters is None else dict(parameters)
        _check_declared(function, specs)
        _check_free(name, function)
        detail = inspect.getdoc(function) or ""
        _SPECS[name] = FamilySpec(
            name,
            function,
            tags,
            specs,
            use,
            reference,
            detail.split("\n\n")[0].replace("\n", " "),
            facts,
            with_inverse,
            requires,
            data,
            detail,
        )
        return function

    return decorate


def families():
    """Return the names of all registered families, sorted."""
    return sorted(_SPECS)


def family(name, **parameters):
    """Return the registered family ``name`` with the given parameters.

    Parameters
    ----------
    name : str
        One of :func:`families`.
    **parameters
        Declared parameters of the family, see :func:`parameter_specs`. Every family takes
        ``n``; one of fixed size accepts only its own.

    Returns
    -------
    MatrixFamily

    Raises
    ------
    ValueError
        Unknown name or parameter, a value out of range, or an ``n`` the family does not have.
    TypeError
        A parameter of the wrong type.
    ModuleNotFoundError
        The family needs an optional package that is not installed.

    Examples
    --------
    >>> family("gaussian", n=4).sample(2, seed=0).shape
    torch.Size([2, 4, 4])
    """
    return _spec(name).build(**parameters)


def parameter_specs(name):
    """Return the declared parameters of a family, a dict of name to :class:`Parameter`.

    Raises
    ------
    ValueError
        Unknown name.
    """
    return dict(_spec(name).parameters)


def parameters_from_text(name, pairs):
    """Return the parameters written as texts ``KEY=VALUE``, each read as the type that the family declares.

    Parameters
    ----------
    name : str
        One of :func:`families`.
    pairs : iterable of str
        Such as ``("n=8", "kind=spd")``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        Unknown name, no pair, or a value that is not of the declared type.

    Examples
    --------
    >>> parameters_from_text("wishart", ["n=8", "aspect=1.5"])
    {'n': 8, 'aspect': 1.5}
    """
    specs, found = _spec(name).parameters, {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"parameter {pair!r} is no pair; write KEY=VALUE, as in n=8.")
        if key not in specs:
            raise ValueError(unknown(f"parameter of family {name!r}", key, specs))
        found[key] = specs[key].from_text(text, name, key)
    return found


def describe(name):
    """Return the full description of a family: how it is made, the use, the reference.

    Raises
    ------
    ValueError
        Unknown name.
    """
    spec = _spec(name)
    lines = [
        f"{key} = {value.default!r}: {value.meaning} ({value.range_text})"
        for key, value in spec.parameters.items()
    ]
    parts = [
        spec.detail,
        "parameters:\n" + "\n".join(lines) if lines else "",
        f"use: {spec.use}" if spec.use else "",
        f"reference: {spec.reference}" if spec.reference else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _spec(name):
    if not isinstance(name, str):
        raise TypeError(f"family name {name!r} is a {type(name).__name__}; pass a text such as 'gaussian'.")
    if name not in _SPECS:
        raise ValueError(unknown("family", name, families()))
    return _SPECS[name]


def _as_tuple(texts, what, name):
    if isinstance(texts, str):
        raise TypeError(
            f"{what} of family {name!r} is the text {texts!r}; pass a tuple such as ({texts!r},)."
        )
    return tuple(texts)


def _check_tags(name, tags):
    for tag in _as_tuple(tags, "tags", name):
        if tag not in TAGS:
            raise ValueError(unknown(f"tag (declared by family {name!r})", tag, TAGS))


def _check_declared(function, specs):
    taken = sorted(argument.name for argument in declared_arguments(function))
    if taken != sorted(specs):
        raise TypeError(
            f"{function.__name__} takes {taken} but parameters= declares {sorted(specs)}; make them agree."
        )
    for name, spec in specs.items():
        if not isinstance(spec, Parameter):
            raise TypeError(f"parameters[{name!r}] is {spec!r}; pass a Parameter({spec!r}, ...).")


def _check_free(name, function):
    if name in _SPECS:
        taken = _SPECS[name].function
        same = (taken.__module__, taken.__qualname__) == (function.__module__, function.__qualname__)
        if not same:
            raise ValueError(f"family {name!r} is registered by {taken.__module__}; choose another name.")


def _check_installed(spec):
    for requirement in spec.requires:
        module, _, distribution = requirement.partition(" ")
        if importlib.util.find_spec(module) is None:
            package = distribution.strip("()") or module
            raise ModuleNotFoundError(
                f"family {spec.name!r} needs the package {package}; install it with 'pip install {package}'."
            )


__all__ = [
    "FamilySpec",
    "Parameter",
    "describe",
    "families",
    "family",
    "parameter_specs",
    "parameters_from_text",
    "register_family",
]
