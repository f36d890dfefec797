"""Matrix families: distributions of matrices with declared, checked properties."""

from neuinv.gallery.base import MatrixFamily, real_form
from neuinv.gallery.facts import Bounds, Curve, DomainProjection, Facts, segment
from neuinv.gallery.parameters import Parameter
from neuinv.gallery.registry import describe, families, family, parameter_specs, register_family
from neuinv.gallery.tags import TAGS, broken_bounds, broken_tags

# Importing a module of families registers them; optional packages are read at the first draw.
from neuinv.gallery import (  # noqa: F401, I001 isort: skip
    curves, entries, finite_elements, kernels, mimo, power_flow, power_grid, spectra, structured,
)

__all__ = [
    "TAGS", "Bounds", "Curve", "DomainProjection", "Facts", "MatrixFamily", "Parameter", "broken_bounds",
    "broken_tags", "describe", "families", "family", "parameter_specs", "real_form", "register_family", "segment",
]
