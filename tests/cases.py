"""Registries of test cases, shared by the test modules."""

import torch

from neuinv.iterations import newton_schulz
from neuinv.networks import make_network, network_kinds

BAD_MATRICES = {
    "not a tensor": ([[1.0]], TypeError, "torch.Tensor"),
    "integer dtype": (torch.eye(2, dtype=torch.int64), TypeError, r"\.double\(\)"),
    "complex dtype": (torch.eye(2, dtype=torch.complex128), TypeError, "real_form"),
    "not square": (torch.zeros(2, 3), ValueError, "square"),
    "a vector": (torch.zeros(3), ValueError, "square"),
    "n = 0": (torch.zeros(4, 0, 0), ValueError, "n >= 1"),
    "empty batch": (torch.zeros(0, 2, 2), ValueError, "at least one"),
    "sparse": (torch.eye(2).to_sparse(), TypeError, r"\.to_dense\(\)"),
    "no numbers": (torch.eye(2, device="meta"), TypeError, "device 'meta'"),
    "nested": (torch.nested.nested_tensor([torch.eye(2)], layout=torch.jagged), TypeError, "nested"),
    "NaN": (torch.tensor([[float("nan")]]), ValueError, "NaN or inf"),
    "infinity": (torch.tensor([[float("inf")]]), ValueError, "NaN or inf"),
}


def maps(n, seed=0):
    """Return maps of n x n matrices by name: untrained networks, iterations, adversaries of the bounds."""
    chosen = {kind: make_network(kind, n, seed=seed, width=16) for kind in network_kinds()}
    chosen |= {
        "newton-schulz": lambda A: newton_schulz(A, 8),
        "transpose": lambda A: A.mT,
        "large constant": lambda A: torch.full_like(A, 1e3),
        # f = c A^-1 attains the key inequality: the room is c and the error 1 - c.
        "half the inverse": lambda A: 0.5 * torch.linalg.inv(A),
        "the inverse": torch.linalg.inv,
        "minus the inverse": lambda A: -torch.linalg.inv(A),
    }
    return chosen


def gaussian(batch, n, seed=0, dtype=torch.float64):
    """Return Gaussian matrices without the gallery, so that its errors stay its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, n, n, generator=generator, dtype=torch.float64).to(dtype)
