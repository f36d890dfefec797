"""The competing laws of growth, and errors drawn from them."""

from dataclasses import dataclass

import numpy as np

from neuinv._checks import as_integer


@dataclass(frozen=True)
class Law:
    """A formula, the names of its parameters, and how they are fitted."""

    formula: str
    names: tuple
    log_value: object  # (log kappa, parameters (..., P, 1)) -> log error
    starts: object  # (log kappa, log error) -> (S, P)
    shown: tuple  # per parameter: "log" if the natural logarithm of the named quantity is fitted, else "id"
    saturating: bool = False


def _soft(x):
    """Return log(1 + exp x) without overflow."""
    return np.logaddexp(0, x)


def _line(x, y):
    slope, level = np.polyfit(x, y, 1)
    return [[level, slope]]


def _sums(x, y):
    """Starts of log(a + b g): each term carries the first, respectively the last, value, or half of both."""
    g = max(x[-1], 1e-3)
    return [
        [y[0], y[-1] - g],
        [y[0] - 0.7, y[-1] - g],
        [y[0], y[-1] - np.log(g)],
        [y[0] - 5, y[-1] - np.log(g)],
    ]


def _ceilings(x, y):
    top = y.max()
    middles = np.quantile(x, [0.0, 0.25, 0.5, 0.75])
    return [[top, middle, shape] for middle in middles for shape in (-0.7, 0.0, 0.7)]


LAWS = {
    "constant": Law("a", ("a",), lambda x, p: p[..., 0, :] + 0 * x, lambda x, y: [[y.mean()]], ("log",)),
    "logarithmic": Law(
        "a + b ln kappa",
        ("a", "b"),
        lambda x, p: np.logaddexp(p[..., 0, :], p[..., 1, :] + np.log(np.maximum(x, 1e-12))),
        _sums,
        ("log", "log"),
    ),
    "power": Law("a kappa^b", ("a", "b"), lambda x, p: p[..., 0, :] + p[..., 1, :] * x, _line, ("log", "id")),
    "linear": Law(
        "a + b kappa",
        ("a", "b"),
        lambda x, p: np.logaddexp(p[..., 0, :], p[..., 1, :] + x),
        _sums,
        ("log", "log"),
    ),
    "exponential": Law(
        "a exp(b kappa)",
        ("a", "b"),
        lambda x, p: p[..., 0, :] + p[..., 1, :] * np.exp(x),
        lambda x, y: _line(np.exp(x), y),
        ("log", "id"),
    ),
    "saturating power": Law(
        "c kappa^b / (kappa^b + k^b)",
        ("c", "k", "b"),
        lambda x, p: p[..., 0, :] - _soft(-np.exp(p[..., 2, :]) * (x - p[..., 1, :])),
        _ceilings,
        ("log", "log", "log"),
        True,
    ),
    "saturating exponential": Law(
        "c (1 - exp(-(kappa/k)^b))",
        ("c", "k", "b"),
        lambda x, p: p[..., 0, :] + np.log(-np.expm1(-np.exp(_bounded(p, x, 1)))),
        _ceilings,
        ("log", "log", "log"),
        True,
    ),
    "delayed": Law(
        "c exp(-(k/kappa)^b)",
        ("c", "k", "b"),
        lambda x, p: p[..., 0, :] - np.exp(_bounded(p, x, -1)),
        _ceilings,
        ("log", "log", "log"),
        True,
    ),
}


def _bounded(p, x, sign):
    """Return sign b (log kappa - log k), kept where two exponentials of it neither vanish nor overflow."""
    return np.clip(sign * np.exp(p[..., 2, :]) * (x - p[..., 1, :]), -30, 6)


def values_of(name, parameters, kappa, times_kappa=False):
    """Return the errors of a law, shape (K,)."""
    law, x = LAWS[name], np.log(np.asarray(kappa, dtype=float))
    theta = [
        np.log(parameters[key]) if how == "log" else parameters[key]
        for key, how in zip(law.names, law.shown, strict=True)
    ]
    with np.errstate(over="ignore"):
        return np.exp(law.log_value(x, np.asarray(theta)[:, None]) + (x if times_kappa else 0))


def draw_errors(law, parameters, kappa, *, copies, noise, seed):
    """Draw errors of a known law, with log-normal noise: what a method that judges laws is judged on.

    Parameters
    ----------
    law : str
        A key of ``LAWS``.
    parameters : dict
        A value for each of its parameters.
    kappa : array-like, shape (K,)
        Condition numbers above 1.
    copies : int
        Number of rows.
    noise : float
        Standard deviation of the natural logarithm.
    seed : int
        Of the noise.

    Returns
    -------
    array, shape (copies, K)

    Raises
    ------
    ValueError
        An unknown law, or parameters that are not its own.
    TypeError
        ``copies`` or ``seed`` is no integer.

    Examples
    --------
    >>> draw_errors("power", {"a": 2.0, "b": 1.0}, [2.0, 4.0], copies=1, noise=0.0, seed=0).round(6).tolist()
    [[4.0, 8.0]]
    """
    if law not in LAWS:
        raise ValueError(f"law is {law!r}; use one of {', '.join(LAWS)}.")
    if set(parameters) != set(LAWS[law].names):
        raise ValueError(f"law {law!r} has the parameters {', '.join(LAWS[law].names)}; pass these.")
    generator = np.random.default_rng(as_integer(seed, "seed", 0))
    exact = values_of(law, parameters, kappa)
    shape = (as_integer(copies, "copies", 1), len(exact))
    return exact * np.exp(noise * generator.standard_normal(shape))
