"""What a verdict is made of: lines with their evidence, and five recommendations."""

import enum
import math
from dataclasses import dataclass, field

__all__ = ["Evidence", "Line", "Recommendation", "estimate", "finite"]


class Evidence(enum.Enum):
    """On what a line rests; the value is the word that is printed.

    A proof follows from the numbered statement and from what the family declares about itself, a
    certificate from a finite object that exact arithmetic has checked; an estimate was computed on the
    samples, and proves nothing about matrices outside of them.
    """

    PROOF = "proof"
    CERTIFICATE = "certificate"
    ESTIMATE = "estimate"


class Recommendation(enum.Enum):
    """What to do with a family; the value is the key in JSON."""

    DIRECT = "direct"
    POLYNOMIAL = "polynomial"
    LEARNED_START = "learned-start"
    PLAIN_NETWORK = "plain-network"
    CANNOT = "cannot"

    @property
    def meaning(self):
        """A sentence for a reader."""
        return _ADVICE[self]


_ADVICE = {
    Recommendation.DIRECT: "Use a direct solver (LU, Cholesky).",
    Recommendation.POLYNOMIAL: "Use a fixed program of matrix products.",
    Recommendation.LEARNED_START: "Start Newton-Schulz from a constant, or from a network's output.",
    Recommendation.PLAIN_NETWORK: "Use the trained network.",
    Recommendation.CANNOT: "No network of the class named here inverts this family.",
}


@dataclass(frozen=True)
class Line:
    """One finding of a verdict.

    Attributes
    ----------
    key : str
        Stable name, for programs.
    title : str
        A few words, for people.
    text : str
        The finding in a sentence or two.
    evidence : Evidence
    samples : int or None
        How many matrices an estimate rests on; None for the others.
    statement : str or None
        Label of the statement of the book that the finding rests on.
    values : dict
        The numbers in it, as JSON knows them; None stands for what is infinite or unknown.
    """

    key: str
    title: str
    text: str
    evidence: Evidence
    samples: int | None = None
    statement: str | None = None
    values: dict = field(default_factory=dict)

    @property
    def basis(self):
        """The evidence as it is printed, such as ``estimate (200)`` for one of 200 samples."""
        if self.evidence is not Evidence.ESTIMATE:
            return self.evidence.value
        return f"estimate ({self.samples})"

    def to_dict(self):
        """Return the line as JSON knows it."""
        return {
            "key": self.key,
            "text": self.text,
            "evidence": self.evidence.value,
            "samples": self.samples,
            "statement": self.statement,
            "values": self.values,
        }


def estimate(key, title, text, samples, statement, **values):
    """Return an estimate as a :class:`Line`; numbers that are infinite or NaN become None."""
    values = {name: finite(v) if isinstance(v, float) else v for name, v in values.items()}
    return Line(key, title, text, Evidence.ESTIMATE, samples, statement, values)


def finite(number):
    """Return the number as JSON knows it: None for what is infinite, NaN or unknown."""
    return None if number is None or not math.isfinite(number) else float(number)
