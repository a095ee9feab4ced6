"""Serve a spec's retriever until somebody stops it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sdsearch.contracts.retrieval import Retriever
from sdsearch.errors import ServerError
from sdsearch.retrieval.opening import opened
from sdsearch.retrieval.patience import Patience

IDLE_SECONDS, STOP_SECONDS = 75, 10
"""How long a connection is kept for a next request, and how long after a stop requests are still answered."""


def serve(
    retriever: Retriever,
    top_k: int,
    host: str,
    port: int,
    say: Callable[[str], None],
    patience: Patience | None = None,
) -> None:
    """Open the retriever and answer requests until SIGTERM or Ctrl-C; then finish those that are under way.

    A server of the retriever must answer within `patience` while it is opened. The address is taken before that,
    which may take long, but nothing listens there until it is
    open: whoever is answered is answered rightly. Port 0 is any that is free. Raises `ServerError` when the address
    cannot be had or a package is missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ServerError(
            f"{error.name} is not installed, which a server needs: pip install 'sdsearch[serve]'"
        ) from error
    from sdsearch.serving.app import app
    from sdsearch.serving.batches import Batches

    with bound(host, port) as place:
        address = f"http://{f'[{host}]' if ':' in host else host}:{place.getsockname()[1]}"
        searcher = opened(retriever, patience)
        if connect := getattr(searcher, "connect", None):
            connect(STOP_SECONDS)
        config = uvicorn.Config(
            app(Batches(searcher), top_k, retriever.type),
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                say(f"{retriever.type} answers POST {address}/retrieve until it is stopped (Ctrl-C)")

        with heard(signal.SIGINT, signal.SIGTERM):
            Server(config).run(sockets=[place])
    say("stopped")


@contextmanager
def heard(*signals: signal.Signals) -> Iterator[None]:
    """Let signals do nothing: Uvicorn stops on them, and raises them again when it has, which would kill us then."""
    before = {number: signal.signal(number, lambda *_: None) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address, on which nothing listens yet. Raises `ServerError` where that is not to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        place = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"--host {host} is no address of this machine ({error.strerror})") from error
    try:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
    except OSError as error:
        place.close()
        raise ServerError(
            f"{host}:{port} cannot be taken ({error.strerror}): choose another --port, or an address of this machine "
            "as --host"
        ) from error
    return place
