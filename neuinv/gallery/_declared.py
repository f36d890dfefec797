"""What a family declares of projection, curve, path, inverse and parameters, checked for ``check_family``.

Every function returns sentences, one a fault.
"""

import torch

from neuinv.gallery.tags import TAGS

MOST_ROWS = 64  # larger families are not drawn at the ends of their parameters' ranges
HALVINGS = 30  # of an interval of a curve or a path
JUMP = 1e-3  # relative to the points; a continuous curve moves far less over 2^-30 of its range


class CheckStopped(Exception):
    """The family cannot be drawn, or cannot be asked what is checked: nothing further can be."""


def attempt(family, what, call, *arguments, **keywords):
    """Return ``call(...)``; whatever it raises becomes the one sentence that ends the check.

    Raises
    ------
    CheckStopped
        The call failed.
    """
    try:
        return call(*arguments, **keywords)
    except Exception as error:  # the function of a forker may raise anything
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckStopped(
            f"family {family.name!r} fails at {what} with {type(error).__name__} ({reason}); "
            "correct the function until it returns a tensor (batch, n, n)."
        ) from None


def projection_faults(family, A, seed):
    """Say where the projection moves members, is not idempotent, or lands where a tag fails."""
    if family.domain_projection is None:
        return []

    def project(B):
        return attempt(family, "its projection", family.domain_projection.project, B)

    scale, faults = A.abs().max(), []
    moved = (project(A) - A).abs().max()
    if not moved <= 1e-10 * scale:
        faults.append(
            f"family {family.name!r} has a projection that moves members by {moved:.2g}; "
            "it must return a member unchanged."
        )
    noise = torch.randn(A.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    inside = project(A + scale * noise)
    moved = (project(inside) - inside).abs().max()
    if not moved <= 1e-9 * inside.abs().max():
        faults.append(
            f"family {family.name!r} has a projection that is not idempotent (a second one moves by "
            f"{moved:.2g}); make it return a matrix of the domain at once."
        )
    for tag in sorted(family.tags):
        if TAGS[tag].every_member and not TAGS[tag].check(family, inside):
            faults.append(
                f"family {family.name!r} has a projection onto matrices without its tag {tag!r} "
                f"({TAGS[tag].meaning}); project onto a set whose members have it."
            )
    return faults


def curve_faults(family):
    """Say where the curve jumps."""
    if family.curve_range is None:
        return []
    low, high = family.curve_range
    jump, t = attempt(family, "its curve", _largest_jump, family.curve, low, high)
    if jump <= JUMP:
        return []
    return [
        f"family {family.name!r} has a curve that jumps at {family.curve_parameter} = {t:.6g} (by {jump:.2g} "
        "of its size); declare a range on which it is continuous."
    ]


def path_faults(family, A):
    """Say where the path between the first two members misses its ends or jumps."""
    if not family.has_path or len(A) < 2:
        return []
    path = attempt(family, "its path", family.path, A[0], A[1], torch.linspace(0, 1, 3, dtype=torch.float64))
    ends = max((path[0] - A[0]).abs().max(), (path[-1] - A[1]).abs().max())
    if not ends <= 1e-10 * A.abs().max():
        return [
            f"family {family.name!r} has a path that misses its ends by {ends:.2g}; "
            "return A at s = 0 and B at s = 1."
        ]
    jump, s = _largest_jump(lambda s: family.path(A[0], A[1], s), 0.0, 1.0)
    if jump <= JUMP:
        return []
    return [
        f"family {family.name!r} has a path that jumps at s = {s:.6g} (by {jump:.2g} of its size); "
        "join two members by a continuous path, or declare none."
    ]


def _largest_jump(curve, low, high):
    """Return the relative move over the last of many halvings, always into the half that moves more.

    It tends to 0 on a continuous curve, whatever its slope, and stays where the curve jumps.
    """
    grid = torch.linspace(low, high, 65, dtype=torch.float64)
    points = curve(grid)
    place = int(torch.linalg.matrix_norm(points.diff(dim=0)).argmax())
    a, b, A, B = grid[place], grid[place + 1], points[place], points[place + 1]
    for _ in range(HALVINGS):
        middle = (a + b) / 2
        M = curve(middle.reshape(1))[0]
        if torch.linalg.matrix_norm(M - A) >= torch.linalg.matrix_norm(B - M):
            b, B = middle, M
        else:
            a, A = middle, M
    size = torch.linalg.matrix_norm(points).max()
    return (torch.linalg.matrix_norm(B - A) / size).item() if size > 0 else 0.0, a.item()


def singular_limit_faults(family):
    """Say where declared members on the way to a singular matrix are none, or do not go there."""
    if not family.has_singular_limit:
        return []
    t = torch.tensor([1.0, 1e-2, 1e-4], dtype=torch.float64)
    A = attempt(family, "towards_singular", family.towards_singular, t)
    sigma, faults = torch.linalg.svdvals(A), []
    condition = sigma[:, 0] / sigma[:, -1]
    # 1e-9: rounding of a condition number of 1e4 is far below
    if not (condition >= (1 - 1e-9) / t).all():
        k = int((condition * t).argmin())
        faults.append(
            f"family {family.name!r} has towards_singular members of condition number {condition[k]:.6g} at "
            f"t = {t[k]:g}, below 1/t; let them approach a singular matrix at least as fast as t."
        )
    if not sigma[-1, 0] <= 10 * sigma[0, 0]:
        faults.append(
            f"family {family.name!r} has towards_singular members whose norm grows from {sigma[0, 0]:.3g} to "
            f"{sigma[-1, 0]:.3g} as t falls to {t[-1]:g}; keep their norm bounded."
        )
    broken = [tag for tag in sorted(family.tags) if not TAGS[tag].check(family, A)]
    return faults + [
        f"family {family.name!r} has towards_singular matrices without its tag {tag!r} "
        f"({TAGS[tag].meaning}); declare members only."
        for tag in broken
        if TAGS[tag].every_member
    ]


def inverse_faults(family, A):
    """Say that the inverse in closed form is none; where the tag is declared, its own check does."""
    if not family.has_exact_inverse or "exact-inverse" in family.tags:
        return []
    check = TAGS["exact-inverse"].check
    if attempt(family, "its inverse in closed form", check, family, A):
        return []
    return [
        f"family {family.name!r} has a with_inverse= that returns no inverse of what the function draws; "
        "return (A, X) with A drawn in the same order and A X = I."
    ]


def end_faults(family, seed):
    """Say where a draw fails, or a tag is lost, at a closed end of a range; a refusal in words is fine."""
    faults = []
    for name, parameter in family._spec.parameters.items():
        for value in _ends(parameter):
            try:
                at_end = family.with_parameters(**{name: value})
            except ValueError:
                continue  # it contradicts the other parameters, and the family says so
            if at_end.n > MOST_ROWS:
                continue
            try:
                A = at_end.sample(2, seed=seed)
            except Exception as error:
                if isinstance(error, ValueError) and not str(error).startswith("the draw of family"):
                    continue  # the function itself refuses, in its own words
                reason = " ".join(str(error).split()).rstrip(".")
                faults.append(
                    f"family {family.name!r} allows {name} = {value!r} and fails there with "
                    f"{type(error).__name__} ({reason}); narrow the range of the parameter."
                )
                continue
            broken = [tag for tag in sorted(at_end.tags) if not TAGS[tag].check(at_end, A)]
            faults += [
                f"family {family.name!r} loses its tag {tag!r} at {name} = {value!r}, which its range "
                "allows; narrow the range of the parameter, or remove the tag."
                for tag in broken
                if TAGS[tag].every_member
            ]
    return faults


def _ends(parameter):
    if parameter.choices:
        return list(parameter.choices)
    kind = type(parameter.default)
    if kind is bool:
        return [False, True]
    # The large end of a size may be thousands of rows.
    ends = [parameter.low] if kind is int else [parameter.low, parameter.high] if kind is float else []
    return [kind(end) for end in ends if end is not None]
