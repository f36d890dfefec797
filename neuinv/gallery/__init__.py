"""Matrix families: distributions of matrices with declared, checked properties."""

from neuinv.gallery import (  # noqa: F401 -- importing registers them, once the registry is there
    convection,
    curves,
    darcy,
    entries,
    finite_elements,
    graphs,
    kernels,
    kfac,
    lattice,
    markov,
    mimo,
    power_flow,
    power_grid,
    spectra,
    structured,
)
from neuinv.gallery.base import MatrixFamily
from neuinv.gallery.conformance import check_family
from neuinv.gallery.facts import Bounds, Curve, DomainProjection, Facts, segment
from neuinv.gallery.forms import real_form
from neuinv.gallery.given import GivenMatrices
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import (
    describe,
    families,
    family,
    parameter_specs,
    parameters_from_text,
    register_family,
)
from neuinv.gallery.tags import TAGS, broken_bounds, broken_tags

__all__ = [
    "TAGS",
    "Bounds",
    "Curve",
    "DomainProjection",
    "Facts",
    "GivenMatrices",
    "MatrixFamily",
    "Parameter",
    "broken_bounds",
    "broken_tags",
    "check_family",
    "describe",
    "families",
    "family",
    "parameter_specs",
    "parameters_from_text",
    "real_form",
    "register_family",
    "segment",
]
