"""What the page of a family calls: opening the family, splitting its matrices, signs, errors."""

from dataclasses import dataclass
from pathlib import Path

import torch

from neuinv._checks import as_integer, check_matrices
from neuinv._linalg import det_sign
from neuinv.gallery import GivenMatrices, MatrixFamily, family
from neuinv.metrics import forward_error, right_residual

__all__ = ["Errors", "Split", "errors", "open_family", "opposite_signs", "split"]


def open_family(name, settings=None, source=""):
    """Return the family that a page studies: the registered ``name``, or the matrices of a file.

    Parameters
    ----------
    name : str
        Of a registered family; not read where ``source`` names a file.
    settings : dict, optional
        Parameters of the family.
    source : str
        A file, absolute, or relative to the present folder or to one above it.

    Returns
    -------
    MatrixFamily

    Raises
    ------
    TypeError, ValueError, OSError
        As :func:`neuinv.family` and ``neuinv.MatrixFamily.from_file``; or settings beside a file.
    """
    if not source:
        return family(name, **(settings or {}))
    if settings:
        raise ValueError(f"settings is {settings} and source {source!r}; leave one out.")
    here = Path.cwd()
    places = [folder / source for folder in (here, *here.parents)]
    # FILE:NAME names an array of a file; the suffix belongs to FILE.
    found = [place for place in places if Path(str(place).rsplit(":", 1)[0]).exists() or place.exists()]
    return MatrixFamily.from_file(found[0] if found else source)


@dataclass(frozen=True)
class Split:
    """Matrices to train on and matrices to judge by, shapes (count, n, n), float64 on the CPU."""

    train: torch.Tensor
    test: torch.Tensor

    def sampler(self):
        """Return ``(batch, generator) -> (batch, n, n)``, which draws training matrices with replacement."""

        def draw(batch, generator):
            return self.train[torch.randint(len(self.train), (batch,), generator=generator)]

        return draw


def split(matrices, *, seed, num_train=1024, num_test=256):
    """Return disjoint matrices for training and for judging.

    A family is drawn with two seeds. Given matrices are shuffled and halved, so that no matrix is in both
    parts; fewer than two cannot be split.

    Parameters
    ----------
    matrices : MatrixFamily
        The family.
    seed : int
        Of the draws; ``seed + 1`` is used as well.
    num_train, num_test : int
        How many, at least 1 each; at most half of the given matrices each.

    Returns
    -------
    Split

    Raises
    ------
    TypeError, ValueError
        Numbers out of range, or a single given matrix.
    """
    num_train, num_test = as_integer(num_train, "num_train", 1), as_integer(num_test, "num_test", 1)
    if not isinstance(matrices, GivenMatrices):
        return Split(matrices.sample(num_train, seed=seed), matrices.sample(num_test, seed=seed + 1))
    if matrices.count < 2:
        raise ValueError(f"{matrices.name} holds 1 matrix; a network needs at least 2, one to be judged by.")
    A = matrices.sample(matrices.count, seed=seed)
    half = matrices.count // 2
    return Split(A[half:][:num_train], A[:half][:num_test])


def opposite_signs(A):
    """Return two matrices of a sample with determinants of opposite signs, best conditioned, or None.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n)
        The sample.

    Returns
    -------
    (Tensor, Tensor) or None
        Of positive and of negative determinant, shape (n, n) each, beyond the doubt of rounding.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> A, B = opposite_signs(torch.tensor([[[2.0]], [[-1.0]], [[3.0]]]))
    >>> A.item(), B.item()
    (2.0, -1.0)
    """
    check_matrices(A)
    sign, sigma = det_sign(A), torch.linalg.svdvals(A)
    ratio = sigma[:, -1] / sigma[:, 0]
    ratio = torch.where(ratio > 100 * A.shape[-1] ** 2 * torch.finfo(A.dtype).eps, ratio, -1.0)
    pair = []
    for wanted in (1, -1):
        best = torch.where(sign == wanted, ratio, -1.0).argmax()
        if not (sign[best] == wanted and ratio[best] > 0):
            return None
        pair.append(A[best])
    return tuple(pair)


@dataclass(frozen=True)
class Errors:
    """Errors of one way over a sample: median and worst right residual, median and worst forward error.

    The forward errors are over the members whose condition number float64 resolves; NaN where there is none.
    """

    residual: float
    worst_residual: float
    forward: float
    worst_forward: float

    def __str__(self):
        columns = (self.residual, self.worst_residual, self.forward, self.worst_forward)
        return " ".join(f"{_shown(value):>9}" for value in columns)


def _shown(value):
    return "< 1e-12" if value < 1e-12 else f"{value:.1e}" if value < 1e-2 or value >= 1e3 else f"{value:.2f}"


def errors(A, X):
    """Return the :class:`Errors` of the answers ``X`` to the matrices ``A``; an infinite one counts as such.

    Parameters
    ----------
    A, X : Tensor, shape (batch, n, n)
        Matrices and answers; a single answer (n, n) stands for all.

    Returns
    -------
    Errors

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    """
    check_matrices(A)
    X = X.detach().to(A).expand_as(A)
    sigma = torch.linalg.svdvals(A)
    resolved = sigma[:, -1] > 1e-10 * sigma[:, 0]
    finite = torch.isfinite(X).all(dim=-1).all(dim=-1)
    lost = torch.full((len(A),), torch.inf, dtype=torch.float64, device=A.device)
    r, e = lost.clone(), lost.clone()
    r[finite] = right_residual(A[finite], X[finite]) if finite.any() else r[finite]
    both = finite & resolved
    e[both] = forward_error(A[both], X[both]) if both.any() else e[both]
    e = e[resolved] if resolved.any() else torch.tensor([torch.nan])
    return Errors(*(value.item() for value in (r.median(), r.max(), e.median(), e.max())))
