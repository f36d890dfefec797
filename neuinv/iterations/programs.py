r"""Programs of few products whose coefficients a search has found and a certificate bounds.

With m products a program computes :math:`M_0 = I, M_1 = T, M_{j+2} = (\sum_i a_{ji} M_i)(\sum_i b_{ji} M_i)`
and :math:`P(T) = \sum_i c_i M_i`. It is made for residuals :math:`R = I - AX` with spectrum in [-r, r]: for
:math:`T = R / r` the matrix :math:`X P(T)` has the residual :math:`1 - (1 - rt) P(t)` at each eigenvalue rt
of R, and its supremum over :math:`t \in [-1, 1]` is bounded by ball arithmetic.
"""

import functools
import json
import math
from dataclasses import dataclass, field
from importlib import resources

import torch

from neuinv.iterations.scheme import identity, is_traced

__all__ = ["Program", "load_programs", "program"]

FORMAT, VERSION = "neuinv-programs", 1


@dataclass(frozen=True)
class Program:
    """A straight-line program, its interval and the certified supremum of its residual.

    Parameters
    ----------
    kappa : float
        The condition number that it is made for: its radius is (kappa - 1)/(kappa + 1), rounded up.
    left, right : tuple of tuples of float
        The coefficients a_ji and b_ji; the j-th of m has j + 2 entries.
    out : tuple of float
        The coefficients c_i, m + 2 of them.
    radius : float
        r, in (0, 1).
    supremum : float
        At least the largest modulus of 1 - (1 - rt) P(t) over [-1, 1], in exact arithmetic.
    origin : dict
        How it was found.
    """

    kappa: float
    left: tuple = field(repr=False)
    right: tuple = field(repr=False)
    out: tuple = field(repr=False)
    radius: float = field(repr=False)
    supremum: float
    origin: dict = field(repr=False, compare=False, default_factory=dict)

    @property
    def num_matmuls(self):
        """The number m of products."""
        return len(self.left)

    @property
    def name(self):
        """Products and condition number, as in ``"5@100"``."""
        return f"{self.num_matmuls}@{self.kappa:g}"

    @property
    def growth(self):
        """How rounding grows: the sum of the moduli of coefficient times derivative, at worst, over kappa."""
        return self.origin["growth"]

    @property
    def effective_degree(self):
        """The N, not an integer, for which 1 / T_N(1 / r) is the supremum."""
        rate = 2 * math.atanh(math.sqrt((1 - self.radius) / (1 + self.radius)))
        return math.acosh(1 / self.supremum) / rate

    def polynomial(self, T):
        """Return P(T) for matrices, in ``num_matmuls`` products.

        Parameters
        ----------
        T : Tensor, shape (..., n, n)
            Matrices with spectrum in [-1, 1].

        Returns
        -------
        Tensor, shape (..., n, n)
        """
        # In place and in a stack it is several times as fast, but nothing can be differentiated or mapped.
        # Autocast would give its sums another dtype than the stack has.
        cast = torch.is_autocast_enabled(T.device.type)
        if T.dtype in (torch.float64, torch.float32) and not is_traced(T) and not cast:
            return self._run_stacked(T)
        return self._run([identity(T), T], lambda a, b: a @ b)

    def values(self, t):
        """Return P(t) entry by entry, for numbers t in [-1, 1] in a Tensor of any shape."""
        return self._run([t * 0 + 1, t], lambda a, b: a * b)

    def _run(self, M, product):
        for a, b in zip(self.left, self.right, strict=True):
            M.append(product(_combination(a, M), _combination(b, M)))
        return _combination(self.out, M)

    def _run_stacked(self, T):
        """Return P(T); each sum of multiples is one product of a stack (entries, matrices) with a vector.

        Term by term the sums would read and write each entry several times as often, and for n below a few
        hundred take longer than the products.
        """
        m = self.num_matmuls
        stack = T.new_empty(m + 1, *T.shape)
        stack[0] = T
        rows = [r[1:] + (0.0,) * (m + 2 - len(r)) for r in (*self.left, *self.right, self.out)]
        rows = torch.tensor(rows, dtype=T.dtype, device=T.device)
        entries = stack.reshape(m + 1, -1).T

        def combination(row, coefficients):
            known = len(coefficients) - 1
            total = (entries[:, :known] @ row[:known]).reshape(T.shape)
            total.diagonal(dim1=-2, dim2=-1).add_(coefficients[0])
            return total

        for j, (a, b) in enumerate(zip(self.left, self.right, strict=True)):
            torch.matmul(combination(rows[j], a), combination(rows[m + j], b), out=stack[j + 1])
        return combination(rows[-1], self.out)


def _combination(coefficients, M):
    """Return the sum of multiples of the first of the M_i; zeros cost nothing."""
    total = None
    for c, Y in zip(coefficients, M, strict=True):
        if c != 0 or total is None:
            total = c * Y if total is None else total + c * Y
    return total


@functools.cache
def load_programs():
    """Return the programs that come with the package, by name.

    Returns
    -------
    dict of str to Program
        In the order of products and condition numbers.

    Raises
    ------
    ValueError
        The file is of another format.

    Examples
    --------
    >>> load_programs()["4@100"].num_matmuls
    4
    """
    text = resources.files("neuinv.iterations").joinpath("programs.json").read_text(encoding="utf-8")
    content = json.loads(text)
    if (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise ValueError("programs.json is of another format; reinstall the package.")
    programs = [_parse(entry) for entry in content["programs"]]
    return {p.name: p for p in sorted(programs, key=lambda p: (p.num_matmuls, p.kappa))}


def program(name):
    """Return the program of this name.

    Parameters
    ----------
    name : str
        Such as ``"5@100"``: five products, made for condition number 100.

    Raises
    ------
    ValueError
        There is none of this name.
    """
    known = load_programs()
    if name not in known:
        raise ValueError(f"there is no program {name!r}; known are {', '.join(known)}.")
    return known[name]


def _parse(entry):
    def rows(name):
        return tuple(tuple(float.fromhex(x) for x in row) for row in entry[name])

    return Program(
        kappa=float(entry["kappa"]),
        left=rows("left"),
        right=rows("right"),
        out=tuple(float.fromhex(x) for x in entry["out"]),
        radius=float.fromhex(entry["radius"]),
        supremum=float.fromhex(entry["supremum"]),
        origin=entry["origin"],
    )
