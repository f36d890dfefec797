r"""One cell of the study of families: six kinds of networks, several seeds, and what ignores its input.

A *cell* is a family at one setting of its parameters. What is known before training (the verdict, the score,
plain predictors, the answers that ignore their input) and what trained networks reach on matrices they have
not seen are measured here; :mod:`neuinv.family_calls` turns the rows of many cells into calls.
"""

import time
from dataclasses import dataclass

import torch
from torch import nn

from neuinv._checks import as_integer, check_matrices
from neuinv.criterion import plain_predictors, predicted_residual, verdict
from neuinv.ensembles import evaluate_ensemble, train_ensemble
from neuinv.metrics import best_constant, exact_inverse, mean_inverse, right_residual, spectral_norm
from neuinv.networks import StandardizedNetwork, make_network
from neuinv.spectrum import spread

__all__ = [
    "CELL_KINDS",
    "Before",
    "LearnedStart",
    "PolynomialNetwork",
    "TrainedKind",
    "before_training",
    "criterion_side",
    "input_ignoring",
    "measured",
    "outputs",
    "towards_singular",
    "train_kind",
]

# Kind to the power of the spread that the theorem on samples gives; None: a score of another form.
CELL_KINDS = {
    "plain-gelu": 2,
    "residual": 2,
    "gated": 2,
    "learned-start": 8,
    "unrolled": None,
    "polynomial": None,
}
START_STEPS = 2
DEGREE = 14
FITTED = 512  # matrices of the least squares fit
RATES = {"unrolled": 0.1}
RATE = 3e-3
WIDTHS = (64, 256)
APPROACH = torch.logspace(-1, -6, 21, dtype=torch.float64)


class LearnedStart(nn.Module):
    r"""A network f, then Newton-Schulz steps :math:`X \leftarrow 2X - XAX` from X = f(A): two products each.

    Parameters
    ----------
    start : torch.nn.Module
        (..., n, n) -> (..., n, n).
    num_steps : int
        Steps, at least 0.
    """

    def __init__(self, start, num_steps=START_STEPS):
        super().__init__()
        self.start = start
        self.num_steps = as_integer(num_steps, "num_steps", 0)

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        X = self.start(A)
        for _ in range(self.num_steps):
            X = 2 * X - X @ (A @ X)
        return X


class PolynomialNetwork(nn.Module):
    r"""The polynomial in A, divided by its norm, with the least mean squared residual on a sample.

    The map is :math:`p(A/\lVert A\rVert_F)/\lVert A\rVert_F`.

    Its coefficients solve a linear least squares problem, so no optimiser can be blamed.

    Parameters
    ----------
    sample : Tensor, shape (batch, n, n)
        Non-zero matrices.
    degree : int
        Of the residual 1 - z p(z), at least 1: p has so many coefficients.

    Raises
    ------
    TypeError, ValueError
        Bad matrices or a bad degree.

    Examples
    --------
    >>> A = torch.tensor([[[1.0]], [[2.0]]], dtype=torch.float64)
    >>> PolynomialNetwork(A, 1)(A).flatten().tolist()
    [1.0, 0.5]
    """

    def __init__(self, sample, degree=DEGREE):
        super().__init__()
        check_matrices(sample)
        self.degree = as_integer(degree, "degree", 1)
        unit = sample.double() / torch.linalg.matrix_norm(sample.double(), keepdim=True)
        terms = self._powers(unit)
        columns = torch.stack([(unit @ term).flatten() for term in terms], dim=1)
        scale = torch.linalg.vector_norm(columns, dim=0)
        target = terms[0].expand_as(unit).flatten()[:, None]
        solved = torch.linalg.lstsq((columns / scale).cpu(), target.cpu(), driver="gelsd").solution
        self.register_buffer("weights", (solved.to(sample.device)[:, 0] / scale).to(sample.dtype))

    def _powers(self, unit):
        """Return the powers 0, ..., degree - 1."""
        terms = [torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)]
        for _ in range(self.degree - 1):
            terms.append(terms[-1] @ unit)
        return terms

    def forward(self, A):
        """Map A, shape (..., n, n), to its approximate inverse of the same shape."""
        norm = torch.linalg.matrix_norm(A, keepdim=True)
        terms = self._powers(A / norm)
        return sum(w * term for w, term in zip(self.weights, terms, strict=True)) / norm


@dataclass(frozen=True)
class Before:
    """What is known of a cell before anything is trained.

    Attributes
    ----------
    verdict : Verdict
        Of the family, declared facts included, at the tolerance of the study.
    scores : dict of str to float
        The predicted worst right residual of each kind.
    spread : Spread
        Of the sample; its ``M`` is the best constant found for the worst right residual there.
    plain : dict of str to float
        As :func:`neuinv.criterion.plain_predictors`.
    side : str
        As :func:`criterion_side`.
    """

    verdict: object
    scores: dict
    spread: object
    plain: dict
    side: str


def before_training(matrices, sample, *, tolerance=0.5, seed=0):
    """Return what is known of a family before training, from its declared facts and a sample.

    Parameters
    ----------
    matrices : MatrixFamily
        The family.
    sample : Tensor, shape (N, n, n)
        What the scores and the plain predictors may see.
    tolerance : float
        Of the verdict, a right residual.
    seed : int
        Of the verdict's own draw.

    Returns
    -------
    Before

    Raises
    ------
    TypeError, ValueError
        As :func:`neuinv.verdict` and :func:`neuinv.criterion.predicted_residual`.

    Notes
    -----
    The scores of all kinds that read the entries are powers of one spread q, q^2 and, after two Newton-Schulz
    steps, q^8 (`thm-predicted-residual`; a gated network whose blocks answer 0 is affine as a residual one
    is), so that it is computed once. Where q = 1 they are 2s/(s + 1), s the pair ratio, which only orders.
    """
    found = verdict(matrices, tolerance=tolerance, seed=seed)
    constant = spread(sample, tolerance=0.02, num_steps=400)
    scores = {}
    for kind, power in CELL_KINDS.items():
        if power is None:
            scores[kind] = predicted_residual(sample, kind).score
        elif constant.high < 1:
            scores[kind] = constant.high**power
        else:
            scores[kind] = 2 / (1 + 1 / constant.ratio)
    return Before(found, scores, constant, plain_predictors(sample), criterion_side(matrices, found))


def criterion_side(matrices, found):
    r"""Return on which side of the criterion :math:`\sup\kappa < \infty` a family is *declared* to be.

    Parameters
    ----------
    matrices : MatrixFamily
        The family.
    found : Verdict
        Of it.

    Returns
    -------
    str
        ``"inside"``: a bound on kappa is declared, or there is a single matrix; ``"outside"``: the verdict
        proves *cannot*; ``"rare"``: members converge to a singular matrix, so that kappa has no bound, but
        the verdict finds them too rare to say *cannot*; ``"undeclared"`` otherwise. No sample decides.

    Examples
    --------
    >>> import neuinv
    >>> line = neuinv.family("line", n=2)
    >>> criterion_side(line, verdict(line))
    'outside'
    """
    if found.recommendation == "cannot":
        return "outside"
    if matrices.bounds.condition is not None or "single-matrix" in matrices.tags:
        return "inside"
    return "rare" if matrices.has_singular_limit else "undeclared"


@dataclass(frozen=True)
class TrainedKind:
    """Copies of one kind of network, a seed each, their status, and the CPU seconds of all together."""

    kind: str
    networks: list
    status: list
    seconds: float


def train_kind(kind, pools, *, seeds, num_steps, batch=128):
    """Train copies of one kind, each on matrices of its own.

    Parameters
    ----------
    kind : str
        A key of ``CELL_KINDS``.
    pools : sequence of Tensor, each of shape (N, n, n)
        The training matrices of each copy.
    seeds : sequence of int
        One a copy, all different: of the initial weights and of the order of the batches.
    num_steps, batch : int
        Steps, and matrices a step.

    Returns
    -------
    TrainedKind

    Raises
    ------
    TypeError, ValueError
        An unknown kind, bad matrices, or seeds that are not one a pool and all different.
    """
    if kind not in CELL_KINDS:
        raise ValueError(f"kind is {kind!r}; use one of {', '.join(CELL_KINDS)}.")
    if len(seeds) != len(pools) or len(set(seeds)) != len(pools):
        raise ValueError(f"seeds is {list(seeds)} for {len(pools)} pools; pass one a pool, all different.")
    start = time.process_time()
    if kind == "polynomial":
        networks = [PolynomialNetwork(pool[:FITTED]) for pool in pools]
        return TrainedKind(kind, networks, ["FITTED"] * len(pools), time.process_time() - start)
    networks = [_network(kind, pool, seed) for pool, seed in zip(pools, seeds, strict=True)]
    # the generator of a copy is known by its seed, and draws from the matrices of that copy
    own = dict(zip(seeds, pools, strict=True))

    def sampler(size, generator):
        pool = own[generator.initial_seed()]
        return pool[torch.randint(len(pool), (size,), generator=generator).to(pool.device)]

    results = train_ensemble(
        networks,
        sampler,
        num_steps=num_steps,
        seeds=list(seeds),
        batch=batch,
        learning_rate=RATES.get(kind, RATE),
        progress=False,
    )
    status = [result.status.name for result in results]
    return TrainedKind(kind, networks, status, time.process_time() - start)


def _network(kind, pool, seed):
    n = pool.shape[-1]
    inner = "residual" if kind == "learned-start" else kind
    width = min(WIDTHS[1], max(WIDTHS[0], n * n))
    network = make_network(inner, n, seed=seed, width=width, dtype=pool.dtype, device=pool.device)
    if kind != "unrolled":
        network = StandardizedNetwork(network, pool)
    return LearnedStart(network) if kind == "learned-start" else network


def measured(A, X, inverse=None):
    """Return median, 99.9 % quantile and worst of the right residual and of the relative forward error.

    Parameters
    ----------
    A, X : Tensor, shape (N, n, n)
        Matrices and answers; a single answer (n, n) stands for all. An answer that is not finite counts as an
        infinite residual.
    inverse : Tensor, shape (N, n, n), optional
        The exact inverses, where they are at hand.

    Returns
    -------
    dict of str to float
        ``median``, ``extreme``, ``worst``, and the same with ``forward_``. The extreme value of N is the one
        that N / 1000 others, rounded down, exceed or equal.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> A = torch.tensor([[[1.0]], [[2.0]], [[4.0]]], dtype=torch.float64)
    >>> found = measured(A, torch.tensor([[0.5]], dtype=torch.float64))
    >>> found["median"], found["worst"], found["forward_worst"]
    (0.5, 1.0, 1.0)
    """
    check_matrices(A)
    inverse = exact_inverse(A) if inverse is None else inverse
    X = X.detach().to(A).expand_as(A)
    finite = torch.isfinite(X).all(dim=-1).all(dim=-1)
    safe = torch.where(finite[:, None, None], X, torch.zeros_like(X))
    infinite = torch.full((len(A),), torch.inf, dtype=torch.float64, device=A.device)
    residual = torch.where(finite, right_residual(A, safe), infinite)
    forward = torch.where(finite, spectral_norm(safe - inverse) / spectral_norm(inverse), infinite)
    found = {}
    for prefix, values in (("", residual), ("forward_", forward)):
        values = values.sort().values
        found[f"{prefix}median"] = values[(len(values) - 1) // 2].item()
        found[f"{prefix}extreme"] = values[-1 - len(values) // 1000].item()
        found[f"{prefix}worst"] = values[-1].item()
    return found


def input_ignoring(pool, minimax, test, inverse=None):
    """Return what the answers that ignore their input leave on test matrices.

    Parameters
    ----------
    pool : Tensor, shape (N, n, n)
        Training matrices.
    minimax : Tensor, shape (n, n)
        The constant that is best for the worst right residual over a sample, from its spread.
    test : Tensor, shape (M, n, n)
        The matrices to judge by.
    inverse : Tensor, shape (M, n, n), optional
        Their inverses.

    Returns
    -------
    dict of str to dict
        ``constant``, best in the mean for the right residual; ``minimax``, as passed;
        ``mean-inverse``, best in the mean for the absolute forward error; ``zero``. Each as :func:`measured`.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    """
    answers = {
        "constant": best_constant(pool),
        "minimax": minimax,
        "mean-inverse": mean_inverse(pool),
        "zero": torch.zeros_like(test[0]),
    }
    inverse = exact_inverse(test) if inverse is None else inverse
    return {name: measured(test, X, inverse) for name, X in answers.items()}


def outputs(trained, A, *, size=1024):
    """Return the answers of all copies, shape (copies, N, n, n), without gradients."""
    if trained.kind == "polynomial":
        with torch.no_grad():
            return torch.stack([network(A) for network in trained.networks])
    parts = [evaluate_ensemble(trained.networks, part) for part in A.split(size)]
    return torch.cat(parts, dim=1)


def towards_singular(matrices, networks):
    """Return the worst right residual of each network on declared members on the way to a singular matrix.

    Parameters
    ----------
    matrices : MatrixFamily
        The family.
    networks : sequence of callable
        (N, n, n) -> (N, n, n).

    Returns
    -------
    list of float
        Over 21 members of condition number at least 10 to at least 1e6; NaN where the family declares none.
    """
    if not matrices.has_singular_limit:
        return [float("nan")] * len(networks)
    A = matrices.towards_singular(APPROACH)
    with torch.no_grad():
        return [right_residual(A, torch.nan_to_num(network(A))).max().item() for network in networks]
