"""What is known of a cell before anything is trained."""

from dataclasses import dataclass

from neuinv.criterion import plain_predictors, predicted_residual, verdict
from neuinv.family_cells.networks import CELL_KINDS
from neuinv.spectrum import spread

__all__ = ["Before", "before_training", "criterion_side"]


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
    r"""Return on which side of the criterion with one division, :math:`\sup\kappa < \infty`, a family is
    *declared* to be.

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
        the verdict finds them too rare to say *cannot*; ``"undeclared"`` otherwise. No sample alone puts a
        family outside; one may make it rare.

    Notes
    -----
    Statement `thm-scale` of the book: a bound on kappa is enough for maps that divide by a norm once. It is
    not for maps that do not divide. Those need members away from all singular matrices (`thm-existence`),
    which a family that comes close to 0, such as the multiples of I in the example, is not.

    Examples
    --------
    >>> import neuinv
    >>> line = neuinv.family("line", n=2)
    >>> criterion_side(line, verdict(line))
    'outside'
    >>> multiples = neuinv.family("scaled-identity", n=3, low=-1.0, high=1.0)
    >>> criterion_side(multiples, verdict(multiples)), multiples.bounds.sigma_min
    ('inside', None)
    """
    if found.recommendation == "cannot":
        return "outside"
    if matrices.bounds.condition is not None or "single-matrix" in matrices.tags:
        return "inside"
    return "rare" if matrices.has_singular_limit else "undeclared"
