"""Every family satisfies what `check_family` demands: the built-in ones and those that notebooks register."""

import random
import re

import numpy as np
import pytest
import torch

import neuinv
from neuinv.gallery import (
    Bounds,
    Curve,
    Facts,
    GivenMatrices,
    Parameter,
    check_family,
    fingerprint,
    register_family,
    segment,
)

pytest.importorskip("jupytext")
import notebook_form as form
from notebook_tools import FOLDER, text_of

SETTINGS = [(name, parameters) for name in neuinv.families() for parameters in fingerprint.SETTINGS[name]]
SOURCES = sorted(FOLDER.glob("*.md"))
REGISTERS = re.compile(r"^\s*@?(?:neuinv\.)?(?:gallery\.)?register_family\(", re.MULTILINE)


def family_cells(notebook):
    """Return the code of the cells tagged family, and a complaint for each other cell that registers one."""
    tagged, complaints = [], []
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        if "family" in cell.metadata.get("tags", []):
            tagged.append(cell.source)
        elif REGISTERS.search(cell.source):
            complaints.append(f"cell {number} registers a family and is not tagged family; tag it")
    return tagged, complaints


def registered_by(cells):
    """Execute cells, each in a namespace of its own, and return the names that they register."""
    before = set(neuinv.families())
    for cell in cells:
        # As the module of a kernel, where a cell that runs again replaces its family.
        exec(compile(cell, "<the cell tagged family>", "exec"), {"__name__": "__main__"})
    return sorted(set(neuinv.families()) - before)


@pytest.mark.parametrize(("name", "parameters"), SETTINGS, ids=str)
def test_every_built_in_family_conforms(name, parameters):
    assert check_family(neuinv.family(name, **parameters)) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_family_that_a_notebook_registers_conforms(source, own_registry):
    cells, complaints = family_cells(form.read_source(source))
    assert complaints == []
    names = registered_by(cells)
    assert bool(names) == bool(cells), "a cell tagged family registers none"
    for name in names:
        assert check_family(name) == []


CELL = """\
import torch

import neuinv


@neuinv.register_family("mine", use="u", reference="r"{more})
def draw(batch, generator, n=3):
    \"\"\"Random matrices.\"\"\"
    return torch.randn(batch, n, n, generator=generator, dtype=torch.float64)
"""


def _page(tmp_path, cell, tag):
    path = tmp_path / "page.md"
    path.write_text(text_of(f"{tag}{cell}"), encoding="utf-8")
    return form.read_source(path)


def test_a_family_of_a_page_with_a_wrong_tag_is_caught(tmp_path, own_registry):
    cell = CELL.format(more=', tags=("spd",)')
    cells, complaints = family_cells(_page(tmp_path, cell, ":tags: [family]\n\n"))
    assert complaints == [] and registered_by(cells) == ["mine"]
    (fault,) = check_family("mine")
    assert "declares the tag 'spd' (symmetric positive definite) and member 0 of 16 is not" in fault


def test_a_family_in_a_cell_without_the_tag_is_named(tmp_path):
    cells, complaints = family_cells(_page(tmp_path, CELL.format(more=""), ""))
    assert cells == [] and complaints == ["cell 3 registers a family and is not tagged family; tag it"]


# --- each rule, broken by one family ---------------------------------------------------------------


def normal(batch, generator, n=3):
    """Standard normal entries."""
    return torch.randn(batch, n, n, generator=generator, dtype=torch.float64)


def eye(batch, n=3):
    return torch.eye(n, dtype=torch.float64).expand(batch, n, n).clone()


def from_torch(batch, generator, n=3):
    """Standard normal entries."""
    return torch.randn(batch, n, n, dtype=torch.float64)


def from_numpy(batch, generator, n=3):
    """Standard normal entries."""
    return torch.from_numpy(np.random.standard_normal((batch, n, n)))


def from_python(batch, generator, n=3):
    """The identity, scaled."""
    return (1 + random.random()) * eye(batch, n)


def unseeded(batch, generator, n=3):
    """Standard normal entries."""
    return torch.from_numpy(np.random.default_rng().standard_normal((batch, n, n)))


def constant(batch, generator, n=3):
    """The identity."""
    return eye(batch, n)


def reseeding(batch, generator, n=3):
    """Standard normal entries."""
    return normal(batch, torch.Generator().manual_seed(generator.initial_seed()), n)


def single(batch, generator, n=3):
    """Standard normal entries."""
    return normal(batch, generator, n).float()


def not_finite(batch, generator, n=3):
    """Standard normal entries."""
    return normal(batch, generator, n) / 0.0


def one_short(batch, generator, n=3):
    """Standard normal entries."""
    return normal(batch, generator, n)[1:]


def failing(batch, generator, n=3):
    """Standard normal entries."""
    return normal(batch, generator, n)[batch + 1]


def learning(batch, generator, n=3):
    """Standard normal entries."""
    return normal(batch, generator, n).requires_grad_()


STORED = torch.eye(3, dtype=torch.float64).repeat(16, 1, 1)


def storing(batch, generator, n=3):
    """The identity."""
    return STORED[:batch]


def upper(batch, generator, n=3, top=1.0):
    """Standard normal entries, over the distance to 2."""
    return normal(batch, generator, n) / (2.0 - top)


def symmetric_below_two(batch, generator, n=3, top=1.0):
    """Symmetric matrices as long as top is below 2."""
    A = normal(batch, generator, n)
    return A if top == 2.0 else A + A.mT


def undescribed(batch, generator, n=3):
    return normal(batch, generator, n)


def _thin(t):
    return torch.diag_embed(torch.stack([torch.ones_like(t), torch.ones_like(t), t], dim=-1))


def _curve(jump):
    def points(t):
        return (1 + t + jump * (t > 0.3))[..., None, None] * torch.eye(3, dtype=torch.float64)

    return Facts(curve=Curve(points, (0.0, 1.0), "t"))


TOP = {"n": Parameter(3), "top": Parameter(1.0, "the top", low=0.0, high=2.0)}
# what is registered, and the one sentence it must earn
BROKEN = {
    "no docstring": (undescribed, {}, "has no description"),
    "no use": (normal, {"use": ""}, "has no use"),
    "no reference": (normal, {"reference": " "}, "has no reference"),
    "connected without a reason": (normal, {"facts": Facts(connected=True)}, "give a reason in a sentence"),
    "a tail that grows": (normal, {"facts": Facts(tail_index=-1.0)}, "declares the tail index -1.0"),
    "torch's generator": (from_torch, {}, "advances the global generator of torch"),
    "NumPy's generator": (from_numpy, {}, "advances the global generator of NumPy"),
    "Python's generator": (from_python, {}, "advances the global generator of Python"),
    "no seed": (unseeded, {}, "gives other matrices for the same seed 0"),
    "one draw for all seeds": (constant, {}, "gives the same matrices for the seeds 0 and 1"),
    "a generator seeded again": (reseeding, {}, "draws the same matrices twice from one generator"),
    "float32": (single, {}, "return float64 on the CPU"),
    "not finite": (not_finite, {}, "remove matrices with NaN or inf"),
    "one short": (one_short, {}, "return (16, 3, 3)"),
    "an error": (failing, {}, "fails at sample(16, seed=0) with IndexError"),
    "gradients": (learning, {}, "requires_grad=True"),
    "kept memory": (storing, {"tags": ("single-matrix",)}, "returns memory that it keeps"),
    "a tag": (normal, {"tags": ("symmetric",)}, "declares the tag 'symmetric'"),
    "a tag of the set": (normal, {"tags": ("single-matrix",)}, "and 16 members refute it"),
    "a bound": (normal, {"facts": Facts(bounds=Bounds(norm=0.5))}, "declares norm <= 0.5 and a sample"),
    "an end": (upper, {"parameters": TOP}, "allows top = 2.0 and fails there with ValueError"),
    "a tag at an end": (
        symmetric_below_two,
        {"parameters": TOP, "tags": ("symmetric",)},
        "loses its tag 'symmetric' at top = 2.0",
    ),
    "a projection that moves members": (
        normal,
        {"facts": Facts(project=lambda A: A.clamp(-0.1, 0.1))},
        "has a projection that moves members by",
    ),
    "a projection that never arrives": (
        constant,
        {"tags": ("single-matrix",), "facts": Facts(project=lambda A: (A + eye(len(A))) / 2)},
        "is not idempotent",
    ),
    "a projection that loses a tag": (
        constant,
        {"tags": ("single-matrix", "symmetric"), "facts": Facts(project=lambda A: A)},
        "onto matrices without its tag 'symmetric'",
    ),
    "a curve that jumps": (normal, {"facts": _curve(1.0)}, "has a curve that jumps at t = 0.3"),
    "a path that jumps": (
        normal,
        {"facts": Facts(path=lambda A, B, s: torch.where(s < 0.5, A, B))},
        "has a path that jumps at s = 0.5",
    ),
    "a path that misses": (
        normal,
        {"facts": Facts(path=lambda A, B, s: segment(A, 2 * B, s))},
        "has a path that misses its ends",
    ),
    "no way to a singular matrix": (
        normal,
        {"facts": Facts(towards_singular=lambda t: _thin(t.sqrt()))},
        "members of condition number 100 at t = 0.0001, below 1/t",
    ),
    "a way to infinity": (
        normal,
        {"facts": Facts(towards_singular=lambda t: _thin(t) / t[..., None, None])},
        "norm grows from 1 to 1e+04 as t falls to 0.0001",
    ),
    "a way outside": (
        constant,
        {
            "tags": ("single-matrix", "symmetric"),
            "facts": Facts(towards_singular=lambda t: _thin(t) @ torch.ones(3, 3).double().tril()),
        },
        "has towards_singular matrices without its tag 'symmetric'",
    ),
    "no inverse": (
        normal,
        {"with_inverse": lambda batch, generator, n: (A := normal(batch, generator, n), A.mT)},
        "returns no inverse of what the function draws",
    ),
}


def _register(function, keywords):
    keywords = {"use": "a use", "reference": "somebody, 2000, a title", **keywords}
    if isinstance(keywords.get("facts"), Facts):
        facts = keywords["facts"]
        keywords["facts"] = lambda **_: facts
    register_family("broken", **keywords)(function)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_earns_its_own_sentence_and_no_other(what, own_registry):
    function, keywords, words = BROKEN[what]
    _register(function, keywords)
    found = check_family("broken")
    STORED.copy_(eye(16))
    (fault,) = found
    assert words in fault and fault.startswith("family 'broken' ") and fault.endswith(".")


@pytest.mark.parametrize(
    "facts",
    [
        _curve(0.0),
        # a slope without bound is no jump
        Facts(curve=Curve(lambda t: t.sqrt()[..., None, None] * torch.eye(3).double(), (0.0, 1.0), "t")),
        Facts(path=segment),
        Facts(bounds=Bounds(norm=1e3), connected=True, connected_reason="all matrices are members"),
    ],
)
def test_a_sound_declaration_earns_no_sentence(facts, own_registry):
    _register(normal, {"facts": facts})
    assert check_family("broken") == []


def test_a_refusal_in_words_at_an_end_is_in_order(own_registry):
    def choosy(batch, generator, n=3, top=1.0):
        """Standard normal entries."""
        if top == 2.0:
            raise ValueError("top is 2.0; use less.")
        return normal(batch, generator, n)

    _register(choosy, {"parameters": TOP})
    assert check_family("broken") == []


def test_the_global_generators_are_given_back_as_they_were(own_registry):
    _register(from_numpy, {})
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert check_family("broken") != []
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()


def test_matrices_of_a_file_need_no_texts_and_one_is_enough():
    assert check_family(GivenMatrices(eye(1))) == []
    assert check_family(GivenMatrices(torch.randn(5, 3, 3))) == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((torch.eye(2),), TypeError, "family is a Tensor; pass a name"),
        (("gausian",), ValueError, "did you mean gaussian"),
        (("gaussian", 1), ValueError, "samples is 1; pass an integer >= 2"),
    ],
)
def test_what_is_no_family_is_refused(arguments, error, words):
    family, *samples = arguments
    with pytest.raises(error, match=re.escape(words)):
        check_family(family, **({"samples": samples[0]} if samples else {}))
