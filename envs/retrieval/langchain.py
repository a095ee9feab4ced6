"""Search with any LangChain retriever: a vector store of any vendor, an ensemble, a reranker, a web search.

Nothing of LangChain is imported until the retriever is opened. Spec files that name a factory run its code.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import Field

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import ComponentError, RetrieverUnavailable

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

MISTAKES = (TypeError, AttributeError, NameError, ImportError, NotImplementedError, AssertionError)


class LangChain(Retriever):
    """Adapts a LangChain `BaseRetriever`.

    LangChain has no common way to say how many results are wanted: give the factory as many as the environment's `k`
    (`k`, `top_k` or `search_kwargs: {k: 5}`, as the retriever calls it); what goes beyond `k` is cut.
    """

    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """What makes the retriever, as `package.module:function` or `package.module:Class.method`: a `BaseRetriever`, a
    classmethod of one, or a function annotated to return one."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the factory."""
    corpus: Corpus | None = None
    """If given, the factory also gets these passages as `documents`, as `TFIDFRetriever.from_documents` wants them."""
    id_key: str = "id"
    """The metadata field that holds a passage's id, for documents that have no id themselves."""
    title_key: str = "title"
    """The metadata field that holds a passage's title."""
    score_key: str = ""
    """The metadata field that holds a score, higher is nearer; without one, the rank stands for it (1, 1/2, 1/3...)."""
    max_concurrency: int | None = Field(None, ge=1, le=1000)
    """The most queries under way at once; None leaves it to LangChain."""

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.factory,)

    def open(self) -> LangChainSearcher:
        """Call the factory. Raises `ComponentError` when it cannot be imported, is none, or makes something else."""
        module, _, names = self.factory.partition(":")
        with warnings.catch_warnings():
            # The package announces its own sunset on import; its retrievers go on working.
            warnings.filterwarnings("ignore", ".*langchain-community.*", DeprecationWarning)
            try:
                make: Any = importlib.import_module(module)
                for name in names.split("."):
                    make = getattr(make, name)
            except (ImportError, AttributeError) as error:
                raise ComponentError(
                    f"the LangChain factory {self.factory!r} cannot be imported ({error}): expected "
                    "`package.module:function`; is its package installed?"
                ) from error
            from langchain_core.retrievers import BaseRetriever

            if not promises(make, BaseRetriever):
                raise ComponentError(
                    f"the LangChain factory {self.factory!r} is no BaseRetriever, no classmethod of one, and no "
                    "function that says it returns one (`def make(...) -> BaseRetriever`): nothing else is called"
                )
            given = {"documents": [_document(p) for p in self.corpus.passages()]} if self.corpus else {}
            retriever = make(**self.kwargs, **given)
        if not isinstance(retriever, BaseRetriever):
            raise ComponentError(
                f"the LangChain factory {self.factory!r} made a {type(retriever).__name__}, expected a BaseRetriever "
                "(a vector store becomes one by `.as_retriever()`)"
            )
        return LangChainSearcher(self, retriever)


def promises(make: Any, kind: type) -> bool:
    """Say whether something is a class of that kind, a classmethod of one, or a function annotated to return one.

    A spec may be somebody else's: what it names is called with what it says, so it has to be made for that.
    """
    owner = make if isinstance(make, type) else getattr(make, "__self__", None)
    if isinstance(owner, type):
        return issubclass(owner, kind)
    if not inspect.isfunction(make):
        return False
    try:
        promised = get_type_hints(make).get("return")
    except (NameError, TypeError):  # an annotation that cannot be read promises nothing
        return False
    return isinstance(promised, type) and issubclass(promised, kind)


class LangChainSearcher:
    """An opened LangChain retriever; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, settings: LangChain, retriever: BaseRetriever) -> None:
        """Take the settings and the retriever."""
        self.settings, self.retriever = settings, retriever

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Ask all queries in one `batch`; hits stay in the retriever's order unless `score_key` gives another.

        Raises `RetrieverUnavailable` for whatever the retriever raises, except for plain mistakes of programming.
        """
        if not queries:
            return []
        try:
            results = self.retriever.batch(list(queries), {"max_concurrency": self.settings.max_concurrency})
        except MISTAKES:
            raise
        except Exception as error:
            name = type(self.retriever).__name__
            raise RetrieverUnavailable(f"{name} could not search ({type(error).__name__})") from error
        return [self._hits(documents, k) for documents in results]

    def _hits(self, documents: Sequence[Document], k: int) -> list[Hit]:
        hits: dict[str, Hit] = {}
        for rank, document in enumerate(documents, 1):
            passage = self._passage(document)
            score = document.metadata.get(self.settings.score_key, 1 / rank)
            hits.setdefault(passage.id, Hit(passage, float(score)))
        return sorted(hits.values(), key=lambda h: (-h.score, h.passage.id))[:k]

    def _passage(self, document: Document) -> Passage:
        text = document.page_content
        title = str(document.metadata.get(self.settings.title_key) or "")
        key = document.id or document.metadata.get(self.settings.id_key)
        # Ids tell passages apart: where the store has none, the text itself has to.
        id_ = str(key) if key is not None else hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:16]
        return Passage(id_, title, text.removeprefix(f"{title}\n") if title else text)


def _document(passage: Passage) -> Document:
    from langchain_core.documents import Document

    return Document(id=passage.id, page_content=passage.contents, metadata={"id": passage.id, "title": passage.title})
