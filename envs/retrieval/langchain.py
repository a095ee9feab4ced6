"""Search with any LangChain retriever: a vector store of any vendor, an ensemble, a reranker, a web search.

Nothing of LangChain is imported until the retriever is opened. Spec files that name a factory run its code.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import Field
from rich.console import Console

from sdsearch.contracts.data import Corpus
from sdsearch.contracts.retrieval import Retriever
from sdsearch.core.question import Hit, Passage
from sdsearch.errors import ComponentError, RetrieverUnavailable

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

NUMBERS = ("k", "top_k", "top_n", "n_results", "num_results", "max_results")
"""What LangChain's retrievers and rerankers call the most that they return."""
MANY = 16
"""After how many answers of the same length it is said that it is the same."""
SUNSET = ".*langchain-community.*"
"""The package announces its own end on import; its retrievers go on working."""
MISTAKES = (TypeError, AttributeError, NameError, ImportError, NotImplementedError, AssertionError)


class LangChain(Retriever):
    """Adapts a LangChain `BaseRetriever`.

    LangChain has no common way to say how many results are wanted: give the factory at least the environment's `top_k`
    (`k`, `top_k` or `search_kwargs: {k: 5}`, as the retriever calls it); what goes beyond is cut. A retriever that is
    seen to be set to fewer, by itself or by a default such as the 4 of vector stores, is refused; one that returns the
    same smaller number again and again is told of.
    """

    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """What makes the retriever, as `package.module:function` or `package.module:Class.method`: a `BaseRetriever`, a
    classmethod of one, or a function annotated to return one."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Passed to the factory."""
    corpus: Corpus | None = None
    """If given, the factory also gets these passages as `documents`, as `TFIDFRetriever.from_documents` wants them."""
    id_key: str = "id"
    """The metadata field that holds a passage's id, for documents that have no id themselves; "" names all by their
    texts, which tells the pieces of one document apart."""
    title_key: str = "title"
    """The metadata field that holds a passage's title."""
    score_key: str = ""
    """The metadata field that holds a score, higher is nearer; without one, the rank stands for it (1, 1/2, 1/3...)."""
    max_concurrency: int | None = Field(None, ge=1, le=1000)
    """The most queries under way at once; None leaves it to LangChain."""

    @property
    def calls(self) -> tuple[str, ...]:
        return (self.factory,)

    def inspect(self) -> str | None:
        self._made_by()
        return f"{self.factory} makes a LangChain retriever"

    def open(self) -> LangChainSearcher:
        """Call the factory. Raises `ComponentError` when it cannot be imported, is none, or makes something else."""
        make = self._made_by()
        from langchain_core.retrievers import BaseRetriever

        given = {"documents": [_document(p) for p in self.corpus.passages()]} if self.corpus else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", SUNSET, DeprecationWarning)
            retriever = make(**self.kwargs, **given)
        if not isinstance(retriever, BaseRetriever):
            raise ComponentError(
                f"the LangChain factory {self.factory!r} made a {type(retriever).__name__}, expected a BaseRetriever "
                "(a vector store becomes one by `.as_retriever()`)"
            )
        return LangChainSearcher(self, retriever)

    def _made_by(self) -> Any:
        module, _, names = self.factory.partition(":")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", SUNSET, DeprecationWarning)
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
        return make


def own_number(retriever: Any) -> int | None:
    """Return how many documents a retriever is set to return at most, where that can be seen; None where it cannot."""
    if isinstance(parts := getattr(retriever, "retrievers", None), Sequence):
        numbers = [own_number(part) for part in parts]
        return sum(n for n in numbers if n is not None) if None not in numbers else None
    if (base := getattr(retriever, "base_retriever", None)) is not None:
        kept = _number(getattr(retriever, "base_compressor", None))
        return min((n for n in (own_number(base), kept) if n is not None), default=None)
    store = getattr(retriever, "vectorstore", None)
    given = getattr(retriever, "search_kwargs", None)
    if store is not None and isinstance(given, Mapping):
        default = inspect.signature(store.similarity_search).parameters.get("k")
        number = given.get("k", default.default if default else None)
        return number if isinstance(number, int) else None
    return _number(retriever)


def _number(thing: Any) -> int | None:
    found = (getattr(thing, name, None) for name in NUMBERS)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n > 0), None)


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
        self.most = own_number(retriever)
        self._counts = Counter[int]()

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Ask all queries in one `batch`; hits stay in the retriever's order unless `score_key` gives another.

        Raises `RetrieverUnavailable` for whatever the retriever raises, except for plain mistakes of programming, and
        `ComponentError` when it is set to return fewer than `k`.
        """
        if not queries:
            return []
        if self.most is not None and self.most < k:
            raise ComponentError(
                f"{type(self.retriever).__name__} is set to return at most {self.most} documents and {k} are wanted: "
                "give its factory as many (`k`, `top_k` or `search_kwargs: {k: ...}`, as it calls it)"
            )
        try:
            results = self.retriever.batch(list(queries), {"max_concurrency": self.settings.max_concurrency})
        except MISTAKES:
            raise
        except Exception as error:
            name = type(self.retriever).__name__
            raise RetrieverUnavailable(f"{name} could not search ({type(error).__name__})") from error
        self._tell(map(len, results), k)
        return [self._hits(documents, k) for documents in results]

    def _tell(self, counts: Iterable[int], k: int) -> None:
        """Say once that all answers so far were of the same length, below what was wanted."""
        before = self._counts.total()
        self._counts.update(counts)
        count = max(self._counts, default=0)
        if (
            before < MANY <= self._counts.total()
            and len(self._counts) == 1
            and 0 < (count := next(iter(self._counts))) < k
        ):
            name = type(self.retriever).__name__
            line = f"note: {name} has returned {count} documents for each query so far, {k} are wanted: is it set to?"
            Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)

    def _hits(self, documents: Sequence[Document], k: int) -> list[Hit]:
        hits: dict[str, Hit] = {}
        for rank, document in enumerate(documents, 1):
            passage = self._passage(document)
            score = document.metadata.get(self.settings.score_key, 1 / rank)
            if hits.setdefault(passage.id, Hit(passage, float(score))).passage != passage:
                raise RetrieverUnavailable(
                    f"{type(self.retriever).__name__} answered wrongly: got two texts with the id {passage.id!r:.80}, "
                    f'expected one for each (`id_key` is {self.settings.id_key!r}; "" names documents by their text)'
                )
        return sorted(hits.values(), key=lambda h: (-h.score, h.passage.id))[:k]

    def _passage(self, document: Document) -> Passage:
        text = document.page_content
        title = str(document.metadata.get(self.settings.title_key) or "")
        key = (document.id or document.metadata.get(self.settings.id_key)) if self.settings.id_key else None
        # Ids tell passages apart: where the store has none, the text itself has to.
        id_ = str(key) if key is not None else hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:16]
        return Passage(id_, title, text.removeprefix(f"{title}\n") if title else text)


def _document(passage: Passage) -> Document:
    from langchain_core.documents import Document

    return Document(id=passage.id, page_content=passage.contents, metadata={"id": passage.id, "title": passage.title})
