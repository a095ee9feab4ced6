"""The learning curve: a picture of a run, whatever the run holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from sdsearch.report.charts import learning_curve

TRAIN = [{"step": i, "train": {"reward": i / 9}} for i in range(1, 4)]
JUDGED = [{"step": i, "evaluate": {"exact_match": i / 9, "f1": 1}} for i in (0, 3)]
REWARD = ("training reward", [[1, 1 / 9], [2, 2 / 9], [3, 3 / 9]])
EXACT_MATCH = ("exact match, held-out questions", [[0, 0], [3, 3 / 9]])


@pytest.mark.parametrize(
    ("metrics", "lines"),
    [
        ([JUDGED[0], *TRAIN, JUDGED[1]], [REWARD, EXACT_MATCH]),
        (TRAIN, [REWARD]),
        (JUDGED, [EXACT_MATCH]),
        ([{"step": 2, "evaluate": {"reward": 0.5}}], [("reward, held-out questions", [[2, 0.5]])]),
        ([], []),
    ],
)
def test_rewards_and_evaluations_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: list[dict[str, Any]], lines: list[object]
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *words: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    learning_curve(metrics, tmp_path / "curve.png", "a run")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    ((axes,),) = (figure.axes for figure in drawn)
    assert [(line.get_label(), np.asarray(line.get_xydata()).tolist()) for line in axes.lines] == lines
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylim()) == ("a run", "step", (0, 1))
    assert [len(legend.texts) for legend in drawn[0].legends] == [len(lines)] * bool(lines)
