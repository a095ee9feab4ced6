"""`paragraphs`: the paragraphs that come with a data set, pooled into one corpus."""

from __future__ import annotations

from collections.abc import Sequence

from sdsearch.contracts.data import Corpus, Dataset
from sdsearch.core.question import Passage


class Paragraphs(Corpus):
    """The paragraphs of all questions of a data set: `{type: paragraphs, of: {path: hotpot_dev_distractor_v1.json}}`.

    They are named by their content, as the gold passages of the questions are: what two questions have in common is one
    passage, and gold is found whether the questions come from the same file or from another one. Several data sets
    are pooled by a `mixture`.
    """

    of: Dataset
    """Whose paragraphs. Its `limit`, `split` and `sample` hold for them too."""

    def passages(self) -> Sequence[Passage]:
        return tuple({passage.id: passage for passage in self.of.paragraphs()}.values())
