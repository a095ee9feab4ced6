"""Every error that the library raises on purpose. Each message says what was got, what is expected and what to do."""

from __future__ import annotations

import errno
import re


class SdsearchError(Exception):
    """Base of all our errors: the command line prints its message without a traceback."""


class SpecError(SdsearchError):
    """A spec is wrong; the message lists every problem at once."""


class ComponentError(SdsearchError):
    """A `type:` names nothing that can be used, or what it names does not do what its contract says."""

    def __init__(self, message: str, component: object = None) -> None:
        """Take what to say and, where it is known, the component that is at fault."""
        super().__init__(message)
        self.component = component


class DataError(SdsearchError):
    """A data set or a corpus is empty or malformed."""


class IndexMismatch(SdsearchError):
    """An index on disk was built from another corpus or embedder."""


class IndexUnwritable(SdsearchError):
    """An index cannot be written: the disk is full, or may only be read."""


class RecordingError(SdsearchError):
    """A recording of retrieval is broken, was made from something else, or lacks what is asked for."""


class ModelError(SdsearchError):
    """A model or tokeniser lacks what is needed."""


class ContextError(SdsearchError):
    """The context is too short for what must fit into it."""


class CheckpointError(SdsearchError):
    """A checkpoint is missing, broken or belongs to another spec."""


class DivergedError(SdsearchError):
    """The weights, or what is computed with them, are no numbers any more."""


class Unavailable(SdsearchError):
    """What an episode depends on could not be reached or answered wrongly: an outage, which is no result."""


class RetrieverUnavailable(Unavailable):
    """The retriever could not be reached or answered wrongly: an outage, not an empty result."""


class ModelUnavailable(Unavailable):
    """A served model, or an agent of one's own, could not be reached or answered wrongly."""


class StudyError(SdsearchError):
    """A study cannot be run, or some of its runs failed."""


class ServerError(SdsearchError):
    """A server cannot be started: its address is taken, or a package is missing."""


ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files",
    errno.EACCES: "give permission to write there",
    errno.EPERM: "give permission to write there",
    errno.EROFS: "make the disk writable",
    errno.EMFILE: "let a process open more files (ulimit -n)",
    errno.ENFILE: "let the machine open more files",
    errno.EIO: "have the disk looked after, which fails",
    errno.ENAMETOOLONG: "take a shorter name",
    errno.EEXIST: "choose another place, as something else lies there",
    errno.ENOTDIR: "choose another place, as something else lies there",
    errno.EISDIR: "choose another place, as something else lies there",
}
"""What to do about what a disk said."""


def advice(error: Exception) -> str:
    """Return what to do about a file that could not be written, as an order.

    Only what the error itself says is advised: a library in Rust ends its texts with "(os error 28)".
    """
    told = re.search(r"\(os error (\d+)\)", str(error))
    code = error.errno if isinstance(error, OSError) and error.errno else int(told[1]) if told else 0
    return ADVICE.get(code, "put right what it says")
