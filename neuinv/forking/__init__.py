"""Forking a notebook for one's own family: the page that is written, and what that page calls."""

from neuinv.forking.compare import (
    FamilyRow,
    SchemeRow,
    book_families,
    comparison,
    family_row,
    scheme_rows,
    worst_residual,
)
from neuinv.forking.pages import NewPage, find_project, new_page
from neuinv.forking.study import Errors, Split, errors, open_family, opposite_signs, split

__all__ = [
    "Errors",
    "FamilyRow",
    "NewPage",
    "SchemeRow",
    "Split",
    "book_families",
    "comparison",
    "errors",
    "family_row",
    "find_project",
    "new_page",
    "open_family",
    "opposite_signs",
    "scheme_rows",
    "split",
    "worst_residual",
]
