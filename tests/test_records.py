"""Records are strict, lossless, whole or absent, and a notebook refuses parameters it does not have."""

import errno
import json
import math
import os
import time
from enum import Enum

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from notebook_tools import DOOR, run, write

import neuinv
from neuinv import records
from neuinv.records import files, provenance
from neuinv.records.values import from_json, to_json, without_paths

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key[:1] != "$"), inner),
    max_leaves=8,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUINV_RUN_DIR", str(tmp_path))
    monkeypatch.delenv("NEUINV_NOTEBOOK", raising=False)
    return tmp_path


# --- values ----------------------------------------------------------------------------------------


@given(JSON_VALUES)
def test_values_come_back_through_strict_json_with_their_types(value):
    text = json.dumps(to_json(value), allow_nan=False)
    back = from_json(json.loads(text))
    assert back == value and repr(back) == repr(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.0, 5e-324, 0.1])
def test_every_float_survives_a_record(folder, value):
    neuinv.record(value=value)
    (found,) = records.load_records(folder)
    assert repr(found["values"]["value"]) == repr(value)


CYCLE = {"inner": [1]}
CYCLE["inner"].append(CYCLE)


def test_a_deep_value_is_recorded(folder):
    value = 1.0
    for _ in range(40):
        value = [value]
    neuinv.record(value=value)
    assert records.load_records(folder)[0]["values"]["value"] == value


def test_a_reserved_name_is_refused(folder):
    """Read back, {"$float": "1"} would be the number 1 and not the dict of values."""
    with pytest.raises(ValueError, match=r"keys that start with \$ are reserved"):
        neuinv.record(**{"$float": "1"})


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.tensor(2.5), 2.5),
        (torch.tensor([3]), 3),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        ((1, 2), [1, 2]),
        (torch.Size([2, 3]), [2, 3]),
        (Colour.RED, "red"),
        (torch.tensor(math.inf), {"$float": "inf"}),
    ],
)
def test_scalars_of_other_libraries_are_unpacked(value, expected):
    found = to_json(value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (torch.eye(2), TypeError, r"x is an array of shape \(2, 2\); record its median"),
        (np.ones(3), TypeError, r"x is an array of shape \(3,\)"),
        (torch.empty(0), TypeError, r"x is an array of shape \(0,\)"),
        (1j, TypeError, "x is a complex; record numbers"),
        (object(), TypeError, "x is a object"),
        (np.longdouble(1), TypeError, r"x is a longdouble, wider than JSON's numbers; record float\(...\)"),
        (CYCLE, ValueError, "x is nested more than 50 deep or contains itself"),
        ({"/a/b/c": 1, "/z/b/c": 2}, ValueError, "two keys become '<local>/c' without their folders"),
        ({1: 2}, TypeError, "x has the key 1; use strings"),
        ({"$float": "inf"}, ValueError, r"keys that start with \$ are reserved"),
        ([{"a": {2}}], TypeError, r"x\[0\]\['a'\] is a set"),
    ],
)
def test_value_that_json_cannot_hold_is_refused_with_its_name(folder, value, error, message):
    with pytest.raises(error, match=message):
        neuinv.record(x=value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/my.npz", "<local>/my.npz"),
        ("cannot open '/home/ann/a/b.npz': no", "cannot open '<local>/b.npz': no"),
        ("~/data/a.npz", "<local>/a.npz"),
        (r"C:\data\a.npz", "<local>/a.npz"),
        ("data/a.npz", "data/a.npz"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        (r"\alpha\beta", r"\alpha\beta"),
        ("1/2 and n/a", "1/2 and n/a"),
    ],
)
def test_paths_of_the_machine_are_shortened_and_other_text_is_kept(text, expected):
    assert without_paths(text) == expected


# --- records ---------------------------------------------------------------------------------------


def test_record_does_nothing_without_a_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("NEUINV_RUN_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert neuinv.record(x=1) is None
    assert list(tmp_path.iterdir()) == []


def test_record_says_where_a_number_comes_from(folder):
    parameters = {"seed": 5, "device": "cpu", "source": "/home/ann/a.npz"}
    path = records.write_record(folder, {"x": 1}, parameters=parameters, notebook="why-cannot")
    origin = json.loads(path.read_text())["provenance"]
    assert origin["seed"] == 5 and origin["parameters"]["source"] == "<local>/a.npz"
    assert origin["notebook"]["slug"] == "why-cannot"
    assert origin["device"]["type"] == "cpu" and origin["threads"] == torch.get_num_threads()
    assert origin["package"]["version"] == neuinv.__version__ and len(origin["package"]["hash"]) == 16
    assert (
        origin["libraries"]["torch"] == torch.__version__.split("+")[0] or "+" in origin["libraries"]["torch"]
    )
    assert origin["start"].endswith("Z") and origin["wall_seconds"] >= 0
    text = path.read_text()
    assert os.path.expanduser("~") + "/" not in text and str(folder) not in text


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["values"].update(x=2),
        lambda content: content["provenance"].update(seed=9),
        lambda content: content.update(sha256="0" * 64),
    ],
)
def test_edited_record_is_refused_by_name(folder, edit):
    path = neuinv.record(x=1)
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{path.name} was edited: its digest differs"):
        records.load_records(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"values": NaN}'])
def test_damaged_record_is_refused_by_name(folder, text):
    path = neuinv.record(x=1)
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path.name} is not a record"):
        records.load_records(folder)


def test_missing_folder_is_told_from_an_empty_one(tmp_path):
    assert records.load_records(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        records.load_records(tmp_path / "none")


def test_records_of_unfinished_runs_are_not_read(folder):
    for name in ("a.partial", "a.failed"):
        (folder / name).mkdir()
        records.write_record(folder / name, {"x": 1})
    assert records.load_records(folder) == []


def test_full_disk_gives_one_sentence_and_leaves_nothing(folder, monkeypatch):
    def full(handle, content):
        # Half of it goes to the disk first: the file to be cleaned up is not empty.
        if not full.called:
            full.called = True
            return write_(handle, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    full.called, write_ = False, os.write
    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(
        OSError, match="no record was written: No space left on device; set NEUINV_RUN_DIR"
    ) as caught:
        neuinv.record(x=1)
    assert caught.value.errno == errno.ENOSPC
    assert list(folder.iterdir()) == []


def test_unusable_folder_gives_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEUINV_RUN_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(OSError, match="no record was written: Not a directory"):
        neuinv.record(x=1)


def test_package_hash_changes_with_the_package(monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    hash_now = provenance.package_hash.__wrapped__
    first = hash_now()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("noise")
    assert hash_now() == first
    (tmp_path / "a.py").write_text("x = 2\n")
    assert hash_now() != first


def test_notebook_hash_ignores_outputs_and_sees_sources(tmp_path):
    cell = {"cell_type": "code", "source": ["x = 1\n", "y"], "outputs": []}
    path = tmp_path / "a.ipynb"
    hashes = []
    for change in ({}, {"outputs": [1]}, {"source": "x = 1\ny"}, {"source": "x = 2\ny"}):
        path.write_text(json.dumps({"cells": [{**cell, **change}]}))
        hashes.append(records.notebook_hash(path))
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"a\.ipynb is not a notebook"):
        records.notebook_hash(path)


def test_code_hash_sees_code_its_order_and_its_tags_and_no_prose(tmp_path):
    path = tmp_path / "a.ipynb"

    def hash_of(*cells):
        path.write_text(json.dumps({"cells": cells}))
        return records.code_hash(path)

    x, y = ({"cell_type": "code", "source": f"{name} = 1", "outputs": []} for name in "xy")
    prose = {"cell_type": "markdown", "source": "x = 1"}
    first = hash_of(x, y)
    same = [(prose, x, y), (x, {**prose, "source": "z"}, y), ({**x, "source": ["x =", " 1"]}, y)]
    hidden = {**x, "metadata": {"tags": ["hide-input"]}, "outputs": [1]}
    same += [(hidden, y), ({**x, "metadata": None}, y)]
    assert {hash_of(*cells) for cells in same} == {first}
    other = [(y, x), (x,), (x, {**y, "source": "y = 2"}), (x, y, y)]
    other += [
        ({**x, "metadata": {"tags": ["parameters"]}}, y),
        (x, {**y, "metadata": {"tags": ["parameters"]}}),
    ]
    assert len({first, *(hash_of(*cells) for cells in other)}) == 1 + len(other)
    with pytest.raises(ValueError, match=r"a\.ipynb is not a notebook"):
        hash_of(3)


# --- the parameters of a notebook ------------------------------------------------------------------


def namespace(**changes):
    hints = {"n": int, "m": int | None, "rate": float, "family": str, "sizes": list[int], "device": str}
    values = {"n": 4, "m": None, "rate": 0.5, "family": "spd", "sizes": [1, 2], "device": "cpu"}
    return {"__annotations__": hints, **values, "np": np, "_private": 1, "In": [], **changes}


def test_known_parameters_are_returned_typed_and_remembered(folder):
    found = records.notebook_parameters(
        namespace(rate=1), "why-cannot", n=(1, 8), rate=(0, None), family=["spd"]
    )
    assert list(found) == ["n", "m", "rate", "family", "sizes", "device"]
    assert type(found["rate"]) is float
    neuinv.record(x=1)
    (record,) = records.load_records(folder)
    assert record["provenance"]["parameters"] == found
    assert record["provenance"]["notebook"]["slug"] == "why-cannot"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"nn": 3},
            ValueError,
            r"nn is not a parameter.*n, m, rate, family, sizes, device; did you mean n\?",
        ),
        ({"zzz": 3}, ValueError, "zzz is not a parameter of this notebook.*; leave it out"),
        ({"n": True}, TypeError, "n = True is of type bool; pass one of type int"),
        ({"n": 4.0}, TypeError, r"n = 4\.0 is of type float; pass one of type int\."),
        ({"n": None}, TypeError, "n = None is of type NoneType"),
        ({"m": "8"}, TypeError, r"m = '8' is of type str; pass one of type int \| None"),
        ({"rate": "1"}, TypeError, "rate = '1' is of type str; pass one of type float"),
        (
            {"sizes": [1, 2.5]},
            TypeError,
            r"sizes = \[1, 2\.5\] is of type list; pass one of type list\[int\]",
        ),
        ({"n": 9}, ValueError, r"n = 9 is out of range; pass a value in 1 \.\.\. 8"),
        ({"rate": math.nan}, ValueError, r"rate = nan is out of range; pass a value in 0 \.\.\. inf"),
        ({"family": "spdd"}, ValueError, r"family = 'spdd' is not available; did you mean spd\?"),
        ({"family": "q"}, ValueError, r"family = 'q' is not available; pass one of gaussian, spd\."),
        ({"device": "cuda:63"}, ValueError, "device 'cuda:63' is not available here"),
        ({"__annotations__": {}}, ValueError, "no parameter is annotated here"),
    ],
)
def test_wrong_parameter_is_refused_in_one_sentence(changes, error, message):
    ranges = {"n": (1, 8), "rate": (0, None), "family": ["spd", "gaussian"]}
    with pytest.raises(error, match=message) as caught:
        records.notebook_parameters(namespace(**changes), check_device=True, **ranges)
    assert "\n" not in str(caught.value)


def test_annotation_that_cannot_be_checked_is_refused():
    with pytest.raises(TypeError, match=r"the annotation set\[int\] is not supported; use int"):
        records.notebook_parameters({"__annotations__": {"n": "set[int]"}, "n": 4})


def test_range_of_no_parameter_is_a_mistake_of_the_author():
    with pytest.raises(TypeError, match="a range is given for k, which is not one of n, m"):
        records.notebook_parameters(namespace(), k=(1, 2))


def test_cell_may_run_twice_beside_the_users_own_variables():
    names = namespace()
    records.notebook_parameters(names)
    names["result"] = 3.5
    records.notebook_parameters(names)
    names["device"] = torch.device("cpu")
    with pytest.raises(
        TypeError, match="device has become a device since; run the cell tagged parameters again"
    ):
        records.notebook_parameters(names)


def test_papermill_runs_write_records_and_refuse_wrong_parameters(tmp_path):
    pytest.importorskip("papermill")
    form = pytest.importorskip("notebook_form")
    source = write(tmp_path, DOOR, "import neuinv\n\n_ = neuinv.record(double=2 * n)\n")
    (tmp_path / "tiny.ipynb").write_bytes(form.serialize(form.read_source(source)))
    command = ["-m", "papermill", "tiny.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    began = time.time()
    done = run(*command, "-p", "n", "5", cwd=tmp_path, NEUINV_RUN_DIR=str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    (record,) = records.load_records(tmp_path / "runs")
    assert record["values"] == {"double": 10} and record["provenance"]["parameters"]["n"] == 5
    assert record["provenance"]["wall_seconds"] <= time.time() - began
    done = run(*command, "-p", "foo", "3", cwd=tmp_path)
    assert done.returncode != 0 and "foo is not a parameter of this notebook" in done.stderr
