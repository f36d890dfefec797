"""The one figure style of the book, on seaborn: one colour and one marker per method, everywhere."""

__all__ = ["METHODS", "figure_style", "method_style", "save_figure", "verdict_figure", "wedge"]

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
    "product": ("#332288", "p"),
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


def verdict_figure(verdict):
    """Draw a verdict: the spectrum with a level curve through 0, condition numbers, determinant signs.

    The curve is where the best residual polynomial of degree 8 on the thickened spectrum has modulus 1: it
    passes through 0, it approximates a level curve of Green's function, and matrices with their spectrum
    inside of it gain from a polynomial in A.

    Parameters
    ----------
    verdict : neuinv.criterion.Verdict
        What to draw.

    Returns
    -------
    matplotlib Figure
    """
    import seaborn
    from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter

    plt = figure_style(10.0, 3.6)
    measured = verdict.measurements
    figure, (plane, middle, right) = plt.subplots(1, 3, width_ratios=[3, 2.4, 1.2], layout="constrained")
    _draw_spectrum(plane, measured)
    cond = measured.cond[measured.cond.isfinite()].numpy()
    if len(cond):
        seaborn.ecdfplot(x=cond, ax=middle, color=METHODS["plain-relu"][0])
        middle.set_xscale("log")
        middle.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if cond.max() < 30 * cond.min() else (1,)))
        middle.xaxis.set_minor_formatter(NullFormatter())
        middle.xaxis.set_major_formatter(LogFormatterMathtext() if cond.max() > 1e4 else "{x:g}")
    middle.set(xlabel=r"condition number $\kappa$", ylabel="share of members")
    counts = (measured.num_positive, measured.num_negative)
    counts = (*counts, measured.count - sum(counts))
    right.bar(["+", "-", "?"], counts, color=[METHODS[m][0] for m in ("residual", "unrolled", "bound")])
    right.set(xlabel="sign of det A", ylabel="members")
    figure.suptitle(f"{verdict.source.name}: {verdict.recommendation}")
    return figure


def _draw_spectrum(axes, measured):
    import numpy as np

    from neuinv.spectrum import ThickenedCloud, minimax_bracket

    z = measured.eigenvalues
    axes.plot(z.real, z.imag, ".", color=METHODS["plain-relu"][0], markersize=3, label="eigenvalues")
    axes.plot([0], [0], "k+", markersize=9, label="0")
    axes.set(xlabel="real part", ylabel="imaginary part")
    size = np.abs(z).max()
    if measured.green is not None and measured.green.high > 1e-3:
        kept = z[:: max(1, len(z) // 40)]
        q = minimax_bracket(ThickenedCloud(kept, 0.1, relative=True), 8, tolerance=1e-3).polynomial
        x = np.linspace(min(z.real.min(), 0) - 0.3 * size, max(z.real.max(), 0) + 0.3 * size, 161)
        y = np.linspace(-1, 1, 121) * (np.abs(z.imag).max() + 0.3 * size)
        modulus = np.abs(q(x[None, :] + 1j * y[:, None]))
        axes.contour(x, y, modulus, levels=[1.0], colors=METHODS["unrolled"][0], linewidths=1.2)
        axes.plot([], [], color=METHODS["unrolled"][0], label="level curve through 0")
    axes.legend(loc="best", fontsize="small")


def save_figure(figure, path):
    """Write a figure to a file.

    Parameters
    ----------
    figure : matplotlib Figure
    path : path-like
        Ends in .png, .svg or .pdf.

    Raises
    ------
    ValueError
        Another ending.
    OSError
        The folder is missing, read-only or full.
    """
    import io
    from pathlib import Path

    from neuinv._files import write_whole

    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{path.name} does not end in .png, .svg or .pdf; name such a file.")
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:])
    write_whole(path, content.getvalue())
