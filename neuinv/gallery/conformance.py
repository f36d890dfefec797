"""``check_family``: what every family must satisfy, in sentences that say what to change where it fails."""

import random
from contextlib import contextmanager

import numpy as np
import torch

from neuinv._checks import as_integer
from neuinv.gallery._declared import (
    CheckStopped,
    attempt,
    curve_faults,
    end_faults,
    inverse_faults,
    path_faults,
    projection_faults,
    singular_limit_faults,
)
from neuinv.gallery.base import MatrixFamily
from neuinv.gallery.given import GivenMatrices
from neuinv.gallery.registry import family as build_family
from neuinv.gallery.tags import TAGS, broken_bounds


def check_family(family, *, seed=0, samples=16):
    """Return what is wrong with a family, one sentence a fault; an empty list when it conforms.

    Checked are the texts (description, use, reference); that a draw is finite float64 on the CPU of the
    promised shape; that it repeats by seed, differs between seeds, advances its generator, leaves the global
    generators of torch, NumPy and Python alone and shares no memory with later draws; the declared tags and
    bounds; the closed ends of the parameters' ranges; and the projection, the curve, the path, the members on
    the way to a singular matrix and the inverse in closed form where the family declares them.

    Parameters
    ----------
    family : MatrixFamily or str
        The family, or the name of a registered one, which is then taken with its defaults.
    seed : int
        Seed of the first draw; ``seed + 1`` is used as well.
    samples : int
        Matrices a draw, at least 2.

    Returns
    -------
    list of str
        Each sentence names the family, the fault with its value, and what to do.

    Raises
    ------
    TypeError
        ``family`` is neither a family nor a name, or ``samples`` is no integer.
    ValueError
        Unknown name, or ``samples`` below 2.

    Notes
    -----
    A check on samples can refute a declared tag or bound and never prove it. Large ends of integer ranges
    and families of more than 64 rows at an end are left out, because they may take minutes.

    Examples
    --------
    >>> check_family("gaussian")
    []
    """
    if isinstance(family, str):
        family = build_family(family)
    if not isinstance(family, MatrixFamily):
        raise TypeError(
            f"family is a {type(family).__name__}; pass a name, or what neuinv.family(name) returns."
        )
    samples = as_integer(samples, "samples", 2)
    given = isinstance(family, GivenMatrices)
    if given:
        samples = min(samples, family.count)
    faults = [] if given else _text_faults(family)
    try:
        with _kept_global_states():
            faults += _draw_faults(family, seed, samples)
            if given:
                return faults
            A = family.sample(samples, seed=seed)
            faults += _tag_faults(family, A) + _bound_faults(family, seed, samples)
            faults += projection_faults(family, A, seed) + curve_faults(family) + path_faults(family, A)
            faults += singular_limit_faults(family) + inverse_faults(family, A) + end_faults(family, seed)
    except CheckStopped as stop:
        faults.append(str(stop))
    return faults


def _text_faults(family):
    missing = {
        "description": "begin the function with a docstring that says how the matrices are made",
        "use": "pass use='...' to register_family: what the inverse is wanted for",
        "reference": "pass reference='author, year, title' to register_family",
    }
    faults = [
        f"family {family.name!r} has no {what} ({getattr(family, what)!r}); {advice}."
        for what, advice in missing.items()
        if not getattr(family, what).strip()
    ]
    if (family.connected is None) != (family.connected_reason == ""):
        faults.append(
            f"family {family.name!r} declares connected={family.connected} with the reason "
            f"{family.connected_reason!r}; give a reason in a sentence, or leave both out."
        )
    if family.tail_index is not None and not family.tail_index > 0:
        faults.append(
            f"family {family.name!r} declares the tail index {family.tail_index}; declare a positive number, "
            "the a of P(||A^-1|| > x) ~ x^-a, or leave it out."
        )
    return faults


def _draw_faults(family, seed, samples):
    """Check one draw and its repetitions: the same seed, another seed, a generator used twice."""

    def draw(**source):
        return attempt(family, f"sample({samples}, seed={seed})", family.sample, samples, **source)

    before = _global_states()
    A = draw(seed=seed)
    touched = [name for name, state in _global_states().items() if state != before[name]]
    if touched:
        return [
            f"family {family.name!r} advances the global generator of {touched[0]}; pass generator=generator "
            "to every random call, so that a seed means one batch of matrices."
        ]
    if A.requires_grad:
        return [f"family {family.name!r} returns tensors with requires_grad=True; return A.detach()."]
    kept = A.clone()
    again = draw(seed=seed)
    if not torch.equal(again, kept):
        return [
            f"family {family.name!r} gives other matrices for the same seed {seed} (they differ by "
            f"{(again - kept).abs().max():.2g}); draw from the generator it is given, and keep no state."
        ]
    faults = []
    with_single = "single-matrix" in family.tags or isinstance(family, GivenMatrices)
    if not with_single and torch.equal(draw(seed=seed + 1), kept):
        faults.append(
            f"family {family.name!r} gives the same matrices for the seeds {seed} and {seed + 1}; draw from "
            "the generator it is given, or declare the tag 'single-matrix'."
        )
    generator = torch.Generator().manual_seed(seed)
    if not faults and not with_single and torch.equal(draw(generator=generator), draw(generator=generator)):
        faults.append(
            f"family {family.name!r} draws the same matrices twice from one generator seeded with {seed}; "
            "never seed or copy the generator inside the function."
        )
    return faults + _memory_faults(family, A, kept, lambda: draw(seed=seed))


def _memory_faults(family, A, kept, draw):
    """A caller may work in place on what it was given."""
    try:
        A.add_(1 + A.abs().max())
    except RuntimeError:  # an expanded tensor refuses, and nothing is lost
        return []
    if torch.equal(draw(), kept):
        return []
    return [
        f"family {family.name!r} returns memory that it keeps: a draw that was changed in place changed the "
        "next one; return a copy, such as A.clone()."
    ]


def _tag_faults(family, A):
    faults = []
    for tag in sorted(family.tags):
        if attempt(family, f"the check of the tag {tag!r}", TAGS[tag].check, family, A):
            continue
        single = [i for i in range(len(A)) if TAGS[tag].every_member and not TAGS[tag].check(family, A[[i]])]
        where = f"member {single[0]} of {len(A)} is not" if single else f"{len(A)} members refute it"
        faults.append(
            f"family {family.name!r} declares the tag {tag!r} ({TAGS[tag].meaning}) and {where}; "
            "remove the tag, or correct the function."
        )
    return faults


def _bound_faults(family, seed, samples):
    sign = {"sigma_min": ">=", "norm": "<=", "condition": "<="}
    return [
        f"family {family.name!r} declares {name} {sign[name]} {getattr(family.bounds, name):.6g} and a "
        f"sample of {samples} has {value:.6g}; declare a bound that holds for every member."
        for name, value in broken_bounds(family, seed=seed, samples=samples).items()
    ]


def _global_states():
    """Return the states of the generators that a draw must leave alone, comparable with ==."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "NumPy": (kind, keys.tobytes(), *rest),
        "Python": random.getstate(),
    }


@contextmanager
def _kept_global_states():
    """Give the global generators back as they were, whatever the family does with them."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
