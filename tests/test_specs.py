"""Every spec that comes with the package loads."""

from pathlib import Path

import pytest
from pydantic import BaseModel

import sdsearch
from sdsearch.spec import Experiment, load
from sdsearch.warmstart import WarmStart

FOLDER = Path(sdsearch.__file__).parent / "specs"
SPECS = sorted(FOLDER.rglob("*.yaml"))
MODELS: dict[str, type[BaseModel]] = {"warmstart": WarmStart}


def test_there_are_specs() -> None:
    assert SPECS


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_loads(path: Path, tmp_path: Path) -> None:
    spec = load(path, model=MODELS.get(path.stem, Experiment))
    assert len(path.read_text().splitlines()) <= 40
    if isinstance(spec, Experiment):
        (tmp_path / path.name).write_text(spec.dump())
        assert load(tmp_path / path.name) == spec
        assert spec.name == path.stem
