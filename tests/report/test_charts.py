"""The learning curve: a picture of a run, whatever the run holds."""

from pathlib import Path

import pytest

from sdsearch.report.charts import learning_curve

TRAIN = [{"step": i, "train": {"reward": i / 9}} for i in range(1, 9)]
JUDGED = [{"step": i, "evaluate": {"exact_match": i / 9}} for i in (0, 8)]


@pytest.mark.parametrize("metrics", [[*TRAIN, *JUDGED], TRAIN, JUDGED, []])
def test_a_picture_is_drawn(tmp_path: Path, metrics: list[dict[str, object]]) -> None:
    learning_curve(metrics, tmp_path / "curve.png", "a run")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "curve.png").stat().st_size > 5000
