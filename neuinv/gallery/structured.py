"""Classical structured matrices: ``shift``, ``toeplitz``, ``grcar``, ``hilbert`` and ``poisson``."""

import math

import torch

from neuinv.gallery._draws import normal, uniform
from neuinv.gallery.facts import Bounds, Curve, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family


def _eye(n):
    return torch.eye(n, dtype=torch.float64)


def _copies(A, batch):
    return A.expand(batch, *A.shape).clone()


def _clipped_line(A0, A1, low, high):
    """Return the nearest-point projection onto {A0 + t A1 : low <= t <= high}."""

    def project(A):
        t = ((A - A0) * A1).sum(dim=(-2, -1)) / (A1 * A1).sum()
        return A0 + t.clamp(low, high)[..., None, None] * A1

    return project


def _shift_at(n):
    def function(c):
        P = _eye(n).roll(1, dims=0).to(c.device)
        return P + c[..., None, None] * _eye(n).to(c.device)

    return function


def _shift_facts(n, c_max):
    tags = (["nonsymmetric"] if n > 2 else []) + (["det-positive"] if n % 2 else [])
    if c_max == 0:
        tags += ["orthogonal", "norm-at-most-one"]
    return Facts(
        tags=tags,
        bounds=Bounds(1 - c_max, 1 + c_max, (1 + c_max) / (1 - c_max)),
        connected=True,
        connected_reason="one parameter c in an interval",
        path=segment,
        project=_clipped_line(_eye(n).roll(1, dims=0), _eye(n), -c_max, c_max),
        project_kind="nearest c, clipped to the range",
        curve=Curve(_shift_at(n), (-c_max, c_max), "c"),
    )


def _shift_with_inverse(batch, generator, n, c_max):
    c = uniform((batch,), generator, -c_max, c_max)
    # Neumann series in P^T = P^{-1}, summed over one turn: P^n = I closes it
    first_row = -((-c[:, None]) ** torch.arange(n)) / ((-c[:, None]) ** n - 1)
    index = (torch.arange(n)[None, :] - torch.arange(n)[:, None] - 1) % n
    return _shift_at(n)(c), first_row[:, index]


@register_family(
    "shift",
    tags=(
        "synthetic",
        "circulant",
        "toeplitz",
        "normal",
        "one-parameter",
        "connected",
        "bounded-condition",
        "exact-inverse",
    ),
    facts=_shift_facts,
    with_inverse=_shift_with_inverse,
    parameters={
        "n": Parameter(16, "size", low=2, high=4096),
        "c_max": Parameter(0.5, "c is uniform on [-c_max, c_max]", low=0.0, high=0.5),
    },
    use="A counterexample: condition number at most 3, yet the eigenvalues surround 0.",
    reference="L. N. Trefethen and M. Embree, 2005, Spectra and Pseudospectra",
)
def shift(batch, generator, n, c_max):
    """The cyclic shift plus c I: eigenvalues on the unit circle around c, with 0 inside."""
    return _shift_at(n)(uniform((batch,), generator, -c_max, c_max))


def _lags(n):
    return torch.arange(n)[:, None] - torch.arange(n)[None, :]


def _kms_at(n):
    def function(rho):
        # exp(lag log rho) has no derivative at rho = 0, a product of powers has
        powers = torch.stack([rho**k for k in range(n)], dim=-1)
        return powers[..., _lags(n).abs().to(rho.device)]

    return function


def _kms_domain(n, rho_max):
    """Return projection and path of the curve, by its coordinate rho on the first off-diagonals."""

    def project(A):
        rho = (A.diagonal(1, -2, -1).mean(dim=-1) + A.diagonal(-1, -2, -1).mean(dim=-1)) / 2
        return _kms_at(n)(rho.clamp(0.0, rho_max))

    def path(A, B, s):
        return _kms_at(n)(segment(A[0, 1], B[0, 1], s[..., 0, 0]))

    return project, path


def _average_diagonals(n):
    def project(A):
        lags = (_lags(n) + n - 1).flatten()
        sums = torch.zeros(*A.shape[:-2], 2 * n - 1, dtype=A.dtype, device=A.device)
        sums = sums.index_add(-1, lags.to(A.device), A.flatten(-2))
        counts = n - (torch.arange(2 * n - 1, device=A.device) - n + 1).abs()
        return (sums / counts)[..., lags.to(A.device)].reshape(A.shape)

    return project


def _toeplitz_facts(n, kind, rho_max):
    if kind == "random":
        return Facts(
            tags=("nonsymmetric", "both-det-signs", "connected"),
            connected=True,
            connected_reason="Toeplitz matrices are a linear space",
            path=segment,
            project=_average_diagonals(n),
            project_kind="mean of every diagonal",
        )
    ratio = (1 + rho_max) / (1 - rho_max)
    project, path = _kms_domain(n, rho_max)
    return Facts(
        tags=(
            "spd",
            "symmetric",
            "normal",
            "det-positive",
            "one-parameter",
            "bounded-condition",
            "connected",
        ),
        bounds=Bounds(1 / ratio, ratio, ratio**2),
        connected=True,
        connected_reason="one parameter rho in an interval",
        project=project,
        project_kind="mean of the first off-diagonals as rho, clipped to the range",
        path=path,
        curve=Curve(_kms_at(n), (0.0, rho_max), "rho"),
    )


@register_family(
    "toeplitz",
    tags=("synthetic", "toeplitz"),
    facts=_toeplitz_facts,
    parameters={
        "n": Parameter(16, "size", low=2, high=512),
        "kind": Parameter("kms", "rho^|i-j|, or random diagonals", choices=("kms", "random")),
        "rho_max": Parameter(
            0.9, "kms: rho is uniform on [0, rho_max]; random: decay of the diagonals", above=0.0, below=1.0
        ),
    },
    use="Stationary covariances and linear prediction: the Yule-Walker equations.",
    reference="M. Kac, W. L. Murdock and G. Szego, 1953, On the eigenvalues of certain Hermitian forms",
)
def toeplitz(batch, generator, n, kind, rho_max):
    """Correlations rho^|i-j| of an autoregressive process, or random diagonals that decay."""
    if kind == "kms":
        return _kms_at(n)(uniform((batch,), generator, 0.0, rho_max))
    decay = rho_max ** torch.arange(-(n - 1), n, dtype=torch.float64).abs()
    diagonals = normal((batch, 2 * n - 1), generator) * decay
    return diagonals[:, _lags(n) + n - 1]


def _grcar_with_bands(n, bands):
    lags = -_lags(n)
    return ((lags >= 0) & (lags <= bands)).double() - (lags == -1).double()


@register_family(
    "grcar",
    tags=("synthetic", "toeplitz", "hessenberg", "nonsymmetric", "single-matrix", "connected"),
    facts=lambda n, bands: Facts(connected=True, connected_reason="a single matrix", path=segment),
    parameters={
        "n": Parameter(16, "size", low=2, high=4096),
        "bands": Parameter(3, "superdiagonals of ones", low=1, high=64),
    },
    use="A test of nonnormality: its eigenvalues say little of how iterations behave.",
    reference="J. Grcar, 1989, Operator coefficient methods for linear equations",
)
def grcar(batch, generator, n, bands):
    """The Grcar matrix: -1 below the diagonal, 1 on it and on some superdiagonals."""
    return _copies(_grcar_with_bands(n, bands), batch)


def _hilbert_inverse(n):
    binomial = math.comb
    rows = [
        [
            (-1) ** (i + j)
            * (i + j + 1)
            * binomial(n + i, n - j - 1)
            * binomial(n + j, n - i - 1)
            * binomial(i + j, i) ** 2
            for j in range(n)
        ]
        for i in range(n)
    ]
    return torch.tensor([[float(entry) for entry in row] for row in rows], dtype=torch.float64)


def _hilbert_matrix(n):
    index = torch.arange(n, dtype=torch.float64)
    return 1 / (index[:, None] + index[None, :] + 1)


@register_family(
    "hilbert",
    tags=(
        "synthetic",
        "hankel",
        "spd",
        "symmetric",
        "normal",
        "det-positive",
        "single-matrix",
        "exact-inverse",
        "connected",
    ),
    facts=lambda n: Facts(connected=True, connected_reason="a single matrix", path=segment),
    with_inverse=lambda batch, generator, n: (
        _copies(_hilbert_matrix(n), batch),
        _copies(_hilbert_inverse(n), batch),
    ),
    # beyond n = 12 the stored entries, rounded to float64, are no longer safely positive definite
    parameters={"n": Parameter(6, "size; kappa grows like exp(3.5 n)", low=1, high=12)},
    use="Least squares by monomials; the classical warning that a formula can be hopeless in floating point.",
    reference="D. Hilbert, 1894, Ein Beitrag zur Theorie des Legendreschen Polynoms",
)
def hilbert(batch, generator, n):
    """The Hilbert matrix 1/(i + j - 1), whose inverse has integer entries."""
    return _copies(_hilbert_matrix(n), batch)


def _sines(m):
    """Return the eigenvalues and orthonormal eigenvectors of tridiag(-1, 2, -1)."""
    j = torch.arange(1, m + 1, dtype=torch.float64)
    vectors = math.sqrt(2 / (m + 1)) * torch.sin(math.pi / (m + 1) * j[:, None] * j[None, :])
    return 4 * torch.sin(math.pi * j / (2 * (m + 1))) ** 2, vectors


def _poisson_side(n, dimension):
    side = math.isqrt(n) if dimension == 2 else n
    if side**dimension != n:
        raise ValueError(f"n = {n} is no square; in 2-D use n = {side**2} or {(side + 1) ** 2}.")
    return side


def _poisson_eigen(n, dimension):
    eigenvalues, V = _sines(_poisson_side(n, dimension))
    if dimension == 1:
        return eigenvalues, V
    return (eigenvalues[:, None] + eigenvalues[None, :]).flatten(), torch.kron(V, V)


def _poisson_matrix(n, dimension):
    side = _poisson_side(n, dimension)
    lags = _lags(side).abs()
    T = 2.0 * (lags == 0).double() - (lags == 1).double()
    return T if dimension == 1 else torch.kron(T, _eye(side)) + torch.kron(_eye(side), T)


def _poisson_with_inverse(batch, generator, n, dimension):
    eigenvalues, V = _poisson_eigen(n, dimension)
    X = (V / eigenvalues) @ V.mT
    return _copies(_poisson_matrix(n, dimension), batch), _copies(X, batch)


def _poisson_facts(n, dimension):
    side = _poisson_side(n, dimension)
    angle = math.pi / (2 * (side + 1))
    low = 4 * dimension * math.sin(angle) ** 2
    high = 4 * dimension * math.cos(angle) ** 2
    return Facts(
        tags=("tridiagonal", "toeplitz") if dimension == 1 else (),
        bounds=Bounds(low, high, high / low),
        connected=True,
        connected_reason="a single matrix",
        path=segment,
    )


@register_family(
    "poisson",
    tags=(
        "synthetic",
        "spd",
        "symmetric",
        "normal",
        "det-positive",
        "single-matrix",
        "exact-inverse",
        "bounded-condition",
        "connected",
    ),
    facts=_poisson_facts,
    with_inverse=_poisson_with_inverse,
    parameters={
        "n": Parameter(16, "number of grid points, a square in 2-D", low=1, high=4096),
        "dimension": Parameter(1, "of the grid", choices=(1, 2)),
    },
    use="Potentials and heat flow; the inverse is the discrete Green's function.",
    reference="J. W. Demmel, 1997, Applied Numerical Linear Algebra, chapter 6",
)
def poisson(batch, generator, n, dimension):
    """The finite-difference Laplacian, tridiag(-1, 2, -1) in 1-D and the five-point stencil in 2-D."""
    return _copies(_poisson_matrix(n, dimension), batch)
