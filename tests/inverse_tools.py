"""Matrices that tempt a check of residuals to be wrong, and a judge that is not."""

import torch
from cases import gaussian

import neuinv
from neuinv._checks import make_generator
from neuinv.metrics import exact_right_residual

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
REAL = ("power-grid-dc", "power-grid-ac", "massive-mimo", "fem-darcy", "markov", "graph-resolvent")


def false_accepts(A, X, bound):
    """Return the indices of pairs (batch, n, n) with ||A X - I||_2 > bound (batch,), exactly where close."""
    n, A, X = A.shape[-1], A.double(), X.double()
    residual = A @ X - torch.eye(n, dtype=torch.float64)
    size = torch.linalg.matrix_norm(residual, 2)
    # Ten times what float64 can be wrong by; without overflow, since both factors are scaled to each other.
    unit = 4 * n * 2.0**-53 * torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(X) + 1e-14 * size
    doubtful = torch.nonzero(~(size + 10 * unit <= bound))[:, 0].tolist()
    return [i for i in doubtful if exact_right_residual(A[i], X[i]) > bound[i].item() * (1 + 1e-12)]


def tempting(batch, n, seed):
    """Yield (name, A): float64 batches of the kinds that a check could get wrong."""
    generator = make_generator(seed)

    def log_uniform(low, high, shape=(batch, 1, 1)):
        exponent = torch.rand(shape, generator=generator, dtype=torch.float64)
        return 10 ** (low + (high - low) * exponent)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    identity = torch.eye(n, dtype=torch.float64)
    for kind in ("spd", "general", "symmetric"):
        kappa = float(log_uniform(0, 14, ()))
        yield f"{kind} {kappa:.1e}", _prescribed(batch, n, kappa, kind, seed)
    G = normal(batch, n, n)
    yield "gaussian", G
    yield "scaled", G * log_uniform(-6, 6)
    yield "badly scaled rows", G * log_uniform(-6, 6, (batch, n, 1))
    yield "badly scaled columns", G * log_uniform(-6, 6, (batch, 1, n))
    yield "permuted", identity[torch.randperm(n, generator=generator)] + 1e-3 * log_uniform(-12, 0) * G
    yield "triangular", G.triu() + torch.diag_embed(log_uniform(-6, 0, (batch, n)))
    yield "nilpotent plus I", identity + log_uniform(-1, 3) * G.triu(1)
    # The pivots of all ones do not show that it is singular to working precision for n near 50.
    yield (
        "ones below -1",
        (identity - torch.ones(n, n).triu(1).double()).expand(batch, n, n) * log_uniform(-1, 1),
    )
    yield "triangle of ones", torch.ones(n, n).double().triu() + 1e-9 * G.triu()
    low_rank = normal(batch, n, max(n - 1, 1)) @ normal(batch, max(n - 1, 1), n)
    yield "near singular", low_rank + log_uniform(-17, -2) * G
    yield "equal rows", G[:, :1, :] + log_uniform(-17, -2) * G
    yield "integers", torch.randint(-3, 4, (batch, n, n), generator=generator).double()
    yield "orthogonal", torch.linalg.qr(G).Q


def _prescribed(batch, n, kappa, kind, seed):
    if n == 1:
        return gaussian(batch, 1, seed)
    return neuinv.family("prescribed-spectrum", n=n, kappa=kappa, kind=kind).sample(batch, seed=seed)


def real_matrices(batch, seed):
    """Yield (name, A) from families of applications."""
    for name in REAL:
        yield name, neuinv.family(name).sample(batch, seed=seed)
