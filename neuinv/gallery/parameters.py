"""Parameters of a family: their types, ranges and the sentence that refuses a wrong value."""

import difflib
import inspect
import math
import numbers
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; its type is the type of the default.

    Parameters
    ----------
    default : int, float, bool or str
        Value used when none is given.
    meaning : str
        What it does, with units where it has any.
    low, high : float or None
        Closed range of a number; None leaves that side open to infinity.
    above : float or None
        Strict lower bound, for ranges that exclude their end.
    below : float or None
        Strict upper bound.
    choices : tuple
        The only values allowed.
    """

    default: object
    meaning: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple = ()

    def from_text(self, text, owner, name):
        """Return the value that a text stands for, in the type of the default.

        Raises
        ------
        ValueError
            It stands for none.
        """
        kind = type(self.default)
        if kind is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise ValueError(f"{name} = {text!r} of family {owner!r} is no truth value; write true or false.")
        try:
            return kind(text)
        except ValueError:
            wanted = "an integer" if kind is int else "a number"
            raise ValueError(f"{name} = {text!r} of family {owner!r} is not {wanted}; pass one.") from None

    def check(self, value, owner, name):
        """Return ``value`` as the declared type.

        Parameters
        ----------
        value : object
            The candidate.
        owner, name : str
            Family and parameter, for the message.

        Raises
        ------
        TypeError
            Another type than that of the default (an int may stand for a float).
        ValueError
            Not finite, out of range or not among the choices.
        """
        value = self._convert(value, owner, name)
        if self.choices and value not in self.choices:
            listed = ", ".join(repr(choice) for choice in self.choices)
            raise ValueError(f"{name} = {value!r} is no choice of family {owner!r}; use one of {listed}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} = {value} of family {owner!r} is not finite; pass a finite number.")
        if self._outside(value):
            raise ValueError(f"{name} = {value} is out of range for family {owner!r}; use {self.range_text}.")
        return value

    def _convert(self, value, owner, name):
        wanted = type(self.default)
        is_bool = isinstance(value, bool)
        if (wanted is bool and is_bool) or (wanted is str and isinstance(value, str)):
            return value
        # bool is an Integral for Python, but True is never meant as the number 1 here
        if wanted is int and isinstance(value, numbers.Integral) and not is_bool:
            return int(value)
        if wanted is float and isinstance(value, numbers.Real) and not is_bool:
            try:
                return float(value)
            except OverflowError:
                # Without the value: its hundreds of digits say less.
                raise ValueError(
                    f"{name} of family {owner!r} is beyond the range of float64; pass a number up to 1.8e308."
                ) from None
        raise TypeError(
            f"{name} = {value!r} of family {owner!r} is a {type(value).__name__}; pass a {wanted.__name__}."
        )

    def _outside(self, value):
        return (
            (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )

    @property
    def range_text(self):
        """The allowed values in words, such as ``a float > 0 and <= 1``."""
        if self.choices:
            return " | ".join(str(choice) for choice in self.choices)
        limits = ((">=", self.low), (">", self.above), ("<=", self.high), ("<", self.below))
        parts = [f"{sign} {limit:g}" for sign, limit in limits if limit is not None]
        word = {int: "an integer", float: "a number", bool: "True or False"}.get(type(self.default), "a text")
        return " ".join([word, " and ".join(parts)]).strip()

    def parse(self, text, owner, name):
        """Return the value written as ``text`` (from a command line), checked.

        Raises
        ------
        TypeError, ValueError
            As :meth:`check`, or the text is no value of the declared type.
        """
        wanted = type(self.default)
        try:
            value = {"true": True, "false": False}[text.lower()] if wanted is bool else wanted(text)
        except (KeyError, ValueError):
            raise ValueError(
                f"{name} = {text!r} is no value for family {owner!r}; use {self.range_text}."
            ) from None
        return self.check(value, owner, name)


def declared_arguments(function):
    """Return the arguments of a draw function after ``(batch, generator)``.

    Raises
    ------
    TypeError
        The function does not begin with ``(batch, generator)``, or takes ``*args`` or
        ``**kwargs``.
    """
    arguments = list(inspect.signature(function).parameters.values())
    if [argument.name for argument in arguments[:2]] != ["batch", "generator"]:
        raise TypeError(
            f"{function.__name__}{inspect.signature(function)} must begin with (batch, generator), "
            "as in def draw(batch, generator, n=8)."
        )
    for argument in arguments[2:]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise TypeError(f"{function.__name__} takes {argument}; name its parameters instead.")
    return arguments[2:]


def infer_parameters(function):
    """Return the parameters of a draw function read off its signature.

    Raises
    ------
    TypeError
        As :func:`declared_arguments`, or a default is missing or no int, float, bool or str.
    """
    inferred = {}
    for argument in declared_arguments(function):
        if not isinstance(argument.default, (bool, int, float, str)):
            raise TypeError(
                f"parameter {argument.name} of {function.__name__} needs a default of type int, float, "
                "bool or str, or declare it with parameters={...}."
            )
        inferred[argument.name] = Parameter(argument.default)
    return inferred


def check_parameters(owner, specs, given):
    """Return the complete parameters of a family: ``given`` over the defaults, each checked.

    Parameters
    ----------
    owner : str
        Name of the family.
    specs : dict of str to Parameter
        Declared parameters.
    given : dict
        What the user passed.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Parameter.check`, or an undeclared name.
    """
    for name in given:
        if name not in specs:
            raise ValueError(unknown(f"parameter of family {owner!r}", name, specs))
    return {name: spec.check(given.get(name, spec.default), owner, name) for name, spec in specs.items()}


def unknown(what, name, known):
    """Return the sentence for an unknown name, with the closest known ones."""
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(close)}" if close else f"use one of {', '.join(known) or '(none)'}"
    return f"{name!r} is no known {what}; {advice}."
