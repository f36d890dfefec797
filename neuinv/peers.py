"""The tasks on which others trained networks to invert matrices, their metrics, and what they published."""

import math
import time
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.utils.flop_counter import FlopCounterMode

from neuinv._checks import check_matrices, check_pair
from neuinv.canonical import CanonicalNetwork, ProductNetwork
from neuinv.iterations import ScaledNewtonSchulz
from neuinv.metrics import exact_inverse, quantiles
from neuinv.networks import make_network, seeded
from neuinv.training import train

__all__ = [
    "FIXED",
    "PUBLISHED",
    "SHARES",
    "Published",
    "TrainingCost",
    "frobenius_error",
    "frobenius_loss",
    "frobenius_residual",
    "make_peer",
    "mean_row_residual",
    "order_statistics",
    "peer_kinds",
    "success_shares",
    "train_counted",
    "tuned_newton_schulz",
    "write_digits",
]

FIXED = ("exact", "newton-schulz", "scaled", "front-door")  # maps in which no gradient trained anything
SHARES = (0.05, 0.02, 0.01, 0.005)  # Charton's tolerances


@dataclass(frozen=True)
class Published:
    """A figure of a publication: nothing here was measured by this project's networks."""

    peer: str
    task: str
    quantity: str
    value: float
    source: str


_DMI = "DeepMatrixInversion"
_BOX = "3 x 3, entries uniform in [-1, 1], |det| > 0.1"
_FILES = "from the 10 000 predictions in the files of the package"
PUBLISHED = (
    Published(_DMI, _BOX, "parameters of one of 3 networks", 4_712_713, "from the code of the package"),
    Published(_DMI, _BOX, "mean ||AX - I||_F", 0.0226, _FILES),
    Published(_DMI, _BOX, "mean relative forward error", 0.0105, _FILES),
    Published(_DMI, _BOX, "largest relative forward error", 0.145, _FILES),
)


def write_digits(X, digits=3):
    """Return X rounded to significant decimal digits, as a model that writes numbers in digits returns them.

    Parameters
    ----------
    X : Tensor
        Real numbers; zeros, infinities and NaN stay as they are.
    digits : int
        Significant decimal digits, at least 1.

    Returns
    -------
    Tensor, float64
        The nearest decimals, ties to even; a number within rounding error of a tie may go either way.

    Raises
    ------
    ValueError
        ``digits`` is not an integer from 1 to 15.

    Notes
    -----
    Source: the encodings P1000 and FP15 of Charton (2022) keep three digits of every entry.

    Examples
    --------
    >>> import torch
    >>> write_digits(torch.tensor([12.345, -0.00098765])).tolist()
    [12.3, -0.000988]
    """
    if not isinstance(digits, int) or isinstance(digits, bool) or not 1 <= digits <= 15:
        raise ValueError(f"digits is {digits!r}; pass an integer from 1 to 15.")
    X = X.detach().double()
    size = X.abs()
    regular = (size > 0) & torch.isfinite(size)
    exponent = torch.floor(torch.log10(torch.where(regular, size, torch.ones_like(size))))
    # Powers of ten with a negative exponent are not exact: divide by the positive one instead.
    power = digits - 1 - exponent
    up, down = torch.pow(10.0, power.clamp(min=0)), torch.pow(10.0, (-power).clamp(min=0))
    return torch.where(regular, torch.round(X * up / down) / up * down, X)


def mean_row_residual(A, X):
    r"""Return :math:`\tfrac1n\sum_{ij}\lvert AX - I\rvert_{ij}` of each matrix, in float64.

    It is the measure of Charton (2022).

    Parameters
    ----------
    A, X : Tensor, shape (..., n, n)
        Matrices and approximate inverses. An X with a NaN or an infinity counts as infinitely wrong.

    Returns
    -------
    Tensor, shape (...,), float64

    Raises
    ------
    TypeError, ValueError
        Bad matrices ``A``.
    """
    check_matrices(A)
    return _wrong(_defect(A, X).abs().sum(dim=(-2, -1)) / A.shape[-1])


def success_shares(A, X, tolerances=SHARES):
    """Return the share of matrices whose :func:`mean_row_residual` is below each tolerance.

    Parameters and errors are those of :func:`mean_row_residual`; ``tolerances`` is a sequence of floats.

    Examples
    --------
    >>> import torch
    >>> A = torch.eye(5, dtype=torch.float64).repeat(2, 1, 1)
    >>> X = torch.stack([A[0], 1.03 * A[0]])
    >>> success_shares(A, X)
    (1.0, 0.5, 0.5, 0.5)
    """
    found = mean_row_residual(A, X)
    return tuple((found < tolerance).double().mean().item() for tolerance in tolerances)


def frobenius_residual(A, X):
    r"""Return :math:`\lVert AX - I\rVert_F` of each matrix in float64, infinite where X is not finite.

    Parameters and errors are those of :func:`mean_row_residual`.
    """
    check_matrices(A)
    return _wrong(torch.linalg.matrix_norm(_defect(A, X)))


def frobenius_error(A, X):
    r"""Return :math:`\lVert X - A^{-1}\rVert_F / \lVert A^{-1}\rVert_F` in float64, against an exact inverse.

    Parameters
    ----------
    A, X : Tensor, shape (..., n, n)
        Invertible matrices and approximate inverses, of one dtype.

    Raises
    ------
    TypeError, ValueError
        Bad matrices, or a singular one.
    """
    check_pair(A, X)
    exact = exact_inverse(A)
    return torch.linalg.matrix_norm(X.double() - exact) / torch.linalg.matrix_norm(exact)


def _defect(A, X):
    return A.double() @ X.double() - torch.eye(A.shape[-1], dtype=torch.float64, device=A.device)


def _wrong(values):
    return torch.nan_to_num(values, nan=math.inf, posinf=math.inf)


def frobenius_loss(A, X):
    r"""Return the mean of :math:`\lVert AX - I\rVert_F` over a batch: a loss that is the measure itself.

    A square would let the rare ill-conditioned matrices decide.
    """
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    # The root has no derivative at 0.
    square = (A @ X - eye).square().sum(dim=(-2, -1))
    return (square + torch.finfo(A.dtype).eps ** 2).sqrt().mean()


def order_statistics(values, kappa=None, edges=(1, math.inf)):
    """Return count, mean, median, 99.9 % quantile and worst of a quantity for intervals of kappa.

    Parameters
    ----------
    values : Tensor, shape (batch,)
        One number a matrix; infinities are allowed.
    kappa : Tensor, shape (batch,), optional
        Condition numbers; without them all values are one bin.
    edges : sequence of float
        Increasing; a bin is low <= kappa < high.

    Returns
    -------
    list of dict
        With ``low``, ``high``, ``count``, ``mean``, ``median``, ``q999`` and ``worst``, the last four NaN in
        an empty bin. Quantiles are order statistics, not interpolated.

    Raises
    ------
    ValueError
        A NaN in a bin, or as many condition numbers as there are values are not given.
    """
    if kappa is not None and kappa.shape != values.shape:
        raise ValueError(f"kappa has shape {tuple(kappa.shape)} for values of shape {tuple(values.shape)}.")
    kappa = torch.ones_like(values) if kappa is None else kappa
    found = []
    for low, high in pairwise(edges):
        # Sorted, so that the mean does not depend on the order of the sample.
        part = values[(kappa >= low) & (kappa < high)].double().sort().values
        order = dict(zip(("median", "q999", "worst"), quantiles(part), strict=True))
        found.append({"low": low, "high": high, "count": len(part), "mean": part.mean().item(), **order})
    return found


_INNER = {"plain": "plain-gelu", "residual": "residual", "unrolled": "unrolled"}


def peer_kinds():
    """Return the names of the networks that :func:`make_peer` builds."""
    return ["plain", "residual", "product", "canonical-residual", "canonical-product", "unrolled"]


def make_peer(kind, n, *, seed, width=96, depth=2, num_layers=6, dtype=torch.float32, device="cpu"):
    """Build one of the networks that are held against others' on their tasks.

    Parameters
    ----------
    kind : str
        One of :func:`peer_kinds`: a prefix ``canonical-`` wraps a network in :class:`CanonicalNetwork`.
    num_layers : int
        Steps of the unrolled network, two products each.
    n, seed, width, depth, dtype, device
        As for :func:`neuinv.networks.make_network`.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        Unknown kind, or a size below 1.

    Examples
    --------
    >>> from neuinv.networks import count_parameters
    >>> count_parameters(make_peer("unrolled", 5, seed=0, num_layers=9))
    18
    """
    if kind not in peer_kinds():
        raise ValueError(f"network kind {kind!r} is unknown; use one of {', '.join(peer_kinds())}.")
    inner = kind.removeprefix("canonical-")
    if inner == "product":
        network = seeded(lambda: ProductNetwork(n, width, depth), seed).to(device=device, dtype=dtype)
    else:
        sizes = {"width": width, "depth": depth, "num_steps": num_layers}
        network = make_network(_INNER[inner], n, seed=seed, dtype=dtype, device=device, **sizes)
    return network if inner == kind else CanonicalNetwork(network)


@dataclass(frozen=True)
class TrainingCost:
    """What a training used: its status, processor seconds, samples, and multiplications and additions."""

    status: str
    seconds: float
    samples: int
    flops: int


def train_counted(network, sampler, *, num_steps, batch, seed, learning_rate, loss=frobenius_loss):
    """Train a network in place and return what it cost.

    Parameters are those of :func:`neuinv.training.train`.

    Returns
    -------
    TrainingCost
        ``seconds`` of the processor, sampling included; ``flops`` of one step, forward and backward, as
        torch's counter sees them, times the number of steps: products of matrices, nothing elementwise.

    Raises
    ------
    TypeError, ValueError
        As :func:`neuinv.training.train`.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters())
    with FlopCounterMode(display=False) as counter:
        A = sampler(batch, generator).to(device)
        loss(A, network(A)).backward()
    for parameter in network.parameters():
        parameter.grad = None
    start = time.process_time()
    options = {"num_steps": num_steps, "batch": batch, "seed": seed, "learning_rate": learning_rate}
    result = train(network, sampler, loss=loss, progress=False, **options)
    seconds = time.process_time() - start
    flops = counter.get_total_flops() * result.num_steps
    return TrainingCost(result.status.name, seconds, batch * result.num_steps, flops)


def tuned_newton_schulz(A, num_steps, tolerance=0.05):
    """Return scaled Newton-Schulz with the condition number that answers most of a sample, and that number.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n)
        The sample on which the one number is tuned: right answers by :func:`mean_row_residual`.
    num_steps : int
        Two products each.
    tolerance : float
        Below which an answer is right.

    Returns
    -------
    callable, float
        (..., n, n) -> (..., n, n), which starts from the Frobenius norm, and kappa.

    Raises
    ------
    TypeError, ValueError
        Bad matrices or a bad number of steps.
    """
    scheme = ScaledNewtonSchulz(num_steps, "general")

    def answer(A, kappa):
        high = torch.linalg.matrix_norm(A)
        return scheme(A, (high / kappa, high))

    grid = [10 ** (k / 8) for k in range(4, 49)]
    shares = [success_shares(A, answer(A, kappa), (tolerance,))[0] for kappa in grid]
    best = grid[shares.index(max(shares))]
    return lambda A: answer(A, best), best
