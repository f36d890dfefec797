"""The front door: the class of a network, its bounds on a ball, and what they cost on inversion."""

import math

import torch
from torch import nn

from neuinv.lipschitz._logs import exp_up, log_up
from neuinv.lipschitz.classes import identity_class
from neuinv.lipschitz.local import LocalBound
from neuinv.lipschitz.norms import vector_upper
from neuinv.lipschitz.registry import infer_input_shape
from neuinv.lipschitz.walk import propagate

__all__ = ["largest_condition", "lipschitz_bound", "lipschitz_class", "required_lipschitz"]


def lipschitz_class(module, *, input_shape=None):
    r"""Return constants c, L, p with which a network is polynomially Lipschitz, proved from its weights.

    Parameters
    ----------
    module : torch.nn.Module
        Of one input, in evaluation mode. The statement is about one sample, computed as a batch of one, in
        exact arithmetic with the weights as they are stored; what the forward computes from weights alone
        (a normalised weight, a product of two) counts as a weight with the value that torch finds in float64.
    input_shape : tuple of int, optional
        Of one sample, without the batch; needed unless the first layer tells it.

    Returns
    -------
    LipschitzClass
        In the Euclidean norm of inputs and outputs (Frobenius on matrices).

    Raises
    ------
    TypeError
        A layer or function without a rule (it is named; see :func:`register_rule`), a forward that
        cannot be traced or, at a random point, differs from its trace, or a module in which the samples of
        a batch depend on one another. :class:`OutsideClass`, a TypeError, where the network leaves the class.
    ValueError
        Dropout or batch norm in training mode, an input shape that does not fit or is not known, or a
        weight that is NaN or infinite.

    Notes
    -----
    Statement `thm-class-calculus` of the book: the calculus is applied layer by layer.

    Examples
    --------
    >>> import torch
    >>> found = lipschitz_class(torch.nn.ReLU(), input_shape=(3,))
    >>> found.c, found.L, found.p
    (0.0, 1.0, 0)
    """
    return propagate(module, identity_class(), _shape(module, input_shape))


def lipschitz_bound(module, radius, *, center=None, input_shape=None):
    r"""Return bounds of a network's norm and Lipschitz constant on the ball ||x - center|| <= ``radius``.

    A pair of numbers goes from layer to layer. Where activations are multiplied it is far smaller than the
    class restricted to the ball: the class pays for all radii at once. At each node the norm is at most that
    of the value at the centre plus Lipschitz constant times radius; :class:`LocalBound` has the proof, what
    it assumes of torch's rounding, and what is lost on a small ball.

    Parameters
    ----------
    module, input_shape
        As in :func:`lipschitz_class`.
    radius : float
        >= 0, in the Euclidean (Frobenius) norm of the input.
    center : Tensor, shape ``input_shape``, optional
        Of the ball, without the batch; 0 by default. It tells the input shape where that is not passed.

    Returns
    -------
    LocalBound

    Raises
    ------
    TypeError
        As :func:`lipschitz_class`, or a centre that is not a real tensor.
    ValueError
        As :func:`lipschitz_class`, a bad radius, or a centre of the wrong shape or with NaN.

    Examples
    --------
    >>> import torch
    >>> lipschitz_bound(torch.nn.Tanh(), 2.0, input_shape=(3,)).lipschitz
    1.0
    >>> class Square(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x * x
    >>> round(lipschitz_bound(Square(), 0.01, center=torch.tensor([5.0])).lipschitz, 6)
    10.02
    """
    if center is None:
        return propagate(module, LocalBound.identity(radius), _shape(module, input_shape))
    if not isinstance(center, torch.Tensor) or center.is_complex():
        raise TypeError("center is not a real torch.Tensor; pass one sample, without the batch.")
    known = tuple(center.shape) if input_shape is None else input_shape
    shape = _shape(module, known)
    if tuple(center.shape) != shape:
        raise ValueError(
            f"center has shape {tuple(center.shape)}, one sample {shape}; pass the centre without the batch."
        )
    center = center.detach().cpu().double()
    if not torch.isfinite(center).all():
        raise ValueError("center is NaN or infinite somewhere; pass a finite tensor.")
    return propagate(module, LocalBound.identity(radius, vector_upper(center)), shape, center)


def _shape(module, input_shape):
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is a {type(module).__name__}; wrap it in a torch.nn.Module.")
    if input_shape is None:
        return infer_input_shape(module)
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
    if not all(isinstance(size, int) and size >= 1 for size in shape):
        raise ValueError(f"input_shape is {input_shape}; pass integers >= 1, without the batch.")
    return shape


def required_lipschitz(kappa, eta, *, n=None, p=0):
    r"""Return the constant L that forward errors <= ``eta`` at two matrices demand of a map of Lip(c, L, p).

    The two are :math:`A_\pm = \kappa^{-1}\mathrm{diag}(1, \dots, 1, \pm 1)`, of Frobenius norm sqrt(n)/kappa.
    If e <= eta < 1 at both, the outputs are at least :math:`2\kappa(1-\eta)` apart, the inputs
    :math:`2/\kappa`: hence :math:`L \ge (1-\eta)\kappa^2 / \max(1, \sqrt n/\kappa)^p`. Both lie in
    :math:`\{\lVert A\rVert \le 1, \sigma_{\min} \ge 1/\kappa\}`; of a set that does not contain them the
    number says nothing.

    Parameters
    ----------
    kappa : float
        1 / sigma_min of the two matrices, >= 1; it bounds the condition numbers of the set.
    eta : float
        Forward error >= 0 in the spectral norm, dimensionless; from 1 on nothing is needed.
    n : int, optional
        Size of the matrices; needed for p > 0.
    p : int or float
        Exponent of the class.

    Returns
    -------
    float
        In the Frobenius norm of inputs and outputs.

    Raises
    ------
    ValueError
        kappa < 1, eta < 0, or n missing for p > 0.

    Notes
    -----
    Statement `thm-class-price` of the book. For p = 0 it is the constant of
    :func:`neuinv.lipschitz_price.lipschitz_price`, which also treats one determinant sign, positive definite
    matrices and absolute errors.

    Examples
    --------
    >>> required_lipschitz(10, 0.5)
    50.0
    """
    _check(eta, n, p)
    if not 1 <= kappa < math.inf:
        raise ValueError(f"kappa is {kappa}; pass a finite condition number >= 1.")
    size = 1.0 if p == 0 else max(1.0, math.sqrt(n) / kappa)
    return max(0.0, 1 - eta) * kappa**2 / size**p


def _check(eta, n, p):
    if not eta >= 0:
        raise ValueError(f"eta is {eta}; pass a forward error >= 0.")
    if p > 0 and (n is None or n < 1):
        raise ValueError(f"n is {n}; with p > 0 the size of the matrices enters: pass n >= 1.")


def largest_condition(bound, eta, *, n=None):
    r"""Return the largest kappa at which forward errors <= ``eta`` on a pair of matrices are not excluded.

    The contrapositive of :func:`required_lipschitz`: for every larger kappa one of the two matrices
    :math:`\kappa^{-1}\mathrm{diag}(1, \dots, 1, \pm 1)` has a larger error, whatever was trained. Of a family
    that contains no such pair it says nothing: a constant map is exact on a single matrix.

    Parameters
    ----------
    bound : LipschitzClass or LocalBound
        Proved constants of the network, in the Frobenius norm.
    eta : float
        Forward error in [0, 1).
    n : int, optional
        Size of the matrices; needed for a class with p > 0 and for bounds on a ball.

    Returns
    -------
    float
        Infinite from eta = 1 on. Below 1: the error is exceeded on the pair of every kappa >= 1.

    Raises
    ------
    ValueError
        A negative eta, n missing, or bounds on a ball around another point than 0.

    Notes
    -----
    Statement `thm-class-price` of the book.

    Examples
    --------
    >>> from neuinv.lipschitz import LipschitzClass
    >>> round(largest_condition(LipschitzClass(c=0, L=50), 0.5), 9)
    10.0
    """
    local = isinstance(bound, LocalBound)
    if local and bound.offset > 0:
        raise ValueError("the ball is not around 0, where the pair of matrices lies; leave center out.")
    p = 1 if local else bound.p
    _check(eta, n, p)
    if eta >= 1:
        return math.inf
    log_room = (bound.log_lipschitz if local else bound.log_L) - math.log1p(-eta)
    reached = exp_up(log_room / 2)
    if local:
        # A pair of norm sqrt(n) / kappa must lie in the ball.
        return max(reached, math.sqrt(n) / bound.radius if bound.radius else math.inf)
    if p == 0 or reached >= math.sqrt(n):
        return reached
    return exp_up((log_room + p * log_up(n) / 2) / (p + 2))
