"""What answers leave on matrices that nobody has trained on."""

import torch

from neuinv.metrics import (
    best_constant,
    both_errors,
    exact_inverse,
    mean_inverse,
    quantiles,
    right_residual,
)

__all__ = ["input_ignoring", "measured", "towards_singular"]

APPROACH = torch.logspace(-1, -6, 21, dtype=torch.float64)


def measured(A, X, inverse=None):
    """Return median, 99.9 % quantile and worst of the right residual and of the relative forward error.

    Parameters
    ----------
    A, X : Tensor, shape (N, n, n)
        Matrices and answers; a single answer (n, n) stands for all. An answer that is not finite counts as an
        infinite residual.
    inverse : Tensor, shape (N, n, n), optional
        The exact inverses, where they are at hand.

    Returns
    -------
    dict of str to float
        ``median``, ``extreme``, ``worst``, and the same with ``forward_``. The extreme value of N is the one
        that N / 1000 others, rounded down, exceed or equal.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.

    Examples
    --------
    >>> A = torch.tensor([[[1.0]], [[2.0]], [[4.0]]], dtype=torch.float64)
    >>> found = measured(A, torch.tensor([[0.5]], dtype=torch.float64))
    >>> found["median"], found["worst"], found["forward_worst"]
    (0.5, 1.0, 1.0)
    """
    errors = both_errors(A, X, exact_inverse(A) if inverse is None else inverse)
    found = {}
    for prefix, values in zip(("", "forward_"), errors, strict=True):
        values = quantiles(values, lower=True)
        found |= zip((f"{prefix}median", f"{prefix}extreme", f"{prefix}worst"), values, strict=True)
    return found


def input_ignoring(pool, minimax, test, inverse=None):
    """Return what the answers that ignore their input leave on test matrices.

    Parameters
    ----------
    pool : Tensor, shape (N, n, n)
        Training matrices.
    minimax : Tensor, shape (n, n)
        The constant that is best for the worst right residual over a sample, from its spread.
    test : Tensor, shape (M, n, n)
        The matrices to judge by.
    inverse : Tensor, shape (M, n, n), optional
        Their inverses.

    Returns
    -------
    dict of str to dict
        ``constant``, best in the mean for the right residual; ``minimax``, as passed;
        ``mean-inverse``, best in the mean for the absolute forward error; ``zero``. Each as :func:`measured`.

    Raises
    ------
    TypeError, ValueError
        Bad matrices.
    """
    answers = {
        "constant": best_constant(pool),
        "minimax": minimax,
        "mean-inverse": mean_inverse(pool),
        "zero": torch.zeros_like(test[0]),
    }
    inverse = exact_inverse(test) if inverse is None else inverse
    return {name: measured(test, X, inverse) for name, X in answers.items()}


def towards_singular(matrices, networks):
    """Return the worst right residual of each network on declared members on the way to a singular matrix.

    Parameters
    ----------
    matrices : MatrixFamily
        The family.
    networks : sequence of callable
        (N, n, n) -> (N, n, n).

    Returns
    -------
    list of float
        Over 21 members of condition number at least 10 to at least 1e6; NaN where the family declares none.
    """
    if not matrices.has_singular_limit:
        return [float("nan")] * len(networks)
    A = matrices.towards_singular(APPROACH)
    with torch.no_grad():
        answers = [torch.nan_to_num(network(A.to(_device(network)))).to(A.device) for network in networks]
    return [right_residual(A, X).max().item() for X in answers]


def _device(network):
    """Return where the weights of a network are; a callable without any takes what it is given."""
    state = network.state_dict().values() if isinstance(network, torch.nn.Module) else ()
    return next((tensor.device for tensor in state), torch.device("cpu"))
