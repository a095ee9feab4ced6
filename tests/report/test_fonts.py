"""A run whose name is in another script has a picture, whatever fonts the machine has."""

from pathlib import Path

import pytest

from sdsearch.report import fonts
from sdsearch.report.charts import learning_curve

METRICS = [{"step": i, "train": {"reward": 0.1 * i}, "evaluate": {"exact_match": 0.1 * i}} for i in range(3)]


@pytest.mark.parametrize("name", ["检索", "поиск", "हिन्दी", "ค้นหา"])
def test_a_name_in_any_script_is_drawn(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learning_curve(METRICS, tmp_path / "with.png", f"{name}, seed 0")
    monkeypatch.setattr(fonts, "OTHERS", ())
    learning_curve(METRICS, tmp_path / "without.png", f"{name}, seed 0")
    assert all(path.read_bytes()[1:4] == b"PNG" for path in tmp_path.iterdir())
