"""`hugging_face`: a data set of the hub, or of a folder, by its name, through the library `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sdsearch.config.discovery import remedy
from sdsearch.config.scalars import NameOrPath
from sdsearch.envs.data import auto, table
from sdsearch.envs.data.reading.questions import Adapter, Layout
from sdsearch.envs.data.reading.record import Record
from sdsearch.envs.data.table import QuestionFields
from sdsearch.errors import DataError


class HuggingFace(Adapter):
    """Any data set of the hub: `{name: hotpotqa/hotpot_qa, config: distractor, part: validation}`.

    Its layout is recognised as that of a file is, or mapped by `fields`. It needs the extra `hub`, and a hub that can
    be reached or its cache (`HF_HOME`); no code of the data set is run.
    """

    name: NameOrPath
    """Its name there, or a folder, which begins with `/`, `./`, `../` or `~`."""
    config: str | None = None
    """Which of its configurations."""
    part: str = "train"
    """Which of the parts it is published in, such as train, validation or test."""
    revision: str | None = None
    """A commit or a tag, so that it stays what it is."""
    fields: QuestionFields | None = None
    """What the fields are called; by default the layout is recognised."""

    @property
    def place(self) -> str:
        return self.name

    def records(self) -> Iterator[Record]:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise DataError(
                f"{self.name}: `hugging_face` needs the package datasets, which is not installed: {remedy('datasets')}"
            ) from error
        try:
            rows = datasets.load_dataset(self.name, self.config, split=self.part, revision=self.revision)
        except Exception as error:  # its errors have no common base, and each has its own words
            said = " ".join(str(error).split())[:300]
            raise DataError(
                f"{self.name}: could not be loaded ({type(error).__name__}: {said}), expected a data set of a hub "
                "that can be reached, or in the cache; a file that was downloaded elsewhere is `{path: ...}`"
            ) from error
        for number, fields in enumerate(rows, 1):
            yield Record(f"{self.name}: row {number}", number, fields)

    def layout(self, first: Record) -> Layout:
        if self.fields is None:
            return auto.recognised(first)
        table.present(first, self.fields.given())
        return Layout("table", lambda fields: False, partial(table.draft, called=self.fields))
