"""Every error that vsearch raises on purpose, on one page.

    VsearchError                  the base: message = what, why, and what to do
    ├── UsageError                wrong arguments: an unknown encoder, k of 0, a folder without photos
    │   └── MissingExtraError     it needs an optional package; the message has the pip command
    ├── PhotoError                one photo cannot be used; carries its path, reason and remedy
    ├── IndexNotFound             there is no index where one was asked for
    ├── IndexExists               there is one where none may be
    ├── IndexDamaged              a file of the index is missing, torn or not what it says it is
    ├── IndexBusy                 another process is writing
    ├── VersionMismatch           the index or bundle was made by another format version
    ├── EncoderError              an encoder bundle is unusable
    │   └── EncoderMismatch       vectors of one encoder met those of another
    ├── CollectionError           Chroma refused or cannot be reached
    ├── ClusterError              the Ray cluster cannot be reached, or gave up
    ├── StorageError              the disk is full, read-only or failing
    └── ServerError               a vsearch server answered with a problem

Exceptions of third-party libraries are mapped to these at the one module that owns the library.
"""

from __future__ import annotations


class VsearchError(Exception):
    """Base of all errors raised on purpose; ``str(error)`` is one line fit for a person."""

    def what_and_remedy(self) -> tuple[str, str]:
        """What happened, and what to do: what follows the last semicolon, ``""`` if there is none.

        >>> VsearchError("a;b; c.txt is damaged; run `vsearch rebuild`").what_and_remedy()
        ('a;b; c.txt is damaged', 'run `vsearch rebuild`')
        """
        what, _, remedy = str(self).rpartition("; ")
        return (what, remedy) if what else (remedy, "")


class UsageError(VsearchError):
    """What was asked for makes no sense; the message says what is allowed."""


class MissingExtraError(UsageError):
    """What was asked for needs a package of an extra that is not installed."""


def install(extra: str) -> str:
    """What to do when the packages of an extra are missing."""
    return f"run `pip install 'vsearch[{extra}]'`"


class PhotoError(VsearchError):
    """One photo cannot be used.

    Attributes:
        path: the file, as given, or a word such as ``"<bytes>"``.
        reason: why, in a few words.
        remedy: what to do about it.
    """

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path = path
        self.reason = reason
        self.remedy = remedy

    def bare(self) -> PhotoError:
        """The same, to be kept: without traceback and cause, whose frames hold the bytes of the photo."""
        return PhotoError(self.path, self.reason, self.remedy)

    def __reduce__(self) -> tuple[type[PhotoError], tuple[str, str, str]]:
        return (type(self), (self.path, self.reason, self.remedy))


class IndexNotFound(VsearchError):
    """There is no index at, or above, the place that was named."""


class IndexExists(VsearchError):
    """An index is there already and was not to be continued."""


class IndexDamaged(VsearchError):
    """A file of the index is missing, torn, or not what it says it is."""


class IndexBusy(VsearchError):
    """Another process holds the writer's lock."""


class VersionMismatch(VsearchError):
    """The index or the encoder bundle has a format version that this vsearch does not read."""


class EncoderError(VsearchError):
    """An encoder bundle is missing, incomplete, or its parts disagree."""


class EncoderMismatch(EncoderError):
    """Vectors of one encoder were about to be mixed with those of another."""


class CollectionError(VsearchError):
    """Chroma refused an operation, or its server cannot be reached."""


class ClusterError(VsearchError):
    """The Ray cluster cannot be reached, is not set up for the index, or gave up on a task."""


class StorageError(VsearchError):
    """The disk is full, read-only or failing; nothing already published was touched."""


class ServerError(VsearchError):
    """A vsearch server answered with a problem."""
