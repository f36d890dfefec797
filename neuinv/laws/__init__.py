r"""Competing laws for the growth of an error with the condition number: fitted, scored, compared.

Each law is fitted to the logarithm of the error by least squares, that is, with noise that multiplies the
error by a log-normal factor of one size for all condition numbers. What counts is the misfit of the law to
the mean of the logarithms over the copies at each condition number: copies trained at the same condition
number share that misfit, so K condition numbers are K observations, however many copies there are.

Errors against sizes, data and steps are fitted elsewhere, with floors and with every seed an observation, in
``neuinv.scaling.laws``, which says why.
"""

from neuinv.laws.fits import LawFit, fit_laws, law_values, local_exponents, power_exponent
from neuinv.laws.series import SETTINGS, Series, alike_but, growth_series, kappa_at, shift
from neuinv.laws.table import LAWS, draw_errors

__all__ = [
    "LAWS",
    "SETTINGS",
    "LawFit",
    "Series",
    "alike_but",
    "draw_errors",
    "fit_laws",
    "growth_series",
    "kappa_at",
    "law_values",
    "local_exponents",
    "power_exponent",
    "shift",
]
