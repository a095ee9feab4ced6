"""What a run was made by is written down: the machine, the commit, the code of its components."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from sdsearch.runs.folder import Run
from sdsearch.runs.provenance import code, commit, machine, recorded, sources
from sdsearch.spec import load

DERIVED = """
from small_parts.by_token import ByToken

class Derived(ByToken):
    pass
"""


def test_the_machine_and_the_code_are_written_down(spec: Path) -> None:
    run = Run.begin(load(spec))
    written = json.loads((run.folder / "environment.json").read_text())
    assert written == machine() | {"code": code(run.experiment)} == recorded(run.folder)
    assert {"torch", "transformers", "chromadb", "gymnasium"} <= set(written["packages"])


def test_the_code_is_that_of_every_component_however_deep(spec: Path) -> None:
    found = code(load(spec))
    file = spec.parent / "small_parts" / "by_token.py"
    assert found["small_parts.by_token:ByToken"] == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    inside = {
        "envs.data.jsonl:JsonlPassages",  # of a retriever of the environment
        "envs.embedding.hashing:Hashing",
        "objectives.hints.hindsight:Hindsight",  # of a term of a list
        "objectives.rollouts.independent:Independent",  # by default
    }
    assert {f"sdsearch.{name}" for name in inside} <= set(found)
    assert not any(name.startswith(("sdsearch.contracts.", "sdsearch.config.")) for name in found)  # they do nothing


def test_what_a_component_derives_from_is_its_code_too(spec: Path) -> None:
    (spec.parent / "small_parts" / "derived.py").write_text(DERIVED)
    found = sources(load(spec, ["objective.credit=[{type: small_parts.derived}]"]))
    mine = {name: path.name for name, path in found.items() if name.startswith("small_parts.")}
    assert mine == {"small_parts.by_token:ByToken": "by_token.py", "small_parts.derived:Derived": "derived.py"}


def test_changes_to_the_checkout_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "x")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "x@example.org")
    assert commit(tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert commit(tmp_path) is None  # nothing was committed
    subprocess.run(["git", "-C", str(tmp_path), "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    clean = commit(tmp_path)
    assert clean
    assert len(clean) == 40
    (tmp_path / "file").touch()
    assert commit(tmp_path) == f"{clean} and changes"
