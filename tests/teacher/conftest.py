from pathlib import Path

import pytest

from sdsearch.core.trajectory import Group, read_groups


@pytest.fixture
def groups(recorded: Path) -> list[Group]:
    """Return the groups of the file."""
    return list(read_groups(recorded))
