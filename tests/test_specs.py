"""Every spec that comes with the package loads as what it says it is."""

from pathlib import Path

import pytest

import sdsearch
from sdsearch.config.load import load_any
from sdsearch.config.yaml import write

FOLDER = Path(sdsearch.__file__).parent / "specs"
SPECS = sorted(FOLDER.rglob("*.yaml"))


def test_there_are_specs() -> None:
    assert SPECS


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_loads(path: Path, tmp_path: Path) -> None:
    found = load_any(path)
    assert len(path.read_text().splitlines()) <= 40
    (tmp_path / path.name).write_text(write(found.plain()))
    again = load_any(tmp_path / path.name)
    assert (again.kind, again.spec) == (found.kind, found.spec)
    if found.kind == "experiment":
        assert found.plain()["name"] == path.stem
