"""What a sweep says while it runs, what its folder says, and what is collected from it."""

import errno
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from sweep_tools import BODY, DOOR, ROOT, environment, fabricate, notebook, write_sweep

from neuinv import cli
from neuinv.records import run_folder
from neuinv.sweep import Progress, Serial, load_study, prepare, read_plan, read_status, run_plan
from neuinv.sweep import driver as driving
from neuinv.sweep.runner import FAILURE_FILE, RUN_FILE


@pytest.fixture
def spec(tmp_path):
    return write_sweep(tmp_path, grid={"n": [1, 2, 3]})


@pytest.fixture
def plan(spec):
    return read_plan(spec, "smoke")


def run_cli(*arguments):
    return cli.main(["sweep", *map(str, arguments), "--profile", "smoke"])


# --- status ----------------------------------------------------------------------------------------


def test_status_before_the_first_run_is_all_waiting_and_writes_nothing(spec, capsys):
    assert run_cli("status", spec, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["planned"], found["complete"], found["failed"], found["running"]) == (3, 0, 0, 0)
    assert found["folder"] == str(spec.parent / "runs" / "tiny") and not (spec.parent / "runs").exists()


def test_status_tells_complete_failed_running_and_waiting_from_the_folder_alone(spec, plan, capsys):
    fabricate(plan, 0)
    failed = plan.folder / f"{plan.runs[1].key}.0123456789ab.failed"
    failed.mkdir()
    with run_folder(plan.folder, plan.runs[2].key):
        damaged = plan.folder / f"{plan.runs[1].key}.ba9876543210.failed"
        damaged.mkdir()
        assert read_status(plan).to_dict()["waiting"] == 1, "a damaged folder set aside is no failure"
        (failed / FAILURE_FILE).write_text(json.dumps({"error": "cell 3: no"}))
        assert run_cli("status", spec, "--runs") == 0
    text = capsys.readouterr().out
    for run, state in zip(plan.runs, ("complete", "failed", "running"), strict=True):
        assert f"{run.key}  {state}" in text
    assert f"failed: {plan.runs[1].key[:12]}: cell 3: no" in text


def test_run_that_has_lost_a_file_is_not_complete(plan):
    fabricate(plan, 0, 1)
    (record,) = (plan.folder / plan.runs[0].key).glob("record-*.json")
    record.write_text(record.read_text()[:-20])
    assert read_status(plan).complete == {plan.runs[1].key}


# --- progress --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Scripted(Serial):
    """An engine without kernels: each run ends as its script says."""

    def __init__(self, plan, outcomes):
        super().__init__()
        self.plan, self.outcomes, self.seen = plan, {n: list(states) for n, states in outcomes.items()}, []

    def wait(self, seconds):
        if not self._tasks:
            return []
        task = self._tasks.pop(0)
        number = [run.key for run in self.plan.runs].index(task["key"])
        state = self.outcomes[number].pop(0)
        self.seen.append((number, state))
        if state == "done":
            fabricate(self.plan, number)
        error = {"error": "it is odd"} if state in ("failed", "full") else {}
        return [(task, {"state": state, "seconds": 1.0, **error})]


def drive(plan, outcomes, stream=None):
    prepare(plan)
    engine = Scripted(plan, outcomes)
    stream = stream or io.StringIO()
    result = run_plan(plan, engine, Progress(plan, stream, len(read_status(plan).complete)))
    return result, engine, getattr(stream, "getvalue", str)()


def test_failed_run_is_tried_again_as_often_as_stated_and_stops_no_other(plan):
    result, engine, text = drive(plan, {0: ["failed"] * 2, 1: ["failed", "done"], 2: ["done"]})
    assert engine.seen.count((0, "failed")) == 2 and not result.ok
    assert result.complete == 2 and result.failures == {plan.runs[0].key: "it is odd"}
    assert "failed, tried again" in text and "[3/3]" in text and "n=1: it is odd" in text


def test_run_of_another_sweep_is_awaited_and_taken_back_when_that_sweep_dies(plan, monkeypatch):
    result, engine, _ = drive(plan, {0: ["elsewhere", "done"], 1: ["done"], 2: ["done"]})
    assert result.ok and (0, "done") in engine.seen
    monkeypatch.setattr(driving, "partial_runs", lambda folder: pytest.fail("nothing is elsewhere"))
    assert drive(plan, {})[0].ok


def test_full_disk_stops_the_sweep_and_says_where(plan):
    result, engine, _ = drive(plan, {0: ["done"], 1: ["full"], 2: ["done"]})
    assert engine.seen == [(0, "done"), (1, "full")] and result.complete == 1
    assert result.stopped == f"{plan.folder}: it is odd" and not result.ok


def test_reader_that_has_seen_enough_stops_neither_the_sweep_nor_the_status(spec, plan):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        assert drive(plan, {0: ["done"], 1: ["done"], 2: ["done"]}, stream)[0].ok
    command = [sys.executable, "-P", "-m", "neuinv", "sweep", "status", str(spec), "--profile", "smoke"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment(spec.parent))
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_terminal_gets_a_table_that_is_redrawn_and_a_file_gets_lines(plan):
    outcomes = {0: ["done"], 1: ["failed", "failed"], 2: ["done"]}
    _, _, text = drive(plan, outcomes, Terminal())
    assert (
        text.count("    done  running   failed  waiting    time left\n") == text.count("\x1b[2F\x1b[J") >= 3
    )
    rows = [line.split() for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert rows[0] == ["0", "1", "0", "2", "unknown"] and ["1", "1", "0", "1", "0", "s"] in rows
    shutil.rmtree(plan.folder)
    _, _, text = drive(plan, outcomes)
    assert "\x1b" not in text and text.count("\n") == 5


def test_what_a_run_says_cannot_steer_the_terminal(spec, plan):
    outcomes = {0: ["failed", "failed"], 1: ["done"], 2: ["done"]}
    prepare(plan)
    engine, stream = Scripted(plan, outcomes), io.StringIO()
    wait = engine.wait
    garbage = {"error": "a\nb\x1b[2J\ud800"}
    engine.wait = lambda seconds: [(t, o | garbage if "error" in o else o) for t, o in wait(seconds)]
    run_plan(plan, engine, Progress(plan, stream, 0))
    assert r"a b\x1b[2J\ud800" in stream.getvalue() and stream.getvalue().encode()


# --- collect ---------------------------------------------------------------------------------------


def test_collected_study_comes_back_in_the_order_of_the_plan_and_repeats_to_the_byte(spec, plan, capsys):
    fabricate(plan, 2, 0, 1, errors={"a": 0.5, "b": [1, 2]}, nothing=None, bad=float("inf"), n=9)
    assert run_cli("collect", spec) == 0
    assert "3 of 3 runs, 3 rows" in capsys.readouterr().out
    folder = spec.parent / "book" / "results" / "tiny"
    study = load_study("tiny", "smoke", folder=folder)
    assert list(study.rows["n"]) == [1, 2, 3] and list(study.rows["double"]) == [2, 4, 6]
    assert list(study.rows["value.n"]) == [9] * 3 and list(study.rows["errors.a"]) == [0.5] * 3
    assert list(study.rows["bad"]) == [float("inf")] * 3 and study.rows["errors.b"][0] == "[1, 2]"
    assert study.summary["complete"] == 3 and study.summary["notebook"]["hash"] == plan.notebook
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run_cli("collect", spec) == 0
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_part_of_a_study_is_collected_and_says_so(spec, plan, capsys):
    assert run_cli("collect", spec) == 2
    assert "no run is complete; run 'neuinv sweep run' first" in capsys.readouterr().err
    fabricate(plan, 1)
    assert run_cli("collect", spec) == 1
    assert "1 of 3 runs, 1 rows" in capsys.readouterr().out
    study = load_study("tiny", "smoke", folder=spec.parent / "book" / "results" / "tiny")
    assert (study.summary["planned"], study.summary["complete"]) == (3, 1)


def test_columns_of_mixed_types_become_text_and_numbers_stay_numbers(spec, plan):
    for number, value in enumerate((1, 2.5, None)):
        fabricate(plan, number, x=value, y=(1, "a", None)[number], z=10**20)
    run_cli("collect", spec)
    rows = load_study("tiny", "smoke", folder=spec.parent / "book" / "results" / "tiny").rows
    assert list(rows["x"][:2]) == [1.0, 2.5] and rows["x"].isna()[2]
    assert list(rows["y"][:2]) == ["1", '"a"'] and rows["z"][0] == str(10**20)


def test_names_that_are_taken_get_a_prefix_and_no_value_is_lost(tmp_path, plan):
    spec = write_sweep(tmp_path, cell="n: int = 1\nrun: int = 7\nseed: int = 0\ndevice: str = 'cpu'\n")
    plan = read_plan(spec, "smoke")
    fabricate(plan, 0, n=2, **{"value.n": 3, "run": {"start": 4}}, big=10**400)
    run_cli("collect", spec)
    rows = load_study("tiny", "smoke", folder=spec.parent / "book" / "results" / "tiny").rows
    assert rows["run"][0] == plan.runs[0].key and rows["parameter.run"][0] == 7
    assert sorted([rows["n"][0], rows["value.n"][0], rows["value.value.n"][0]]) == [1, 2, 3]
    assert rows["value.run.start"][0] == 4 and rows["run.start"][0].startswith("20")


def test_huge_integer_beside_a_float_is_collected_as_text(spec, plan):
    for number, value in enumerate((10**400, 0.5, None)):
        fabricate(plan, number, x=value)
    assert run_cli("collect", spec) == 0
    rows = load_study("tiny", "smoke", folder=spec.parent / "book" / "results" / "tiny").rows
    assert list(rows["x"][:2]) == [str(10**400), "0.5"]


def test_prose_that_is_corrected_after_the_runs_leaves_them_complete(spec, plan, capsys):
    fabricate(plan, 0, 1, 2)
    path = spec.parent / "tiny.ipynb"
    content = json.loads(path.read_text())
    content["cells"].append({"cell_type": "markdown", "id": "m", "metadata": {}, "source": "Corrected."})
    path.write_text(json.dumps(content))
    assert run_cli("collect", spec) == 0
    summary = load_study("tiny", "smoke", folder=spec.parent / "book" / "results" / "tiny").summary
    assert summary["complete"] == 3 and summary["notebook"]["code"] == plan.code
    assert summary["notebook"]["hash"] == read_plan(spec, "smoke").notebook != plan.notebook
    # a control: corrected code
    path.write_text(path.read_text().replace("2 * n", "n + n"))
    capsys.readouterr()
    assert run_cli("collect", spec) == 2
    assert "no run is complete" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("book/results/*/*.parquet")), ids=lambda path: path.parent.name
)
def test_a_study_of_an_older_commit_loads_with_or_without_the_hash_of_its_code(path):
    study = load_study(path.parent.name, path.stem)
    assert len(study.rows) == study.summary["rows"] and len(study.summary["notebook"]["hash"]) == 16


def test_run_under_the_name_of_another_is_refused(spec, plan, capsys):
    fabricate(plan, 0, 1)
    for number, other in ((0, 1), (1, 0)):
        path = plan.folder / plan.runs[number].key / RUN_FILE
        path.write_text(json.dumps({"identity": plan.identity(plan.runs[other])}))
    assert run_cli("collect", spec) == 2
    assert "is not that run; delete the folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["smoke.parquet", "smoke.json"])
def test_edited_study_is_refused_by_name(spec, plan, name):
    fabricate(plan, 0, 1, 2)
    run_cli("collect", spec)
    folder = spec.parent / "book" / "results" / "tiny"
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        content.replace(b'"planned": 3', b'"planned": 4') if b"{" in content[:1] else content[:-1]
    )
    with pytest.raises(ValueError, match=rf"{name} (was edited|is not the table)"):
        load_study("tiny", "smoke", folder=folder)
    with pytest.raises(FileNotFoundError, match="has no profile 'gpu' there"):
        load_study("tiny", "gpu", folder=folder)


# --- the door --------------------------------------------------------------------------------------


def test_folder_that_cannot_be_written_is_refused_before_any_run(spec, capsys, monkeypatch):
    (spec.parent / "file").write_text("")
    assert run_cli("run", spec, "--shard", "1/1", "--folder", spec.parent / "file" / "x") == 2
    assert "Not a directory; name another" in capsys.readouterr().err

    def read_only(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    monkeypatch.setattr(driving.tempfile, "TemporaryFile", read_only)
    assert run_cli("run", spec, "--shard", "1/1") == 2
    said = capsys.readouterr().err
    assert "Read-only file system; name another file or folder." in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shard", "0/2"], "the shard is 0/2; use i/k"),
        (["--shard", "1"], "--shard is '1'; write i/k"),
        (["--shard", "1/2", "--workers", "2"], "--shard does without Dask"),
        (["--workers", "0"], "--workers is 0; use 1 or more"),
        (["--workers", "100000"], "--workers is 100000; use 1 or more, at most 1000"),
        (["--scheduler", ""], "--scheduler is empty; write its value or leave it out"),
        (["--shard", ""], "--shard is empty; write its value"),
        (["--folder", ""], "--folder is empty; write its value"),
        (["--scheduler", "tcp://x:1", "--workers", "2"], "exclude each other"),
        (["--scheduler", "nonsense"], "scheduler"),
        (["--scheduler", "tcp://127.0.0.1:9"], "no scheduler answers at tcp://127.0.0.1:9 within 1 s"),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_sentence(spec, capsys, monkeypatch, options, words):
    from neuinv.sweep import engines

    monkeypatch.setattr(engines, "_CONNECT_SECONDS", 1)
    assert run_cli("run", spec, *options) == 2
    said = capsys.readouterr()
    assert words in said.err and len(said.err.splitlines()) == 1


def test_port_that_keeps_silent_or_speaks_another_language_is_no_scheduler(spec, capsys, monkeypatch):
    from neuinv.sweep import engines

    monkeypatch.setattr(engines, "_CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert run_cli("run", spec, "--scheduler", address) == 2
        assert f"no scheduler answers at {address} within 1 s" in capsys.readouterr().err

        def answer():
            # The first is the call above, still in the queue.
            with server.accept()[0], server.accept()[0] as connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)
                connection.recv(1)

        web = threading.Thread(target=answer)
        web.start()
        monkeypatch.setattr(engines, "_CONNECT_SECONDS", 30)
        assert run_cli("run", spec, "--scheduler", address) == 2
        said = capsys.readouterr().err
        assert f"what answers at {address} is no Dask scheduler" in said and len(said.splitlines()) == 1
    web.join(10)


def test_without_dask_a_sweep_says_how_to_do_without_it(spec, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    assert run_cli("run", spec) == 2
    assert "or pass --shard 1/1 to do without it" in capsys.readouterr().err


def test_gpu_profile_without_a_gpu_is_refused(spec, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    spec.write_text("notebook: tiny.ipynb\nprofiles: {gpu: {}}\n")
    assert cli.main(["sweep", "run", str(spec), "--profile", "gpu"]) == 2
    assert "needs a GPU and nvidia-smi names none; use --profile cpu" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["sweep"], ["sweep", "run"], ["sweep", "status"], ["sweep", "collect"]])
def test_every_verb_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--help"])
    assert stopped.value.code == 0 and "example: neuinv sweep" in capsys.readouterr().out


def test_book_holds_no_runs():
    assert notebook(DOOR, BODY) and not list((ROOT / "book").rglob("*.partial"))
