"""``MatrixFamily``: a distribution of matrices that can be drawn again, with what is known about it."""

from types import MappingProxyType

import torch

from neuinv._checks import FLOATING, as_integer, check_matrices, make_generator, resolve_device
from neuinv.gallery.facts import DomainProjection

MAX_BYTES = 64 * 2**30  # of one draw in float64; far beyond it torch fails with an error about sizes


class MatrixFamily:
    """A named family of real n x n matrices, drawn by seed.

    Made by :func:`neuinv.family` (a registered family) or :meth:`from_file` (given matrices).
    Every draw is made on the CPU in float64, then cast and moved, so that one seed gives the
    same matrices on every machine and device up to rounding.

    Attributes
    ----------
    name : str
        Registry name, or the file's name.
    parameters : mapping
        All parameters, defaults included; read-only.
    n : int
        Size of the matrices.
    tags : frozenset of str
        Declared properties, from the closed vocabulary :data:`neuinv.gallery.TAGS`.
    description, use, reference : str
        How it is made, what the inverse is wanted for, and where it comes from.
    connected : bool or None
        Whether the support is connected (None: not known); ``connected_reason`` says why.
    bounds : Bounds
        Bounds on singular values and condition number that hold by construction.
    tail_index : float or None
        The a of P(||A^-1|| > x) ~ x^-a, where it is proved.
    domain_projection : DomainProjection or None
        ``.project(A)``: a member of the domain close to A.
    """

    def __init__(self, spec, parameters, facts, n):
        self._spec = spec
        self._facts = facts
        self.name = spec.name
        self.parameters = MappingProxyType(dict(parameters))
        self.n = n
        self.tags = frozenset(spec.tags) | frozenset(facts.tags)
        self.description, self.use, self.reference = spec.description, spec.use, spec.reference
        self.requires, self.data = spec.requires, spec.data
        self.connected, self.connected_reason = facts.connected, facts.connected_reason
        self.bounds, self.tail_index = facts.bounds, facts.tail_index
        self.domain_projection = (
            DomainProjection(facts.project, n, facts.project_kind) if facts.project is not None else None
        )

    def __repr__(self):
        inside = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        return f"family({self.name!r}{inside})"

    def sample(self, batch, *, seed=None, generator=None, dtype=torch.float64, device="cpu"):
        """Return ``batch`` matrices.

        Parameters
        ----------
        batch : int
            How many, at least 1.
        seed : int, optional
            Seed of a fresh generator; exactly one of ``seed`` and ``generator``.
        generator : torch.Generator, optional
            A CPU generator, advanced by the draw.
        dtype : torch.dtype
            float64, float32, bfloat16 or float16; the draw itself is made in float64.
        device : str or torch.device
            Where the result goes; ``"auto"`` is the first GPU, else the CPU.

        Returns
        -------
        Tensor, shape (batch, n, n)

        Raises
        ------
        TypeError
            ``batch`` or ``seed`` is no integer, or ``dtype`` is not floating.
        ValueError
            ``batch`` < 1 or too large, both or neither of ``seed`` and ``generator``, a generator of
            another device, an unavailable device, or entries too large for ``dtype``.

        Notes
        -----
        The draws of one call depend on its batch: ``sample(3, seed=0)[:2]`` need not equal
        ``sample(2, seed=0)``. Draw the largest batch once and slice it.
        """
        (A,) = self._deliver(self._draw, batch, seed, generator, dtype, device)
        return A

    @property
    def has_exact_inverse(self):
        """Whether :meth:`sample_with_inverse` is available."""
        return self._spec.with_inverse is not None

    def sample_with_inverse(self, batch, *, seed=None, generator=None, dtype=torch.float64, device="cpu"):
        """Return ``batch`` matrices and their inverses in closed form, no linear solver involved.

        Parameters are those of :meth:`sample`, and the matrices are the same for the same seed.

        Returns
        -------
        A, X : Tensor, shape (batch, n, n)
            Matrices and inverses.

        Raises
        ------
        ValueError
            The family has no closed form; also as :meth:`sample`.
        TypeError
            As :meth:`sample`.
        """
        if not self.has_exact_inverse:
            raise ValueError(f"family {self.name!r} has no inverse in closed form; use torch.linalg.inv(A).")
        return self._deliver(self._draw_with_inverse, batch, seed, generator, dtype, device)

    def _draw(self, batch, generator):
        return (self._spec.function(batch, generator, **self.parameters),)

    def _draw_with_inverse(self, batch, generator):
        return self._spec.with_inverse(batch, generator, **self.parameters)

    def _deliver(self, draw, batch, seed, generator, dtype, device):
        batch = as_integer(batch, "batch", 1)
        size = 8 * batch * self.n**2
        if size > MAX_BYTES:
            raise ValueError(
                f"batch is {batch}, {size / 2**30:.3g} GiB in float64, beyond the limit of "
                f"{MAX_BYTES / 2**30:.3g} GiB; draw fewer matrices at a time."
            )
        if dtype not in FLOATING:
            raise TypeError(f"dtype is {dtype}; use torch.float64, float32, bfloat16 or float16.")
        device = resolve_device(device)
        generator = make_generator(seed, generator)
        _check_cpu_generator(generator)
        drawn = draw(batch, generator)
        for A in drawn:
            self._check_drawn(A, batch)
        return tuple(_cast(A, dtype, self.name).to(device) for A in drawn)

    def _check_drawn(self, A, batch):
        what = f"the draw of family {self.name!r}"
        check_matrices(A, what)
        if A.shape != (batch, self.n, self.n):
            raise ValueError(f"{what} has shape {tuple(A.shape)}; return ({batch}, {self.n}, {self.n}).")
        if A.dtype != torch.float64 or A.device.type != "cpu":
            raise ValueError(f"{what} is {A.dtype} on {A.device}; return float64 on the CPU.")

    @property
    def curve_range(self):
        """Closed range (low, high) of the curve parameter, or None without a curve."""
        return None if self._facts.curve is None else self._facts.curve.ends()

    @property
    def curve_parameter(self):
        """Name and unit of the curve parameter, or None without a curve."""
        return None if self._facts.curve is None else self._facts.curve.parameter

    @property
    def curve_differentiable(self):
        """Whether autograd flows from :meth:`curve` to its argument; None without a curve."""
        return None if self._facts.curve is None else self._facts.curve.differentiable

    def curve(self, t):
        """Return the matrices at the parameters ``t`` of the family's curve.

        Parameters
        ----------
        t : float or Tensor, shape (...,)
            Parameters inside :attr:`curve_range`.

        Returns
        -------
        Tensor, shape (..., n, n)
            In the dtype and on the device of ``t`` (float64 for a number).

        Raises
        ------
        ValueError
            The family has no curve, or a parameter is outside the range.
        TypeError
            ``t`` is complex or no number.
        """
        if self._facts.curve is None:
            raise ValueError(f"family {self.name!r} has no curve; choose one whose curve_range is not None.")
        return self._facts.curve.evaluate(t)

    @property
    def has_path(self):
        """Whether :meth:`path` is available."""
        return self._facts.path is not None

    def path(self, A, B, s):
        """Return points of a continuous path of members from ``A`` (s = 0) to ``B`` (s = 1).

        Parameters
        ----------
        A, B : Tensor, shape (n, n)
            Two members, float64.
        s : Tensor, shape (m,)
            Positions in [0, 1].

        Returns
        -------
        Tensor, shape (m, n, n)

        Raises
        ------
        ValueError
            The family declares no path.
        """
        if not self.has_path:
            raise ValueError(f"family {self.name!r} declares no path between members.")
        return self._facts.path(A, B, s[:, None, None])

    @property
    def has_singular_limit(self):
        """Whether members of every condition number are declared, see :meth:`towards_singular`."""
        return self._facts.towards_singular is not None

    def towards_singular(self, t):
        """Return members on the way to a singular matrix: condition number at least 1/t, bounded norm.

        Parameters
        ----------
        t : float or Tensor, shape (...,)
            In (0, 1], dimensionless.

        Returns
        -------
        Tensor, shape (..., n, n), float64

        Raises
        ------
        ValueError
            The family declares none, or ``t`` is outside (0, 1].
        """
        if not self.has_singular_limit:
            raise ValueError(f"family {self.name!r} declares no members on the way to a singular matrix.")
        t = torch.as_tensor(t, dtype=torch.float64)
        if not ((t > 0) & (t <= 1)).all():
            raise ValueError(f"t is {t.tolist()}; pass numbers in (0, 1].")
        return self._facts.towards_singular(t)

    def with_parameters(self, **changes):
        """Return the family with some parameters changed.

        Raises
        ------
        TypeError, ValueError
            As :func:`neuinv.family`.
        """
        return self._spec.build(**{**self.parameters, **changes})

    @classmethod
    def from_file(cls, path):
        """Return the family of the matrices in a file; see :func:`neuinv.gallery.files.read_matrices`.

        Parameters
        ----------
        path : str or PathLike
            A .npy, .npz, .mtx, .mat or .safetensors file. In a file of several arrays the one
            named ``A`` is read, else the only one; ``"FILE:NAME"`` names another.

        Returns
        -------
        GivenMatrices

        Raises
        ------
        TypeError, ValueError, OSError
            The file is missing, unreadable, too large, or holds no real square matrices.
        """
        from neuinv.gallery.given import GivenMatrices

        return GivenMatrices.read(path)


def _check_cpu_generator(generator):
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator is a {type(generator).__name__}; pass torch.Generator().manual_seed(0).")
    if generator.device.type != "cpu":
        raise ValueError(
            f"generator is on {generator.device}; pass a CPU generator, for draws that agree on every device."
        )


def _cast(A, dtype, name):
    cast = A.to(dtype)
    if not torch.isfinite(cast).all():
        raise ValueError(
            f"family {name!r} has entries up to {A.abs().max().tolist():.3g}, too large for {dtype}; "
            "use a wider dtype."
        )
    return cast
