"""Matrices that tempt a check of residuals to be wrong, and a judge that is not."""

import torch
from cases import gaussian

import neuinv
from neuinv._checks import make_generator
from neuinv.inverse.proof import prove_residual
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


def one_call(A, draw, generator, device="cpu"):
    """Invert a batch with random options, the tolerance near what can be had, and judge what is accepted.

    Returns how many were accepted, and how many of them falsely; what judges them runs on the CPU.
    """
    unit = torch.finfo(A.dtype).eps if A.dtype == torch.float64 else 2.0**-23
    exponent = torch.rand((), generator=generator, dtype=torch.float64).item()
    tolerance = min(0.99, 0.1 * unit * (0.5 / unit) ** exponent * 10)
    sigma = torch.linalg.svdvals(A.double())
    low, high = sigma[:, -1].clamp(min=1e-300), sigma[:, 0].clamp(min=1e-300)
    # Right, too narrow at either end, far off, or none.
    interval = draw(
        None, (low, high), (2 * low.clamp(max=1e290), 2 * high), (low / 2, high / 1.5), (0.5, 1.0)
    )
    if interval is not None and not (torch.as_tensor(interval[0]) <= torch.as_tensor(interval[1])).all():
        interval = None
    options = {"kind": draw("auto", "general"), "interval": interval, "on_refusal": "mark"}
    options["precision"] = (
        None if A.dtype == torch.float64 else draw(None, None, "bfloat16", "float16", "tf32")
    )
    options["out_dtype"] = draw(None, None, None, A.dtype)
    result = neuinv.approximate_inverse(A.to(device), tolerance=tolerance, **options)
    X, yes, bound = (part.cpu() for part in (result.X, result.accepted, result.residual_bound))
    assert torch.isfinite(X).all()
    assert (X[~yes] == 0).all() and (bound[yes] <= tolerance).all()
    return int(yes.sum()), len(false_accepts(A[yes], X[yes], bound[yes]))


def believe(A, X, tolerance, data_error=0.0):
    """Stand in for prove_residual and call everything finite proved: a negative control."""
    found = prove_residual(A, X, tolerance, data_error)
    found.bound = torch.where(torch.isfinite(found.bound), found.bound.clamp(max=tolerance), found.bound)
    return found


def real_matrices(batch, seed):
    """Yield (name, A) from families of applications."""
    for name in REAL:
        yield name, neuinv.family(name).sample(batch, seed=seed)
