"""The set-up says in one sentence what is wrong, and recovers from being killed; nothing is downloaded."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import make_lock  # noqa: E402
import run_pip  # noqa: E402
import setup_environment as setup  # noqa: E402
import step  # noqa: E402

CHOOSER = ROOT / "tools" / "with_python.sh"


@pytest.fixture
def project(tmp_path):
    """A project in a folder with a space, its inputs in place and no environment yet."""
    root = tmp_path / "with space"
    root.mkdir()
    for name in setup.INPUTS:
        (root / name).write_text(f"# {name}\n", encoding="utf-8")
    return root


def make_venv(root, version="3.11", ours=True, stamped=True):
    """Lay out what an environment leaves behind, without installing anything."""
    venv = root / ".venv"
    (venv / "bin").mkdir(parents=True)
    setup.python_of(venv).symlink_to(sys.executable)
    (venv / "pyvenv.cfg").write_text(f"home = x\nversion = {version}.2\n", encoding="utf-8")
    if ours:
        (venv / setup.STARTED).touch()
    if stamped:
        setup.write_stamp(venv, setup.fingerprint(root))
    return venv


def fake_python(folder, name, version):
    """Make a command that answers as a Python of the given version; None makes one that fails."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    if version is None:
        body = "echo 'command not found' >&2; exit 127"
    else:
        body = f'case "$2" in *version_info*) echo {version};; *) echo "ran $0" "$@";; esac'
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def choose(python="", path=None):
    """Run the chooser with a command line that a fake Python echoes."""
    environ = {"PATH": f"{path}:/usr/bin:/bin" if path else os.environ["PATH"], "PYTHON": str(python)}
    return subprocess.run(["sh", CHOOSER, "script.py", "a b"], env=environ, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("version", "word"),
    [("2.7", "too old"), ("3.9", "too old"), ("3.10", "too old"), ("3.14", "too new"), ("4.0", "too new")],
)
def test_an_unsupported_python_is_refused_in_one_sentence(tmp_path, version, word):
    done = choose(fake_python(tmp_path / "a b", "python", version))
    assert done.returncode == 2
    assert re.fullmatch(rf"error: PYTHON=.* is Python {version}, which is {word}; .*3\.11.*\.\n", done.stderr)
    with pytest.raises(setup.SetupError, match=rf"Python {version} is {word}"):
        setup.check_python(tuple(map(int, version.split("."))))


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_a_supported_python_runs_the_script(tmp_path, version):
    done = choose(fake_python(tmp_path / "a b", "python", version))
    assert done.returncode == 0
    assert done.stdout.endswith("script.py a b\n")
    setup.check_python(tuple(map(int, version.split("."))))


def test_a_python_that_does_not_start_is_refused(tmp_path):
    done = choose(fake_python(tmp_path, "python", None))
    assert done.returncode == 2
    assert re.fullmatch(r"error: PYTHON=.* does not start; .*\n", done.stderr)


def test_the_first_python_that_starts_and_is_in_range_is_taken(tmp_path):
    for name, version in {"python3.11": None, "python3.12": "3.14", "python3.13": "3.13"}.items():
        fake_python(tmp_path / "bin", name, version)
    assert "/python3.13 script.py" in choose(path=tmp_path / "bin").stdout


def test_without_a_usable_python_the_sentence_names_those_found(tmp_path):
    for name in ("python3.11", "python3.12", "python3.13"):
        fake_python(tmp_path / "bin", name, None)
    fake_python(tmp_path / "bin", "python3", "3.9")
    done = choose(path=tmp_path / "bin")
    assert done.returncode == 2
    assert re.fullmatch(r"error: no usable Python found, only python3 \(3\.9\); install .*\n", done.stderr)


def test_the_chooser_and_the_set_up_support_the_same_versions():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, beyond = map(int, re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text).groups())
    assert [(3, minor) for minor in range(oldest, beyond)] == list(setup.SUPPORTED)
    patterns = re.findall(r"(3\.11 \|.*?)\)", CHOOSER.read_text(encoding="utf-8"))
    assert len(patterns) == 2
    assert {tuple(p.split(" | ")) for p in patterns} == {tuple(f"3.{m}" for m in range(oldest, beyond))}


def test_a_nearly_full_disk_is_refused_and_a_roomy_one_is_not():
    with pytest.raises(setup.SetupError, match=r"has 2\.9 GB free and the environment needs 3 GB"):
        setup.check_disk(2.9e9, "x")
    setup.check_disk(3.1e9, "x")


def test_no_answer_from_an_index_is_one_sentence(tmp_path):
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "0",
    }
    arguments = ["download", "--no-deps", "-d", str(tmp_path), "no-such-package-anywhere"]
    options = {"log": tmp_path / "log", "cwd": tmp_path, "environ": environ}
    with pytest.raises(run_pip.SetupError, match=r"^no package index answered; check the network"):
        run_pip.run_pip(sys.executable, arguments, **options)


RETRY = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError': /simple/torch/\n"
MISSING = "ERROR: No matching distribution found for torch==2.13.0 (from -r requirements.lock)\n"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (RETRY + MISSING, "^no package index answered"),
        (MISSING, "^the package index has no torch==2.13.0 for Python"),
        (RETRY.replace("torch", "numpy") + MISSING, "^the package index has no torch==2.13.0"),
        ("OSError: [Errno 28] No space left on device", "^the disk is full"),
    ],
)
def test_a_failure_of_pip_is_told_apart(output, sentence):
    assert re.search(sentence, run_pip.explain(output))


def test_an_unknown_failure_of_pip_shows_its_lines(capsys):
    assert run_pip.explain("error: compiler missing") is None
    assert "say why" in run_pip.failure("error: compiler missing", "log")
    assert "compiler missing" in capsys.readouterr().err


def test_pip_runs_without_what_would_send_it_elsewhere():
    given = {"PIP_TARGET": "t", "PYTHONPATH": "junk", "VIRTUAL_ENV": "junk"}
    given |= {"PIP_FIND_LINKS": "kept", "PIP_RETRIES": "9"}
    kept = run_pip.clean_variables(given)
    assert not {"PIP_TARGET", "PYTHONPATH", "VIRTUAL_ENV"} & set(kept)
    assert (kept["PIP_FIND_LINKS"], kept["PIP_RETRIES"], kept["PIP_USER"]) == ("kept", "9", "0")


def test_progress_counts_packages_and_names_large_downloads():
    now, said = iter(range(0, 100, 5)), []
    progress = run_pip.Progress(3, write=said.append, clock=lambda: next(now))
    progress.line("Collecting numpy==2 (from x)")
    progress.line("  Downloading torch.whl (800.1 MB)")
    progress.line("  Downloading small.whl (1.0 MB)")
    progress.line("  Looking for something else")
    counted, named = said
    assert counted.endswith(" s  1 of 3 packages, now numpy==2")
    assert named.endswith(" s  downloading torch.whl, 800.1 MB")


def test_a_complete_environment_needs_nothing(project):
    make_venv(project)
    assert setup.decide(project) == "nothing"
    assert setup.is_current(project)


def test_touching_an_input_needs_nothing_and_changing_one_needs_an_update(project):
    make_venv(project)
    os.utime(project / "requirements.lock", (1, 1))
    assert setup.decide(project) == "nothing"
    (project / "requirements.lock").write_text("numpy==2\n", encoding="utf-8")
    assert setup.decide(project) == "update"
    assert not setup.is_current(project)


def test_a_set_up_killed_half_way_is_begun_again(project):
    venv = make_venv(project, stamped=False)
    assert setup.decide(project) == "rebuild"
    (venv / setup.STAMP).write_text('{"inputs": "ab', encoding="utf-8")
    assert setup.decide(project) == "rebuild"


def test_a_moved_environment_is_built_again(project):
    make_venv(project)
    moved = project.rename(project.with_name("moved"))
    assert setup.decide(moved) == "rebuild"


def test_an_environment_whose_python_is_gone_or_another_is_built_again(project):
    venv = make_venv(project)
    assert setup.decide(project, wanted=(3, 11)) == "nothing"
    assert setup.decide(project, wanted=(3, 12)) == "rebuild"
    setup.python_of(venv).unlink()
    assert setup.decide(project) == "rebuild"


def test_an_environment_made_by_somebody_else_is_used_and_never_deleted(project):
    venv = make_venv(project, ours=False, stamped=False)
    assert setup.decide(project) == "update"
    (venv / setup.LOG).touch()
    assert setup.decide(project) == "repair"
    with pytest.raises(setup.SetupError, match=r"was not made by make and cannot serve here.*is not 3\.12"):
        setup.decide(project, wanted=(3, 12))


def test_clearing_keeps_the_mark_that_the_environment_is_ours(project):
    venv = make_venv(project)
    (venv / "lib64").symlink_to(project)
    setup.clear(venv)
    assert [entry.name for entry in venv.iterdir()] == [setup.STARTED]
    assert (project / "pyproject.toml").exists()


def test_a_failed_installation_leaves_no_stamp(project, monkeypatch):
    make_venv(project)
    (project / "pyproject.toml").write_text("changed", encoding="utf-8")

    def fail(*_arguments, **_options):
        raise setup.SetupError("no package index answered")

    monkeypatch.setattr(setup, "run_pip", fail)
    with pytest.raises(setup.SetupError, match="no package index answered"):
        setup.set_up(project)
    assert setup.read_stamp(project / ".venv") is None
    assert setup.decide(project) == "rebuild"


def test_a_second_set_up_waits_for_the_first(project, capsys):
    venv = make_venv(project)
    with setup.only_one(venv) as held:
        code = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        done = subprocess.run([sys.executable, "-c", code, venv / setup.LOCK], capture_output=True, text=True)
        assert "BlockingIOError" in done.stderr
        assert held >= 0
    with setup.only_one(venv):
        pass
    assert "waiting" not in capsys.readouterr().out


def test_the_lock_drops_local_versions_and_what_one_platform_needs():
    names = {"torch": "2.13.0+cpu", "nvidia-cublas": "1", "triton": "3", "SciPy": "1.17.1", "cuda-x": "13"}
    report = {"install": [{"metadata": {"name": n, "version": v}} for n, v in names.items()]}
    assert make_lock.pins(report) == ["SciPy==1.17.1", "torch==2.13.0"]


def test_the_lock_resolves_every_declared_requirement():
    wanted = make_lock.requirements((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"torch>=2.6", "ruff", "jupyter-book>=1.0.4,<2", "setuptools>=77"} <= set(wanted)


def test_a_step_keeps_its_time_and_passes_a_failure_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert step.main(["notebooks", sys.executable, "-c", "pass"]) == 0
    assert step.main(["book", sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert "book failed after" in capsys.readouterr().err
    assert step.main(["--keep", "environment", "2"]) == 0
    assert list(json.loads(step.TIMES.read_text(encoding="utf-8"))) == ["notebooks", "environment"]
    assert step.main(["--report", "environment", "notebooks", "book"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"environment 2\.0 s, notebooks \d\.\d s\nThe book is at .*index\.html\n", said)
    assert step.main(["book"]) == 2


def test_make_help_names_every_verb():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split())
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    assert set(re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE)) == verbs
