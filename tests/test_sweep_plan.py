"""A sweep file is checked against its notebook, counted, and listed, before anything starts."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_tools import BODY, DOOR, PARAMETERS, ROOT, notebook, write_sweep

from neuinv import cli
from neuinv.records import run_key
from neuinv.sweep import plan as planning
from neuinv.sweep import read_plan, read_schema
from neuinv.sweep.plan import _value
from neuinv.sweep.schema import _declared_ranges


def planned(tmp_path, profile="smoke", **options):
    return read_plan(write_sweep(tmp_path, **options), profile)


def run_cli(*arguments):
    return cli.main(["sweep", *map(str, arguments)])


# --- what is planned -------------------------------------------------------------------------------


def test_grid_list_and_sample_are_combined_each_with_each(tmp_path):
    sample = {"count": 3, "seed": 7, "parameters": {"rate": {"low": 0.1, "high": 10, "log": True}}}
    rows = [{"kind": "plain"}, {"kind": "raise", "nap": 1}]
    plan = planned(tmp_path, grid={"n": [1, 2], "seed": {"low": 3, "high": 4}}, list=rows, random=sample)
    assert len(plan.runs) == 2 * 2 * 2 * 3
    assert [run.given["kind"] for run in plan.runs[::12]] == ["plain", "raise"]
    assert all(type(run.given.get("nap", 1.0)) is float for run in plan.runs), "1 is a float where one is due"
    assert all(0.1 <= run.given["rate"] <= 10 for run in plan.runs)


def test_seed_and_device_are_injected_and_the_key_holds_every_parameter(tmp_path):
    (run,) = planned(tmp_path, parameters={"n": 4}).runs
    assert run.given == {"n": 4, "seed": 0, "device": "cpu"}
    assert run.parameters == {"n": 4, "rate": 0.5, "kind": "plain", "nap": 0.0, "seed": 0, "device": "cpu"}
    (same,) = planned(tmp_path, parameters={"n": 4, "rate": 0.5}).runs
    assert same.key == run.key, "a default that is written out is the same run"


def test_profile_says_which_device(tmp_path):
    spec = write_sweep(tmp_path)
    spec.write_text(
        "notebook: tiny.ipynb\nprofiles: {smoke: {}, gpu: {}, cpu: {parameters: {device: auto}}}\n"
    )
    devices = {name: read_plan(spec, name).runs[0].given["device"] for name in ("smoke", "cpu", "gpu")}
    assert devices == {"smoke": "cpu", "cpu": "auto", "gpu": "cuda"}


def test_key_changes_with_code_parameters_and_package_and_with_nothing_else(tmp_path, monkeypatch):
    (run,) = planned(tmp_path).runs
    text = (tmp_path / "tiny.ipynb").read_text()
    (tmp_path / "tiny.ipynb").write_text(text.replace('"outputs": []', '"outputs": [{"output_type": "x"}]'))
    spec = tmp_path / "tiny.yaml"
    assert read_plan(spec, "smoke", folder=tmp_path / "other").runs == [run]
    (tmp_path / "tiny.ipynb").write_text(text.replace("is odd", "is not even"))
    assert read_plan(spec, "smoke").runs[0].key != run.key
    (tmp_path / "tiny.ipynb").write_text(text)
    monkeypatch.setattr(planning, "package_hash", lambda: "0" * 16)
    assert read_plan(spec, "smoke").runs[0].key != run.key


def with_cells(path, change):
    """Rewrite a notebook with its list of cells changed."""
    content = json.loads(path.read_text())
    change(content["cells"])
    path.write_text(json.dumps(content))


def test_prose_changes_the_text_of_a_plan_and_no_key(tmp_path):
    plan = planned(tmp_path)
    prose = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "A sentense."}
    plans = []
    for change in (
        lambda cells: cells.insert(1, prose),
        lambda cells: cells[1].update(source="A sentence."),
        lambda cells: cells[2]["metadata"].update(tags=["hide-input"]),
    ):
        with_cells(tmp_path / "tiny.ipynb", change)
        plans.append(read_plan(tmp_path / "tiny.yaml", "smoke"))
    assert all(other.runs == plan.runs and other.code == plan.code for other in plans)
    assert len({plan.notebook, plans[0].notebook, plans[1].notebook}) == 3
    assert len({other.source for other in (plan, *plans[:2])}) == 3, "each text has its own copy"
    # a control: the same sentence as a line of code
    with_cells(tmp_path / "tiny.ipynb", lambda cells: cells[2].update(source=f"# A\n{cells[2]['source']}"))
    assert read_plan(tmp_path / "tiny.yaml", "smoke").runs[0].key != plan.runs[0].key


@pytest.mark.parametrize("tag", ["parameters", "skip-execution", "raises-exception"])
def test_a_tag_that_changes_a_run_changes_its_key_and_its_copy(tag, tmp_path):
    plan = planned(tmp_path, sources=(PARAMETERS, DOOR, BODY))
    plan.write_source()

    def move(cells):
        cells[1]["metadata"]["tags"] = [tag]
        cells[0]["metadata"]["tags"] = [] if tag == "parameters" else ["parameters"]

    with_cells(tmp_path / "tiny.ipynb", move)
    other = read_plan(tmp_path / "tiny.yaml", "smoke")
    assert other.notebook == plan.notebook and other.runs[0].key != plan.runs[0].key
    other.write_source()
    tags = [
        [cell["metadata"]["tags"] for cell in json.loads(p.source.read_text())["cells"][:2]]
        for p in (plan, other)
    ]
    assert tags[0] == [["parameters"], []] != tags[1]


def test_shards_part_the_runs(tmp_path):
    plan = planned(tmp_path, grid={"n": list(range(1, 12))})
    parts = [plan.shard(i, 3).runs for i in (1, 2, 3)]
    keys = [run.key for part in parts for run in part]
    assert sorted(keys) == sorted(run.key for run in plan.runs) and len(set(keys)) == 11
    with pytest.raises(ValueError, match=r"the shard is 4/3; use i/k with 1 <= i <= k"):
        plan.shard(4, 3)


def test_two_ways_to_write_one_run_are_one_run(tmp_path):
    assert len(planned(tmp_path, list=[{"n": 2}, {"n": 2, "rate": 0.5}, {"n": 3}]).runs) == 2


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 50), st.integers(0, 50))
def test_drawn_values_stay_between_their_ends(uniform, low, more):
    whole = {"low": low, "high": low + more}
    for options in (whole, whole | {"log": True}):
        value = _value(uniform, options)
        assert type(value) is int and low <= value <= low + more
    value = _value(uniform, {"low": float(low), "high": low + more})
    assert type(value) is float and low <= value <= low + more


def test_ends_of_an_integer_interval_are_drawn_and_a_longer_sample_begins_with_the_shorter():
    assert [_value(u, {"low": 2, "high": 4}) for u in (0, 0.34, 0.67, 1 - 2**-53)] == [2, 3, 4, 4]
    sample = {"seed": 5, "parameters": {"n": {"low": 1, "high": 99}, "kind": ["plain", "raise"]}}

    class Anything:
        def check(self, name, value):
            return value

    draws = [planning._draw(sample, number, Anything()) for number in range(200)]
    del sample["parameters"]["kind"]
    assert [planning._draw(sample, i, Anything())["n"] for i in range(9)] == [d["n"] for d in draws[:9]]
    assert {draw["kind"] for draw in draws} == {"plain", "raise"}


# --- what is refused -------------------------------------------------------------------------------

BAD = {
    "unknown parameter": ({"grid": {"nn": [1]}}, "nn is not a parameter of this notebook.*did you mean n?"),
    "wrong type": ({"grid": {"n": [1, "two"]}}, "n = 'two' is of type str; pass one of type int"),
    "a bool is no int": ({"grid": {"n": [True]}}, "n = True is of type bool"),
    "float as YAML text": ({"parameters": {"rate": "1e-3"}}, "YAML reads 1e-3 as text: write 0.001"),
    "out of range": ({"grid": {"n": [1, 100]}}, r"n = 100 is out of range; pass a value in 1 \.\.\. 99"),
    "out of the values": (
        {"list": [{"kind": "plane"}]},
        "kind = 'plane' is not available; did you mean plain?",
    ),
    "range with high far out": ({"grid": {"n": {"low": 1, "high": 200}}}, "n = 100 is out of range"),
    "drawn out of range": (
        {"random": {"count": 2, "seed": 0, "parameters": {"n": {"low": 200, "high": 300}}}},
        "is out of range",
    ),
    "a billion runs": (
        {"grid": {"n": {"low": 1, "high": 10**3}, "seed": {"low": 1, "high": 10**6}}},
        "it has 1,000,000,000 runs and at most 100,000",
    ),
    "more runs than an index": (
        {"grid": {"seed": {"low": 0, "high": 10**30}}},
        "at most 100,000 can be planned",
    ),
    "set twice": ({"grid": {"n": [1]}, "parameters": {"n": 2}}, "n is set by 'parameters:' and by 'grid:'"),
    "empty axis": ({"grid": {"n": []}}, r"grid n is \[\]; write a list"),
    "a lone value": ({"grid": {"n": 3}}, r"grid n is 3; write a list such as \[1, 2\]"),
    "reversed interval": ({"grid": {"n": {"low": 3, "high": 1}}}, "goes from 3 to 1"),
    "infinite interval": (
        {"random": {"count": 1, "seed": 0, "parameters": {"rate": {"low": 0, "high": math.inf}}}},
        "goes from 0 to inf; use numbers",
    ),
    "an interval beyond the floats": (
        {"random": {"count": 1, "seed": 0, "parameters": {"seed": {"low": 1, "high": 10**400}}}},
        r"random seed goes from 1 to 1000+\.\.\.; use numbers",
    ),
    "an empty sample": ({"random": {}}, "random needs 'count:' >= 1"),
    "a float too large": ({"grid": {"rate": ["1e400"]}}, "as text: it is too large for a float"),
    "log from zero": (
        {"random": {"count": 1, "seed": 0, "parameters": {"rate": {"low": 0, "high": 1, "log": True}}}},
        "use true and a low above 0",
    ),
    "a sample without seed": (
        {"random": {"count": 1, "parameters": {"n": [1]}}},
        "'seed:' and 'parameters:'",
    ),
    "a row that is no mapping": ({"list": [3]}, "list holds no mapping"),
    "unknown key": ({"gird": {"n": [1]}}, "unknown key 'gird'; did you mean grid?"),
    "negative retries": ({"retries": -1}, "retries is -1; use 0"),
    "timeout without end": ({"timeout": math.inf}, "timeout is inf; use a number of seconds"),
    "timeout of no time": ({"timeout": 0}, "timeout is 0; use a number of seconds above 0"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_sweep_is_refused_in_one_sentence_before_any_run_and_any_file(what, tmp_path, capsys):
    options, words = BAD[what]
    spec = write_sweep(tmp_path, **options)
    for verb in ("run", "status", "collect"):
        assert run_cli(verb, spec, "--profile", "smoke") == 2
        said = capsys.readouterr()
        assert len(said.err.splitlines()) == 1 and said.out == ""
        with pytest.raises(AssertionError, match=words):
            raise AssertionError(said.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.ipynb", "tiny.yaml"]


FILES = {
    "not YAML": ("notebook: [", "cannot be read in line 1"),
    "a tab": ("notebook: tiny.ipynb\n\tprofiles: {}", "cannot be read in line 2"),
    "a key twice": ("notebook: tiny.ipynb\nnotebook: x\nprofiles: {}", "the key 'notebook' is given twice"),
    "a key twice far in": (
        "notebook: tiny.ipynb\nprofiles:\n  smoke:\n    grid:\n      n: [1]\n      n: [2]",
        "line 6: the key 'n' is given twice",
    ),
    "an object": ("notebook: !!python/object/apply:os.getcwd []\nprofiles: {}", "cannot be read in line 1"),
    "an alias": ("notebook: &a tiny.ipynb\nstudy: *a\nprofiles: {}", r"uses a YAML alias"),
    "a list": ("- 1", "is not a mapping"),
    "nothing": ("", "is not a mapping"),
    "a number as key": ("notebook: tiny.ipynb\nprofiles: {smoke: {grid: {1: [2]}}}", "the key 1 is not text"),
    "too deep": ("notebook: " + "[" * 5000, "nested too deeply"),
    "too long": ("# " + "x" * 1_000_001, "has 1000003 bytes; a sweep file may have 1000000"),
    "not text": (b"\xff\xfe\x00", "not UTF-8|cannot be read"),
    "no notebook": ("profiles: {smoke: {}}", "lacks the key 'notebook:'"),
    "notebook elsewhere": ("notebook: none.ipynb\nprofiles: {smoke: {}}", "no notebook 'none.ipynb' there"),
    "profile elsewhere": (
        "notebook: tiny.ipynb\nprofiles: {cpu: {}}",
        "no profile 'smoke'; its profiles are: cpu",
    ),
    "a number of many digits": (
        "notebook: tiny.ipynb\nprofiles: {smoke: {grid: {n: [" + "1" * 5000 + "]}}}",
        r"cannot be read in line 2: '1+\.\.\. is no value",
    ),
    "a day that there is not": (
        "notebook: tiny.ipynb\nprofiles: {smoke: {grid: {n: [2020-13-45]}}}",
        "line 2: '2020-13-45' is no value",
    ),
    "a character of no file": (
        'notebook: "a\\0.ipynb"\nprofiles: {smoke: {}}',
        "has a character that no file name",
    ),
    "half a character": (
        'notebook: tiny.ipynb\nprofiles: {smoke: {grid: {kind: ["\\ud800"]}}}',
        "has a character that no file name",
    ),
    "study of two lines": (
        'notebook: tiny.ipynb\nstudy: "a\\nb"\nprofiles: {smoke: {}}',
        r"study is 'a\\nb'",
    ),
    "profile of another name": ("notebook: tiny.ipynb\nprofiles: {tpu: {}}", "use smoke, cpu and gpu"),
    "study that leaves the folder": (
        "notebook: tiny.ipynb\nstudy: ../x\nprofiles: {smoke: {}}",
        "study is '../x'",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_bad_file_is_refused_in_one_sentence(what, tmp_path, capsys):
    content, words = FILES[what]
    spec = write_sweep(tmp_path)
    spec.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run_cli("run", spec, "--profile", "smoke") == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1 and said.out == ""
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(said.err)


NOTEBOOKS = {
    "no parameters cell": (notebook(BODY).replace('["parameters"]', "[]"), "0 code cells tagged parameters"),
    "two of them": (notebook(BODY).replace('"tags": []', '"tags": ["parameters"]'), "2 code cells tagged"),
    "not annotated": (notebook(BODY, parameters="n = 3\n"), "'n = 3' in its parameters cell is no annotated"),
    "empty": (notebook(BODY, parameters="\n"), "has an empty parameters cell"),
    "computed": (notebook(BODY, parameters="n: int = 2 * 3\n"), "parameter n has no literal"),
    "odd annotation": (notebook(BODY, parameters="n: Integer = 3\n"), "an annotation .* cannot be read"),
    "not JSON": ("{", "is not a notebook of format 4; pass an .ipynb file"),
    "other JSON": ('{"cells": [3]}', "is not a notebook"),
    "no format": (notebook(BODY).replace('"nbformat": 4, ', ""), "is not a notebook of format 4"),
    "no metadata": (
        notebook(BODY).replace('{"tags": ["parameters"]}', "null"),
        "0 code cells tagged parameters",
    ),
    "no tags": (notebook(BODY).replace('["parameters"]', "null"), "0 code cells tagged parameters"),
    "source of numbers": (notebook(BODY).replace(json.dumps(BODY), "[1]"), "is not a notebook of format 4"),
    "another language": (notebook(BODY).replace('"python"', '"R"'), "is written in R"),
    "no Python": (notebook(BODY, parameters="n: int = 1\nm: int = (\n"), "cannot be read in line 2: .*never"),
    "too deep": (
        notebook(BODY, parameters="n: int = " + "-" * 100_000 + "1\n"),
        "its parameters cell cannot",
    ),
    "default of another type": (
        notebook(BODY, parameters="n: int = 'x'\n"),
        "a default .* does not fit: n = 'x' is of type str",
    ),
}


@pytest.mark.parametrize("what", NOTEBOOKS)
def test_notebook_that_cannot_be_swept_is_refused_in_one_sentence(what, tmp_path, capsys):
    content, words = NOTEBOOKS[what]
    spec = write_sweep(tmp_path)
    (tmp_path / "tiny.ipynb").write_text(content)
    assert run_cli("run", spec, "--profile", "smoke") == 2
    said = capsys.readouterr().err
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(said)
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "annotation",
    [
        "print('evaluated')",
        "[print('evaluated')][0]",
        "'print(\"evaluated\")'",
        "list['print(1)']",
        "typing.sys.x",
    ],
)
def test_annotation_that_does_more_than_name_types_is_not_evaluated(annotation, tmp_path, capsys):
    spec = write_sweep(tmp_path, cell=f"n: {annotation} = 3\n")
    assert run_cli("status", spec, "--profile", "smoke") == 2
    said = capsys.readouterr()
    assert "an annotation in its parameters cell cannot be read" in said.err and said.out == ""


def test_annotations_of_all_kinds_are_read(tmp_path):
    cell = 'a: int | None = None\nb: typing.Literal["x", -1] = "x"\nc: list[float] = []\n'
    write_sweep(
        tmp_path, cell=cell + "d: Optional[str] = None\ne: dict[str, int] = {}\nf: tuple[int, ...] = (1, 2)\n"
    )
    assert list(read_schema(tmp_path / "tiny.ipynb").hints) == list("abcdef")


def test_default_that_is_written_out_is_the_same_run_even_as_a_whole_number(tmp_path):
    (plan, same) = (
        planned(tmp_path, cell=PARAMETERS.replace("0.5", "1"), **options)
        for options in ({}, {"parameters": {"rate": 1}})
    )
    assert plan.runs[0].key == same.runs[0].key


def test_device_of_the_profile_is_checked_against_the_notebook(tmp_path, capsys):
    spec = write_sweep(tmp_path, cell=PARAMETERS.replace('str = "auto"', "Literal['auto', 'mps'] = 'auto'"))
    assert run_cli("status", spec, "--profile", "smoke") == 2
    assert "device = 'cpu' is of type str; pass one of type" in capsys.readouterr().err


def test_schema_is_read_without_running_anything(tmp_path):
    write_sweep(tmp_path, sources=("raise SystemExit\n", "%matplotlib inline\n", DOOR, BODY))
    schema = read_schema(tmp_path / "tiny.ipynb")
    assert list(schema.hints) == ["n", "rate", "kind", "nap", "seed", "device"]
    assert schema.ranges == {"n": (1, 99), "rate": (0, None), "kind": ["plain", "raise"]}
    assert schema.check("rate", 2) == 2.0


def test_range_that_is_computed_is_left_to_the_notebook():
    source = "p = notebook_parameters(globals(), n=(1, limit), m=[1], check_device=True, k=(1, 2, 3))\n"
    assert _declared_ranges(source) == {"m": [1]}
    assert _declared_ranges("x = 1\n") is None


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_sweep_file_of_the_book_fits_its_notebook_and_has_a_smoke_profile(path):
    plans = {profile: read_plan(path, profile) for profile in ("smoke", "cpu", "gpu")}
    assert len(plans["smoke"].runs) <= 4
    for plan in plans.values():
        for run in plan.runs:
            assert run.key == run_key(**json.loads(json.dumps(plan.task(run)))["identity"])
            assert plan.task(run)["folder"] == str(ROOT / "runs" / path.stem)


def test_parameters_of_the_helper_are_those_of_its_notebook(tmp_path):
    write_sweep(tmp_path)
    assert all(f"{name}: " in PARAMETERS for name in read_schema(tmp_path / "tiny.ipynb").hints)
