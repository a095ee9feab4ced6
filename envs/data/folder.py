"""`folder`: documents of one's own as a corpus, cut into passages: text, Markdown and PDF.

They are read by LangChain's loaders and cut by its splitters; PDF needs `pip install 'sdsearch[pdf]'`. Nothing of
LangChain is imported before a folder is read.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from sdsearch.config.discovery import remedy
from sdsearch.contracts.data import Corpus
from sdsearch.core.question import Passage
from sdsearch.errors import DataError

if TYPE_CHECKING:
    from langchain_core.documents import Document

HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.M)


class Folder(Corpus):
    """The documents of a folder and of all folders in it: `{type: folder, path: handbook}`.

    A passage is named by its file and its number in it (`guides/setup.md#3`), and has the title of the document: the
    first heading of a Markdown file, else the name of the file, with the page of a PDF. What is hidden is left out.
    """

    path: Path
    """The folder."""
    files: list[str] = Field(default=["*.txt", "*.md", "*.markdown", "*.pdf"], min_length=1)
    """What the files are called; whatever is neither Markdown nor PDF is read as text in UTF-8."""
    chunk: int = Field(1000, ge=50)
    """The most characters of a passage; texts are cut between paragraphs, lines, sentences or words, in that order."""
    overlap: int = Field(100, ge=0)
    """Characters that a passage may repeat of the one before it."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.overlap >= self.chunk:
            raise ValueError(f"`overlap` is {self.overlap} and `chunk` {self.chunk}: expected a smaller overlap")
        return self

    def inspect(self) -> str | None:
        found, bare = self._whole()
        silent = f"; without any text (scanned pages, perhaps): {', '.join(bare)}" if bare else ""
        return f"{len(found):,} passages of {len({p.id.rpartition('#')[0] for p in found}):,} files{silent}"

    def passages(self) -> Sequence[Passage]:
        return self._whole()[0]

    def _whole(self) -> tuple[tuple[Passage, ...], list[str]]:
        """Return the passages, and the names of files without text. Raises `DataError`."""
        passages, bare = list[Passage](), list[str]()
        for file in self._files():
            name = file.relative_to(self.path).as_posix()
            cut = list(self._passages(file, name))
            passages += cut
            bare += [] if cut else [name]
        if not passages:
            raise DataError(f"{self.path}: got {len(bare)} files without any text, expected some with text")
        return tuple(passages), bare

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            raise DataError(f"got {self.path}, which is no folder, expected one of documents")
        found = {f for pattern in self.files for f in self.path.rglob(pattern) if f.is_file()}
        shown = sorted(f for f in found if not any(part.startswith(".") for part in f.relative_to(self.path).parts))
        if not shown:
            raise DataError(f"{self.path}: got no file called {' or '.join(self.files)}, expected some")
        return shown

    def _passages(self, file: Path, name: str) -> Iterator[Passage]:
        documents = loaded(file)
        title = heading(documents[0].page_content if documents else "", file)
        number = 0
        for page, document in enumerate(documents, 1):
            head = f"{title}, page {page}" if file.suffix.lower() == ".pdf" else title
            for text in self._cut(document.page_content, markdown=file.suffix.lower() in (".md", ".markdown")):
                number += 1
                yield Passage(f"{name}#{number}", head, text)

    def _cut(self, text: str, markdown: bool) -> list[str]:
        from langchain_text_splitters import MarkdownTextSplitter, RecursiveCharacterTextSplitter

        make = MarkdownTextSplitter if markdown else RecursiveCharacterTextSplitter
        pieces = make(chunk_size=self.chunk, chunk_overlap=self.overlap).split_text(text)
        return [piece.strip() for piece in pieces if piece.strip()]


def heading(text: str, file: Path) -> str:
    """Return the title of a document."""
    found = HEADING.search(text) if file.suffix.lower() in (".md", ".markdown") else None
    return found[1] if found else file.stem.replace("_", " ")


def loaded(file: Path) -> list[Document]:
    """Return a file as LangChain reads it: a PDF by pages, any other as one. Raises `DataError`."""
    with warnings.catch_warnings():
        # The package announces its own sunset on import; its loaders go on working.
        warnings.filterwarnings("ignore", ".*langchain-community.*", DeprecationWarning)
        from langchain_community.document_loaders.pdf import PyPDFLoader
        from langchain_community.document_loaders.text import TextLoader

        loader: Any
        try:
            loader = PyPDFLoader(file) if file.suffix.lower() == ".pdf" else TextLoader(file, encoding="utf-8-sig")
            documents: list[Document] = loader.load()
        except ImportError as error:
            raise DataError(f"{file}: is a PDF, which needs the package pypdf: {remedy('pypdf')}") from error
        except Exception as error:  # readers of foreign formats raise what they like
            cause = error.__cause__ or error
            raise DataError(f"{file}: got {type(cause).__name__} ({cause}), expected {expected(file)}") from error
    return documents


def expected(file: Path) -> str:
    """Say what a file should be."""
    return "a PDF that can be read" if file.suffix.lower() == ".pdf" else "a text in UTF-8"
