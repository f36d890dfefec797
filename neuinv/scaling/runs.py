"""One cell of the study of sizes: its points, the training of copies, and what is measured on each."""

import copy
from dataclasses import asdict, dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from neuinv import metrics
from neuinv._checks import as_integer
from neuinv._linalg import det_sign
from neuinv.ensembles import train_ensemble
from neuinv.training import draw_rows, residual_loss, train
from neuinv.witnesses import output_witness

__all__ = [
    "ErrorSummary",
    "Point",
    "axis_rows",
    "certified_residual",
    "declared_inside",
    "error_summary",
    "grown",
    "in_double",
    "nearly_singular",
    "scaling_points",
    "training_flops",
]

AXES = ("size", "num_train", "num_steps")


@dataclass(frozen=True)
class Point:
    """One training: width (for unrolled networks depth), distinct training matrices, and steps."""

    size: int
    num_train: int
    num_steps: int


@dataclass(frozen=True)
class ErrorSummary:
    """Median, 99.9 % quantile and worst right residual and relative forward error over ``count`` matrices.

    ``failing`` is the share of them with a right residual of 1/2 or more.
    """

    count: int
    failing: float
    median: float
    extreme: float
    worst: float
    forward_median: float
    forward_extreme: float
    forward_worst: float

    def to_dict(self):
        """Return the numbers by name."""
        return asdict(self)


def scaling_points(sizes, data, steps, *, base_size, base_steps):
    """Return the points of three axes through one base point: the base size and steps, and the most data.

    Parameters
    ----------
    sizes, data, steps : sequence of int
        The values of each axis.
    base_size, base_steps : int
        Members of ``sizes`` and ``steps``.

    Returns
    -------
    list of Point
        Each once, the base point first.

    Raises
    ------
    ValueError
        An empty axis, or a base that is not on its axis.

    Examples
    --------
    >>> len(scaling_points([4, 8, 16], [10, 100], [5, 50], base_size=8, base_steps=5))
    5
    """
    for name, axis in (("sizes", sizes), ("data", data), ("steps", steps)):
        if not axis:
            raise ValueError(f"{name} is empty; pass at least one value.")
    for name, base, axis in (("base_size", base_size, sizes), ("base_steps", base_steps, steps)):
        if base not in axis:
            raise ValueError(f"{name} is {base}, which is not among {list(axis)}; pass one of them.")
    most = max(data)
    found = [Point(base_size, most, base_steps)]
    found += [Point(size, most, base_steps) for size in sizes]
    found += [Point(base_size, number, base_steps) for number in data]
    found += [Point(base_size, most, number) for number in steps]
    return list(dict.fromkeys(found))


def axis_rows(rows, axis):
    """Return the rows of a table of one cell that lie on one axis: the other two are at their base.

    Parameters
    ----------
    rows : pandas.DataFrame
        With the columns ``size``, ``num_train``, ``num_steps``, ``base_size``, ``base_steps`` and the most
        data of all rows as the base of the data.
    axis : {"size", "num_train", "num_steps"}
        Which.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        An unknown axis.
    """
    if axis not in AXES:
        raise ValueError(f"axis is {axis!r}; use one of {', '.join(AXES)}.")
    bases = {"size": rows["base_size"], "num_train": rows["num_train"].max(), "num_steps": rows["base_steps"]}
    kept = rows["size"] > 0
    for name, base in bases.items():
        kept &= (rows[name] == base) | (name == axis)
    return rows[kept]


def grown(networks, pools, *, num_steps, seed, batch=128, learning_rate=3e-3):
    """Train copies of one network in place, each on matrices of its own; return the states they ended in.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        Copies of one architecture.
    pools : sequence of Tensor, each (N, n, n)
        The distinct training matrices of each copy; a batch is drawn from them with replacement.
    num_steps, batch : int
        As for :func:`neuinv.training.train`.
    seed : int
        Copy k draws its batches with ``seed + k``.
    learning_rate : float
        Peak of the schedule.

    Returns
    -------
    list of str
        ``"FINISHED"`` or ``"DIVERGED"``, one a copy.

    Raises
    ------
    TypeError, ValueError
        As :func:`neuinv.ensembles.train_ensemble`.
    """
    seeds = [as_integer(seed, "seed", 0) + k for k in range(len(networks))]
    # The generator of a copy is known by its seed: each copy has its own matrices.
    by_seed = dict(zip(seeds, pools, strict=True))

    def sampler(batch, generator):
        return draw_rows(by_seed[generator.initial_seed()], batch, generator)

    options = {"num_steps": num_steps, "batch": batch, "learning_rate": learning_rate}
    if len(networks) == 1:
        return [train(networks[0], sampler, seed=seeds[0], **options).status.name]
    return [result.status.name for result in train_ensemble(networks, sampler, seeds=seeds, **options)]


def training_flops(network, A, num_steps, loss=residual_loss):
    """Return the floating-point operations of the matrix products of a training, one batch a step.

    Counted by torch while one step runs forward and backward; sums, activations and the optimiser, which
    cost a multiple of the weights and not of the products, are left out.

    Parameters
    ----------
    network : torch.nn.Module
        (batch, n, n) -> (batch, n, n).
    A : Tensor, shape (batch, n, n)
        A batch, of the dtype and on the device of the network.
    num_steps : int
        Of the training.
    loss : callable
        (A, X) -> scalar Tensor.

    Returns
    -------
    int
    """
    with FlopCounterMode(display=False) as counter:
        loss(A, network(A)).backward()
    network.zero_grad()
    return num_steps * counter.get_total_flops()


def error_summary(A, X, inverse):
    """Summarise both errors of approximate inverses.

    Parameters
    ----------
    A, X, inverse : Tensor, shape (batch, n, n)
        Matrices, approximate and exact inverses.

    Returns
    -------
    ErrorSummary
        An output that is not finite counts as infinitely wrong.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> A = 2 * torch.eye(2, dtype=torch.float64).expand(10, 2, 2)
    >>> error_summary(A, A / 8, A / 4).worst
    0.5
    """
    right, forward = metrics.both_errors(A, X, inverse)
    failing = (right >= 0.5).double().mean().item()
    return ErrorSummary(len(A), failing, *metrics.quantiles(right), *metrics.quantiles(forward))


def declared_inside(family):
    r"""Tell whether a family declares that it is bounded and away from all singular matrices.

    Parameters
    ----------
    family : MatrixFamily
        The family.

    Returns
    -------
    bool
        Whether it declares a bound on the norm and a positive one below :math:`\sigma_{\min}`. False does not
        put a family outside.

    Notes
    -----
    Statement `thm-no-scaling`, part 3, of the book. Plain and residual networks do not divide by a norm, and
    for them a bound on the condition number alone is not enough: `prop-scaled-identity`.

    Examples
    --------
    >>> import neuinv
    >>> [declared_inside(neuinv.family("scaled-identity", low=low)) for low in (0.1, -1.0)]
    [True, False]
    """
    bounds = family.bounds
    return bounds.norm is not None and bounds.sigma_min is not None and bounds.sigma_min > 0


def nearly_singular(family, closeness=1e-9):
    """Return a member close to a singular matrix, or None where none is declared.

    Parameters
    ----------
    family : MatrixFamily
        One that declares members on the way to a singular matrix, or a curve on which the determinant
        changes sign.
    closeness : float
        In (0, 1): the parameter of those members, or the step beside the change of sign, relative to the
        range of the curve.

    Returns
    -------
    Tensor, shape (n, n), float64, or None
        Of a condition number of about 1/closeness or more, unless the curve passes through 0.
    """
    if family.has_singular_limit:
        return family.towards_singular(closeness)
    if family.curve_range is None:
        return None
    low, high = family.curve_range
    t = torch.linspace(low, high, 400, dtype=torch.float64)
    signs = det_sign(family.curve(t))
    changes = torch.nonzero(signs[1:] != signs[:-1])
    if len(changes) == 0:
        return None
    left, right = t[changes[0, 0]], t[changes[0, 0] + 1]
    for _ in range(60):
        middle = (left + right) / 2
        left, right = (
            (middle, right) if det_sign(family.curve(middle)) == signs[changes[0, 0]] else (left, middle)
        )
    return family.curve((right + closeness * (high - low)).clamp(max=high))


def certified_residual(network, A):
    """Return a lower bound of the right residual of the network's recorded output at ``A``, proved exactly.

    Parameters
    ----------
    network : torch.nn.Module
        (batch, n, n) -> (batch, n, n), in float64: the entries of ``A`` are not rounded.
    A : Tensor, shape (n, n), float64
        An invertible matrix.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        As :func:`neuinv.witnesses.output_witness`.

    Notes
    -----
    Statement `thm-key-inequality` of the book says how large it must be.
    """
    certificate = output_witness(lambda B: network(B[None])[0], A)
    return float.fromhex(certificate.bound)


def in_double(network):
    """Return a copy of a network whose weights, the same numbers, are float64.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    torch.nn.Module
    """
    return copy.deepcopy(network).double()
