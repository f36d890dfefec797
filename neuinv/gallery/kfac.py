"""Kronecker factors of the Fisher matrix of a small classifier in training: ``kfac``."""

import math
from functools import cache
from itertools import pairwise

import torch

from neuinv.gallery._draws import normal
from neuinv.gallery.facts import Bounds, Facts
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import register_family

CLASSES, PIXELS, IMAGES = 10, 64, 1797
BATCH = 32  # images a step
EXAMPLES = 512  # images that a factor is the mean over, far more than its size
RATE, MOMENTUM = 0.1, 0.9
GROUP = 32  # runs trained side by side, so that a large draw needs no more memory than a small one


@cache
def _digits():
    """Return the images (1797, 64), pixels in [0, 1], and their classes (1797,)."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    return torch.as_tensor(images, dtype=torch.float64) / 16, torch.as_tensor(classes).long()


def _with_one(a):
    """Append the constant 1 that the bias multiplies."""
    return torch.cat([a, torch.ones_like(a[..., :1])], dim=-1)


def _start(runs, width, generator):
    """Return the initial weights of 64-width-width-10 networks, each (runs, inputs + 1, outputs)."""
    sizes = (PIXELS, width, width, CLASSES)
    weights = []
    for fan_in, fan_out in pairwise(sizes):
        W = normal((runs, fan_in, fan_out), generator) / math.sqrt(fan_in)
        weights.append(torch.cat([W, torch.zeros(runs, 1, fan_out, dtype=torch.float64)], dim=1))
    return weights


def _forward(weights, images):
    """Return what enters each layer, its 1 included, and the class probabilities."""
    entering = [_with_one(images)]
    for W in weights[:-1]:
        entering.append(_with_one(torch.tanh(entering[-1] @ W)))
    return entering, torch.softmax(entering[-1] @ weights[-1], dim=-1)


def _behind(W, entering, delta):
    """Return the derivative by what a layer's tanh took, from that by what the next layer gave."""
    return (delta @ W[:, :-1].mT) * (1 - entering[..., :-1] ** 2)


def _gradients(weights, images, classes):
    """Return the gradients of the mean cross-entropy by backpropagation."""
    entering, probabilities = _forward(weights, images)
    wanted = torch.nn.functional.one_hot(classes, CLASSES)
    delta = (probabilities - wanted) / images.shape[1]
    gradients = []
    for layer in (2, 1, 0):
        gradients.insert(0, entering[layer].mT @ delta)
        if layer:
            delta = _behind(weights[layer], entering[layer], delta)
    return gradients


def train(weights, steps, generator):
    """Train networks side by side, each for its own number of steps, and return their weights.

    Stochastic gradient descent with momentum on random images. No autograd, so that drawing
    works under ``torch.inference_mode`` too.

    Parameters
    ----------
    weights : list of Tensor, shape (runs, inputs + 1, outputs)
        Where each run starts.
    steps : Tensor, shape (runs,)
        Steps of each run.
    generator : torch.Generator
        Draws the images of every step.

    Returns
    -------
    list of Tensor
        Of the shapes of ``weights``.
    """
    images, classes = _digits()
    velocity = [torch.zeros_like(W) for W in weights]
    for step in range(int(steps.max())):
        chosen = _rows((len(steps), BATCH), generator)
        gradients = _gradients(weights, images[chosen], classes[chosen])
        velocity = [MOMENTUM * v - RATE * g for v, g in zip(velocity, gradients, strict=True)]
        running = (step < steps).double()[:, None, None]  # a run that is done keeps its weights
        weights = [W + running * v for W, v in zip(weights, velocity, strict=True)]
    return weights


def _rows(shape, generator):
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (uniform * IMAGES).long()


def input_factor(weights, images):
    """Return E[a a^T] over what enters the middle layer, the constant 1 included.

    Parameters
    ----------
    weights : list of Tensor, shape (runs, inputs + 1, outputs)
    images : Tensor, shape (runs, examples, 64)

    Returns
    -------
    Tensor, shape (runs, width + 1, width + 1)
    """
    a = _forward(weights, images)[0][1]
    A = a.mT @ a / images.shape[1]
    return (A + A.mT) / 2


def gradient_factor(weights, images):
    """Return E[g g^T] over the gradients g of the loss by what the middle layer gives to its tanh.

    The class is drawn from the model, as Fisher's matrix wants it, and the expectation over it is
    exact: sum_y p_y g_y g_y^T. So no draw of a class can fall differently on another machine.

    Parameters
    ----------
    weights, images
        As :func:`input_factor`.

    Returns
    -------
    Tensor, shape (runs, width, width)
    """
    entering, p = _forward(weights, images)
    G = 0
    for y in range(CLASSES):
        delta = p.clone()
        delta[..., y] -= 1
        g = _behind(weights[2], entering[2], delta)
        G = G + (p[..., y, None] * g).mT @ g / images.shape[1]
    return (G + G.mT) / 2


def _facts(factor, width, steps, damping):
    n = width + (factor == "input")
    # the largest eigenvalue is at most the trace, n times the mean
    bounds = Bounds(condition=1 + n / damping) if damping > 0 else Bounds()
    return Facts(n=n, tags=("bounded-condition",) if damping > 0 else (), bounds=bounds)


@register_family(
    "kfac",
    tags=("real-data", "spd", "symmetric", "normal", "det-positive"),
    facts=_facts,
    parameters={
        "factor": Parameter("input", "covariance of inputs or of gradients", choices=("input", "gradient")),
        "width": Parameter(32, "of the hidden layers; n is one more for inputs", low=2, high=128),
        "steps": Parameter(60, "a member comes from step 1 ... steps of its run", low=1, high=1000),
        "damping": Parameter(0.1, "added, in units of the mean eigenvalue", low=0.0, high=1e3),
    },
    use="Natural-gradient training: K-FAC inverts two such factors a layer every few steps.",
    reference="J. Martens and R. Grosse, 2015, Optimizing neural networks with Kronecker-factored curvature",
    requires=("sklearn (scikit-learn)",),
    data="scikit-learn: digits",
)
def kfac(batch, generator, factor, width, steps, damping):
    """Factors of the Fisher matrix of a classifier of digits in training, damped by a part of the trace.

    The middle layer of a 64-width-width-10 network of tanh. Every member comes from a training
    run of its own, at a step of its own: neighbouring steps of one run give almost the same
    matrix, and so two draws by different seeds share no run. With damping d the condition number
    is at most 1 + n/d. The damping is that of the factored Tikhonov rule, which gives both
    factors of a layer the same part of their mean eigenvalue.
    """
    images, _ = _digits()
    mean_over = input_factor if factor == "input" else gradient_factor
    members = []
    for first in range(0, batch, GROUP):
        runs = min(GROUP, batch - first)
        last = 1 + (torch.rand(runs, generator=generator, dtype=torch.float64) * steps).long()
        weights = train(_start(runs, width, generator), last, generator)
        F = mean_over(weights, images[_rows((runs, EXAMPLES), generator)])
        mean = F.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[:, None, None]
        members.append(F + damping * mean * torch.eye(F.shape[-1], dtype=torch.float64))
    return torch.cat(members)
