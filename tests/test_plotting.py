"""The figure style: one colour and marker per method."""

import matplotlib
import pytest

from neuinv import plotting
from neuinv.networks import network_kinds

matplotlib.use("Agg")


def test_every_network_kind_has_a_style_and_no_two_methods_share_one():
    assert set(network_kinds()) <= set(plotting.METHODS)
    assert len(set(plotting.METHODS.values())) == len(plotting.METHODS)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="has no style"):
        plotting.method_style("magic")


def test_the_wedge_is_drawn_around_one():
    plt = plotting.figure_style()
    figure, axes = plt.subplots()
    plotting.wedge(axes, [1.0, 2.0], [0.5, 2.0], "zero")
    low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    assert (low, high) == (0.0, 3.0)
    plt.close(figure)
