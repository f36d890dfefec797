"""The verdict: can a network invert these matrices, which one, at what price, and what if not?"""

import textwrap
from dataclasses import dataclass, field

from neuinv.criterion.evidence import Line, Recommendation
from neuinv.criterion.lines import all_lines
from neuinv.criterion.measure import Measurements, measure
from neuinv.criterion.obstruction import impossibility
from neuinv.criterion.rule import Products, decide, products
from neuinv.criterion.sources import Source, dtype_name, read_source

__all__ = ["Verdict", "verdict"]

FORMAT = 1  # of the dictionary
WIDTH = 86  # of a terminal, and of the column of a page
TITLE = 18


@dataclass(frozen=True)
class Verdict:
    """What was found about a family, and one recommendation; ``print(verdict)`` is made for people.

    Attributes
    ----------
    recommendation : str
        ``"direct"``, ``"polynomial"``, ``"learned-start"``, ``"plain-network"`` or ``"cannot"``.
    reason : str
        Why, in a sentence or two.
    lines : tuple of Line
        The findings, each a proof, a certificate or an estimate.
    tolerance : float
        Of the right residual.
    source : Source
        The matrices.
    measurements : Measurements
        The numbers behind the lines.
    products : Products
        Matrix products of every known way.
    """

    recommendation: str
    reason: str
    lines: tuple[Line, ...]
    tolerance: float
    source: Source = field(repr=False)
    measurements: Measurements = field(repr=False)
    products: Products = field(repr=False)

    def to_dict(self):
        """Return the verdict as JSON knows it, with stable keys.

        Returns
        -------
        dict
            ``format`` (1), ``source`` (``name``, ``parameters``, ``n``, ``samples``, ``given``, ``dtype``,
            ``seed``), ``tolerance``, ``recommendation``, ``reason``, and ``lines``, a list of ``key``,
            ``text``, ``evidence``, ``samples``, ``statement``, ``values``. None stands for what is infinite
            or unknown.
        """
        s = self.source
        return {
            "format": FORMAT,
            "source": {
                "name": s.name,
                "parameters": s.parameters,
                "n": s.A.shape[-1],
                "samples": len(s.A),
                "given": s.total,
                "dtype": dtype_name(s.dtype),
                "seed": s.seed,
            },
            "tolerance": self.tolerance,
            "recommendation": self.recommendation,
            "reason": self.reason,
            "lines": [line.to_dict() for line in self.lines],
        }

    def __str__(self):
        return "\n".join([self._head(), "", *self._advice(), "", *self._findings()])

    def _head(self):
        s = self.source
        dials = ", ".join(f"{key}={value!r}" for key, value in s.parameters.items())
        name = f"{s.name}({dials})" if dials else s.name
        if s.total is None:
            members = f"{len(s.A)} members drawn with seed {s.seed}"
        elif s.total == len(s.A):
            members = f"{s.total} given matri{'x' if s.total == 1 else 'ces'}"
        else:
            members = f"{len(s.A)} of {s.total} given matrices, drawn with seed {s.seed}"
        wanted = f"n={s.A.shape[-1]}, {dtype_name(s.dtype)}, right residual <= {self.tolerance:g}"
        return textwrap.fill(f"{name}: {members}; {wanted}", WIDTH, subsequent_indent="    ")

    def _advice(self):
        chosen = Recommendation(self.recommendation)
        basis = "".join(f" [{x.basis}; {x.statement}]" for x in self.lines if x.key == "impossible")
        return textwrap.wrap(f"{chosen.value.upper()}: {chosen.meaning} {self.reason}{basis}", WIDTH)

    def _findings(self):
        rows = ["estimate (N) stands for what N samples show; it proves nothing about others."]
        for line in self.lines:
            if line.key == "impossible":  # stands above, as the reason
                continue
            text = f"{line.text} [{line.basis}; {line.statement}]"
            rows += textwrap.wrap(
                text,
                WIDTH,
                initial_indent=f"{line.title:<{TITLE}}",
                subsequent_indent=" " * TITLE,
                break_on_hyphens=False,
            )
        return rows


def verdict(
    source,
    *,
    tolerance=1e-3,
    seed=0,
    samples=None,
    parameters=None,
    dtype=None,
    network=None,
):
    r"""Say whether networks can invert a family of matrices, which, and at what price.

    Parameters
    ----------
    source : str, PathLike, MatrixFamily, Tensor, or list of files or tensors
        A family's name, a family, a file (.npy .npz .mtx .mat .safetensors), matrices (..., n, n), or several
        files or tensors of one n.
    tolerance : float
        Of the right residual :math:`\lVert AX - I\rVert_2`, in (0, 1).
    seed : int
        Of the draw.
    samples : int, optional
        How many members to draw; 200 of a generator, all given matrices up to 2 GiB.
    parameters : dict, optional
        Of a family given by name.
    dtype : torch.dtype, optional
        Of the inputs, whose rounding sets the data floor; that of the matrices given, else float64.
    network : callable, optional
        A trained network (..., n, n) -> (..., n, n) in float64; it is judged on members of another seed, or
        on the given matrices.

    Returns
    -------
    Verdict

    Raises
    ------
    TypeError, ValueError, OSError
        A bad tolerance, and as :func:`neuinv.criterion.read_source`.

    Notes
    -----
    ``"cannot"`` is never said on the evidence of a sample alone: only where the family declares members that
    converge to a singular matrix, where it is declared connected and has determinants of both signs, or where
    a given matrix is singular in exact arithmetic. Statements `thm-existence`, `thm-scale`, `thm-spread`,
    `thm-degree` and `thm-data-floor` of the book. The work depends on sizes alone: for N matrices it is that
    of N singular value decompositions and of a bounded number more; memory up to ten times that of the
    matrices in float64, and some tens of megabytes.

    Examples
    --------
    >>> import torch
    >>> found = verdict(torch.diag_embed(torch.tensor([[1.0, 1.1], [1.2, 1.0]], dtype=torch.float64)))
    >>> found.recommendation
    'polynomial'
    """
    try:
        tolerance = float(tolerance)
    except (TypeError, ValueError):
        raise TypeError(f"tolerance is {tolerance!r}; pass a number in (0, 1).") from None
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance:g}; pass a number in (0, 1).")
    read = read_source(source, parameters=parameters, samples=samples, seed=seed, dtype=dtype)
    measured = measure(read.A, tolerance)
    judged = None
    if network is not None:
        judged = read.A if read.family is None else read.family.sample(len(read.A), seed=seed + 1)
    spd = read.family is not None and "spd" in read.family.tags
    counted = products(measured, tolerance, spd=spd, network=network, held_out=judged)
    impossible = impossibility(read, measured)
    decision = decide(read, measured, counted, tolerance, impossible)
    lines = all_lines(read, measured, counted, tolerance)
    if impossible is not None:
        first = Line(
            "impossible",
            "cannot",
            impossible.sentence,
            impossible.evidence,
            None,
            impossible.statement,
        )
        lines = (first, *lines)
    return Verdict(decision.recommendation.value, decision.reason, lines, tolerance, read, measured, counted)
