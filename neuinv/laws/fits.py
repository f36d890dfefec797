"""Fits of the laws of growth to series of errors, with scores and bootstrap intervals."""

from dataclasses import dataclass

import numpy as np

from neuinv._checks import as_integer
from neuinv.laws.descent import fit
from neuinv.laws.table import LAWS, values_of

LEVEL = 0.95
# Logarithms of errors carry about this much rounding: a fit that is better is not better.
ROUNDING = 1e-9


@dataclass(frozen=True)
class LawFit:
    """One law, fitted to one series of errors.

    Attributes
    ----------
    law, formula : str
        Its name in ``LAWS``, and what it says of the error.
    parameters, intervals : dict
        Fitted values, and 95 % bootstrap intervals over the copies: they hold the spread of the copies, not
        the misfit of the law.
    rmse : float
        Root mean square misfit of log10 of the error at the condition numbers.
    aicc, bic : float
        Information criteria of the log-normal noise model; smaller is better, only differences mean anything.
    wins : float
        Share of the resamples in which the law has the smallest AICc.
    prediction : float
        Root mean square misfit of log10 of the error at the largest condition numbers, of the law fitted
        without them.
    times_kappa : bool
        Whether the formula is multiplied by kappa, see :func:`fit_laws`.
    """

    law: str
    formula: str
    parameters: dict
    intervals: dict
    rmse: float
    aicc: float
    bic: float
    wins: float
    prediction: float
    times_kappa: bool


def fit_laws(kappa, errors, *, seed, absolute=False, held_out=3, count=200):
    """Fit every law of ``LAWS`` to the errors of copies trained at several condition numbers.

    Parameters
    ----------
    kappa : array-like, shape (K,)
        Condition numbers above 1, increasing; at least 6.
    errors : array-like, shape (copies, K)
        Positive errors.
    seed : int
        Of the resamples.
    absolute : bool
        For absolute errors, in the unit of the inverse: the three saturating laws are then multiplied by
        kappa, because the absolute error grows like kappa where the relative one has saturated.
    held_out : int
        How many of the largest condition numbers a prediction is asked for; at least 4 must be left.
    count : int
        Resamples of the copies, at least 20.

    Returns
    -------
    dict of str to LawFit
        By AICc, the best first.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes, condition numbers that do not increase or are at most 1, errors that are not positive
        and finite, or numbers out of range.

    Examples
    --------
    >>> kappa = np.array([1.5, 3, 6, 12, 25, 50, 100])
    >>> next(iter(fit_laws(kappa, 0.01 * kappa**0.76 * np.ones((2, 1)), seed=0)))
    'power'
    """
    x, logs = _check_series(kappa, errors)
    held_out = as_integer(held_out, "held_out", 1)
    if len(x) - held_out < 4:
        raise ValueError(f"held_out is {held_out} of {len(x)} condition numbers; leave at least 4.")
    count = as_integer(count, "count", 20)
    generator = np.random.default_rng(as_integer(seed, "seed", 0))
    drawn = generator.integers(len(logs), size=(count, len(logs)))
    # The first row is the sample itself.
    means = np.concatenate([logs.mean(axis=0)[None], logs[drawn].mean(axis=1)])  # (1 + count, K)
    part = len(x) - held_out
    found, scores = {}, {}
    for name, law in LAWS.items():
        shift = x if absolute and law.saturating else 0 * x
        fitted, squares = fit(law, x, means - shift)
        early, _ = fit(law, x[:part], (means - shift)[:1, :part])
        missed = law.log_value(x[part:], early[0][:, None]) + shift[part:] - means[0, part:]
        scores[name] = _aicc(squares, len(x), len(law.names))
        found[name] = (
            fitted,
            squares[0],
            np.sqrt(np.mean(missed**2)) / np.log(10),
            absolute and law.saturating,
        )
    winners = np.array(list(LAWS))[np.argmin([scores[name] for name in LAWS], axis=0)]
    fits = [_described(name, *found[name], scores[name][0], winners[1:], len(x)) for name in LAWS]
    return {fit.law: fit for fit in sorted(fits, key=lambda fit: fit.aicc)}


def _described(name, fitted, squares, prediction, times_kappa, aicc, winners, size):
    law = LAWS[name]
    values = np.where([how == "log" for how in law.shown], np.exp(np.clip(fitted, -700, 700)), fitted)
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    p = len(law.names) + 1
    return LawFit(
        law=name,
        formula=f"kappa {law.formula}" if times_kappa else law.formula,
        parameters=dict(zip(law.names, values[0].tolist(), strict=True)),
        intervals=dict(zip(law.names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
        rmse=float(np.sqrt(squares / size) / np.log(10)),
        aicc=float(aicc),
        bic=float(size * np.log(_floored(squares, size)) + p * np.log(size)),
        wins=float((winners == name).mean()),
        prediction=float(prediction),
        times_kappa=bool(times_kappa),
    )


def _floored(squares, size):
    return squares / size + ROUNDING**2


def _aicc(squares, size, num_parameters):
    p = num_parameters + 1  # and the variance
    return size * np.log(_floored(squares, size)) + 2 * p + 2 * p * (p + 1) / (size - p - 1)


def law_values(fit, kappa):
    """Return the errors that a fitted law gives at condition numbers above 1, shape (K,).

    Examples
    --------
    >>> kappa = np.array([1.5, 3, 6, 12, 25, 50, 100])
    >>> fit = fit_laws(kappa, kappa[None] / 100, seed=0)["power"]
    >>> law_values(fit, [200.0]).round(6).tolist()
    [2.0]
    """
    return values_of(fit.law, fit.parameters, kappa, fit.times_kappa)


def _check_series(kappa, errors):
    kappa, errors = np.asarray(kappa, dtype=float), np.asarray(errors, dtype=float)
    if kappa.ndim != 1 or errors.ndim != 2 or errors.shape[1] != len(kappa) or not len(errors):
        raise ValueError(f"the shapes are {kappa.shape} and {errors.shape}; pass (K,) and (copies, K).")
    if len(kappa) < 6:
        raise ValueError(f"kappa has {len(kappa)} values; three parameters and a variance need at least 6.")
    if not (np.isfinite(kappa).all() and kappa[0] > 1 and (np.diff(kappa) > 0).all()):
        raise ValueError(f"kappa is {kappa.tolist()}; pass increasing finite numbers above 1.")
    if not (np.isfinite(errors).all() and (errors > 0).all()):
        raise ValueError("an error is not positive and finite; leave out what has no logarithm.")
    return np.log(kappa), np.log(errors)


def local_exponents(kappa, errors):
    """Return the exponents of the powers between neighbouring condition numbers, shape (copies, K - 1).

    No law is assumed: an exponential in kappa has exponents that grow like kappa, a saturated error has 0.

    Raises
    ------
    ValueError
        As :func:`fit_laws`.

    Examples
    --------
    >>> kappa = np.array([2.0, 4, 8, 16, 32, 64])
    >>> local_exponents(kappa, kappa[None] ** 2).round(6).tolist()
    [[2.0, 2.0, 2.0, 2.0, 2.0]]
    """
    x, logs = _check_series(kappa, errors)
    return np.diff(logs, axis=1) / np.diff(x)


def power_exponent(kappa, errors, *, seed, count=1000):
    """Return the exponent b of the best power a kappa^b, with a 95 % bootstrap interval over the copies.

    Parameters
    ----------
    kappa : array-like, shape (K,)
        Condition numbers above 1, increasing, at least 2: a range in which a power is a fair description.
    errors : array-like, shape (copies, K)
        Positive errors.
    seed, count : int
        Of the resamples, and their number.

    Returns
    -------
    b, low, high, r_squared : float
        The last is the share of the variance of log error that the power explains.

    Raises
    ------
    ValueError
        Fewer than two condition numbers, or shapes that do not fit.

    Examples
    --------
    >>> kappa = np.array([2.0, 4, 8])
    >>> [round(v, 6) for v in power_exponent(kappa, 3 * kappa[None] ** 0.5, seed=0)]
    [0.5, 0.5, 0.5, 1.0]
    """
    x, logs = np.log(np.asarray(kappa, dtype=float)), np.log(np.asarray(errors, dtype=float))
    if x.ndim != 1 or len(x) < 2 or logs.ndim != 2 or logs.shape[1] != len(x):
        raise ValueError(
            f"the shapes are {x.shape} and {logs.shape}; pass (K,) with K >= 2, and (copies, K)."
        )
    drawn = np.random.default_rng(seed).integers(len(logs), size=(count, len(logs)))
    centred = x - x.mean()
    slopes = (logs @ centred) / (centred @ centred)  # (copies,)
    low, high = np.quantile(slopes[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = logs.mean(axis=0)
    left = mean - mean.mean() - slopes.mean() * centred
    total = ((mean - mean.mean()) ** 2).sum()
    return float(slopes.mean()), float(low), float(high), float(1 - (left**2).sum() / max(total, 1e-300))
