"""The one figure style of the book, on seaborn: one colour and one marker per method, everywhere."""

__all__ = ["METHODS", "figure_style", "method_style", "wedge"]

# The colour-blind safe palette of Wong (2011, Nature Methods 8, 441), in an order that also separates greys.
METHODS = {
    "plain-relu": ("#0072B2", "o"),
    "plain-gelu": ("#56B4E9", "s"),
    "residual": ("#009E73", "^"),
    "gated": ("#F0E442", "<"),
    "attention": ("#882255", ">"),
    "unrolled": ("#D55E00", "D"),
    "newton-schulz": ("#E69F00", "v"),
    "zero": ("#000000", "x"),
    "bound": ("#7F7F7F", None),
    "constant": ("#CC79A7", "P"),
}


def figure_style(width=6.4, height=4.0):
    """Set the figure style of the book and return matplotlib's ``pyplot``.

    Parameters
    ----------
    width, height : float
        Size of a figure in inches.

    Returns
    -------
    module
        ``matplotlib.pyplot``.
    """
    import matplotlib.pyplot as plt
    import seaborn

    seaborn.set_theme(context="notebook", style="ticks")
    plt.rcParams.update(
        {
            "figure.figsize": (width, height),
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            # White, not transparent: axes and labels stay readable on a dark page.
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 1.6,
            "lines.markersize": 5,
            "legend.frameon": False,
        }
    )
    return plt


def method_style(method):
    """Return the keyword arguments (color, marker, label) with which a method is drawn everywhere.

    Parameters
    ----------
    method : str
        A key of ``METHODS``.

    Raises
    ------
    ValueError
        An unknown method.

    Examples
    --------
    >>> method_style("zero")["marker"]
    'x'
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} has no style; use one of {', '.join(METHODS)}.")
    color, marker = METHODS[method]
    return {"color": color, "marker": marker, "label": method}


def wedge(axes, x, gap, method):
    """Shade the band 1 - gap ... 1 + gap in which the key inequality confines the error of one method.

    Parameters
    ----------
    axes : matplotlib Axes
        Where to draw.
    x, gap : array-like, shape (m,)
        Abscissae and the products sigma_min ||f||.
    method : str
        A key of ``METHODS``; its colour is used.
    """
    import numpy as np

    gap = np.asarray(gap)
    axes.fill_between(
        np.asarray(x), np.maximum(1 - gap, 0), 1 + gap, color=METHODS[method][0], alpha=0.12, linewidth=0
    )
