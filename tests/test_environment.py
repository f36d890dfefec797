"""The documents that describe the environment agree with each other, and the lock is complete."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import neuinv

ROOT = Path(__file__).resolve().parent.parent
# What the lock leaves to pip, because only one platform has it.
PLATFORM_ONLY = re.compile(r"nvidia-|cuda-|triton$|appnope$|colorama$|pywin")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def declared(pyproject):
    """Return every requirement of a pyproject.toml, its build requirements included."""
    table = tomllib.loads(pyproject)
    project = table["project"]
    groups = [table["build-system"]["requires"], project["dependencies"]]
    groups += project["optional-dependencies"].values()
    return [Requirement(text) for group in groups for text in group]


def pins(lock):
    """Return the lock as canonical name -> version."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def form_complaints(lock):
    """Return the lines of a lock that would not install on another platform or at another place."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][0-9a-z.]*", line)]


def agreement_complaints(pyproject, lock):
    """Return the declared requirements that the lock misses or contradicts."""
    locked = pins(lock)
    found = []
    for requirement in declared(pyproject):
        version = locked.get(canonicalize_name(requirement.name))
        if version is None:
            found.append(f"{requirement.name} is not in the lock")
        elif not requirement.specifier.contains(Version(version), prereleases=True):
            found.append(f"the lock has {requirement.name} {version}, not {requirement.specifier}")
    return found


def conda_complaints(conda, pyproject):
    """Return what environment.yml says otherwise than pyproject.toml."""
    table, project = yaml.safe_load(conda), tomllib.loads(pyproject)["project"]
    plain = [entry for entry in table["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in table["dependencies"] if isinstance(entry, dict)]
    extras = ",".join(sorted(project["optional-dependencies"]))
    build = tomllib.loads(pyproject)["build-system"]["requires"]
    wanted = {
        "name": (table["name"], project["name"]),
        "python": ([e for e in plain if e.startswith("python")], [f"python{project['requires-python']}"]),
        "build": ([e for e in plain if e.startswith("setup")], build),
        "pip": (pip, ["-r requirements.lock", f"-e .[{extras}]"]),
    }
    return [f"{what}: {have} is not {want}" for what, (have, want) in wanted.items() if have != want]


def unpinned(locked, requires=importlib.metadata.requires, version=importlib.metadata.version):
    """Return the requirements, here and now, of locked packages that the lock does not hold.

    Only packages installed in the locked version are asked: another version may need other packages.
    """
    missing = set()
    for name, pinned in locked.items():
        try:
            if Version(version(name)).public != Version(pinned).public:
                continue
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, requires(name) or []):
            needed = canonicalize_name(requirement.name)
            here = {**default_environment(), "extra": ""}
            applies = requirement.marker is None or requirement.marker.evaluate(here)
            if applies and needed not in locked and not PLATFORM_ONLY.match(needed):
                missing.add(f"{name} needs {needed}")
    return sorted(missing)


def test_the_lock_holds_one_exact_public_version_a_line():
    assert form_complaints(read("requirements.lock")) == []


@pytest.mark.parametrize(
    "line",
    ["torch==2.13.0+cpu", "-e .", "--find-links x", "torch>=2.6", "torch @ file:///x", "torch==2.13.0 ; x"],
)
def test_a_line_of_another_form_is_caught(line):
    assert form_complaints(f"numpy==2.4.6\n{line}\n") == [line]


def test_the_lock_satisfies_every_declared_requirement():
    assert agreement_complaints(read("pyproject.toml"), read("requirements.lock")) == []


def test_a_pin_that_is_missing_or_too_old_is_caught():
    lock = read("requirements.lock")
    assert agreement_complaints(read("pyproject.toml"), re.sub("(?m)^tqdm==.*$", "", lock)) == [
        "tqdm is not in the lock"
    ]
    old = re.sub("(?m)^torch==.*$", "torch==2.5.1", lock)
    assert agreement_complaints(read("pyproject.toml"), old) == ["the lock has torch 2.5.1, not >=2.6"]


def test_the_lock_is_closed_under_requirements():
    assert unpinned(pins(read("requirements.lock"))) == []


def test_a_hole_in_the_lock_is_caught():
    needs = {"a": ["b>1", "c ; extra == 'x'", "nvidia-z"]}
    sources = {"requires": needs.get, "version": {"a": "1.0+cpu"}.get}
    assert unpinned({"a": "1.0"}, **sources) == ["a needs b"]
    assert unpinned({"a": "2.0"}, **sources) == []


def test_the_conda_file_agrees_with_the_package():
    assert conda_complaints(read("environment.yml"), read("pyproject.toml")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [("<3.14", "<3.13"), ("name: neuinv", "name: other"), ("rigor,", ""), ("-r requirements.lock", "-r x")],
)
def test_a_conda_file_that_differs_is_caught(old, new):
    text = read("environment.yml")
    assert old in text
    assert len(conda_complaints(text.replace(old, new), read("pyproject.toml"))) == 1


def test_the_version_is_the_same_everywhere():
    assert yaml.safe_load(read("CITATION.cff"))["version"] == neuinv.__version__
    assert f"## [{neuinv.__version__}]" in read("CHANGELOG.md")
    assert tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "neuinv.__version__"
    }


def test_the_citation_and_the_workflow_parse():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]


def test_the_workflow_tests_the_oldest_and_the_newest_python():
    (job,) = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    supported = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    oldest, beyond = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", supported).groups()
    assert job["strategy"]["matrix"]["python"] == [f"3.{oldest}", f"3.{int(beyond) - 1}"]
