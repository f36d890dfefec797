"""What the tests in tests/ and the doctests in neuinv/ share."""

import copy

import pytest


@pytest.fixture
def own_registry(monkeypatch):
    """Let a test register families that vanish with it."""
    from neuinv.gallery import registry

    monkeypatch.setattr(registry, "_SPECS", copy.copy(registry._SPECS))


@pytest.fixture(autouse=True)
def _doctests_register_for_themselves(request):
    # An example of register_family() would otherwise be a family of every test that runs later.
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("own_registry")
