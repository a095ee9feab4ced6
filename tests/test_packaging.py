"""The package is what the checkout is: links resolve, and a wheel holds every file and nothing generic."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import gymnasium
import pytest

import sdsearch

ROOT = Path(__file__).parents[1]
LINKS = ("agents", "envs", "objectives", "specs")


@pytest.mark.parametrize("name", LINKS)
def test_a_link_leads_to_the_folder_of_its_name(name: str) -> None:
    link = ROOT / "src" / "sdsearch" / name
    assert link.is_symlink(), f"{link} is no symbolic link: was it checked out without them?"
    assert os.readlink(link) == f"../../{name}"
    assert link.resolve() == ROOT / name
    assert link.is_dir()


def test_the_linked_folders_are_namespace_packages() -> None:
    assert [str(p) for name in LINKS for p in (ROOT / name).rglob("__init__.py")] == []


def test_environments_are_registered() -> None:
    spec = gymnasium.spec("sdsearch/SearchQA-v0")
    assert spec.entry_point == "sdsearch.envs.search_env:SearchEnv"
    assert spec.vector_entry_point == "sdsearch.envs.vector_env:SearchVectorEnv"


def test_every_dependency_is_pinned_once() -> None:
    pinned = [line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {w.partition(">")[0].lower() for w in wanted}
    assert sorted(set(pinned)) == sorted(pinned)
    assert names - {p.lower() for p in pinned} == set()


def test_a_wheel_holds_every_file_and_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for name in ("src", *LINKS):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=hidden)
    for file in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    info = f"sdsearch-{sdsearch.__version__}.dist-info"
    assert {name.partition("/")[0] for name in held} == {"sdsearch", info}
    package = copy / "src" / "sdsearch"
    walked = (Path(folder, f) for folder, _, files in os.walk(package, followlinks=True) for f in files)
    sources = {f"sdsearch/{file.relative_to(package)}" for file in walked}
    assert len(sources) > 30
    assert sources - held == set()
    assert {name for name in held if not name.startswith(info)} - sources == set()
