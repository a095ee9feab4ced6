"""The protocol: Search-R1's `POST /retrieve`, and `GET /health`."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, model_validator
from starlette.exceptions import HTTPException

from sdsearch.core.question import Hit
from sdsearch.envs.data.reading.record import named
from sdsearch.errors import SdsearchError
from sdsearch.serving.batches import Batches

EXAMPLE = '{"queries": ["who wrote Hamlet"], "topk": 3, "return_scores": true}, as application/json'


class Query(BaseModel):
    """A request. Fields that are not known are let pass, as Search-R1's server does."""

    queries: list[str]
    """What is looked for. SkyRL sends one text as `query` instead."""
    topk: int | None = Field(None, ge=0)
    """Hits for each query; none, or 0, leaves it to the server."""
    return_scores: bool = False
    """Whether documents come with their scores."""

    @model_validator(mode="before")
    @classmethod
    def _one(cls, request: Any) -> Any:
        if isinstance(request, dict) and "query" in request and "queries" not in request:
            return {**request, "queries": [request["query"]]}
        return request


def app(batches: Batches, top_k: int, retriever: str) -> FastAPI:
    """Return what answers requests: `top_k` hits where a request names no number, from a retriever of that type."""
    serves = FastAPI(title="sdsearch", openapi_url=None)

    @serves.post("/retrieve")
    async def retrieve(query: Query) -> Response:
        """Return `{"result": [...]}`: a list for each query, of documents, or of documents and scores."""
        try:
            lists = await asyncio.wrap_future(batches.ask(query.queries, query.topk or top_k))
        except (SdsearchError, OSError) as error:
            return answer(503, {"detail": f"the retriever is not available: {error}"})
        except Exception as error:
            return answer(
                500, {"detail": f"the retriever failed ({type(error).__name__}): the server's log says where"}
            )
        return answer(200, {"result": [[shown(hit, query.return_scores) for hit in hits] for hits in lists]})

    @serves.get("/health")
    async def health() -> Response:
        """Say what is searched: whoever asks later can tell whether it is still the same."""
        named = getattr(batches.searcher, "fingerprint", None)
        return answer(200, {"status": "ok", "retriever": retriever, "topk": top_k, "fingerprint": named})

    @serves.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        return answer(422, {"detail": f"{'; '.join(map(fault, error.errors()))}. Expected {EXAMPLE}"})

    @serves.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        expected = EXAMPLE if error.status_code == 400 else "POST /retrieve or GET /health"
        where = f"{request.method} {request.url.path}: {error.detail}"
        return answer(error.status_code, {"detail": f"{where}. Expected {expected}"})

    return serves


def answer(status: int, value: Any) -> Response:
    """Return JSON in ASCII: half a surrogate pair in a passage has no form in UTF-8."""
    return Response(json.dumps(value), status, media_type="application/json")


def shown(hit: Hit, scored: bool) -> dict[str, Any]:
    """Return a hit as Search-R1's server writes it, with id, title and text beside the `contents`."""
    passage = hit.passage
    document = {"id": passage.id, "title": passage.title, "text": passage.text}
    document["contents"] = f'"{passage.title}"\n{passage.text}'
    return {"document": document, "score": float(hit.score)} if scored else document


def fault(error: Any) -> str:
    """Return what is wrong with a request, in words."""
    if error["type"] == "json_invalid":
        return f"it is no JSON ({error['ctx']['error']})"
    where = ".".join(str(part) for part in error["loc"] if part != "body") or "the body"
    got = error["input"]
    shows = f"the fields {named(got)}" if isinstance(got, dict) else repr(got)
    return f"{where}: {error['msg']}, got {shows:.200}"
