"""The command line: one verb, one method of :class:`vsearch.Index`.

Results go to stdout, everything else to stderr.  Exit codes: 0 done; 1 nothing found; 2 wrong usage,
unreadable input or a damaged index; 3 with ``--strict``, when photos were skipped; 130 after Ctrl-C.
"""

from __future__ import annotations

import atexit
import codecs
import errno
import io
import os
import signal
import sys
import traceback
from typing import Any

import typer.core

from vsearch import __version__
from vsearch.cli.allocator import share_one_arena
from vsearch.errors import UsageError, VsearchError

NOTHING_FOUND = 1
FAILED = 2
SKIPPED = 3
INTERRUPTED = 130
_ENCODING_ERRORS = "vsearch"

# fmt: off
_ORDER = (
    "build-index", "query", "add", "sync", "remove", "status", "duplicates", "map", "serve",
    "check", "rebuild", "reencode", "encoders", "train", "evaluate",
)
# fmt: on


class _Commands(typer.core.TyperGroup):
    """Lists commands in the order in which a person comes to need them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Without typer's check that paths can be read, which refuses a whole command for one photo.

        Commands tell of such photos themselves.
        """
        command = super().get_command(ctx, cmd_name)
        for parameter in command.params if command else ():
            for each in getattr(parameter.type, "types", [parameter.type]):
                if hasattr(each, "readable"):
                    each.readable = False
        return command


app = typer.Typer(
    name="vsearch",
    cls=_Commands,
    help="Find photos by picture. Start with: vsearch build-index ~/Photos",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"vsearch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    share_one_arena()


# Each adds commands to app.
from vsearch.cli import (  # noqa: E402
    building,
    duplicates,
    evaluating,
    mapping,
    mending,
    querying,
    reporting,
    serving,
    syncing,
    training,
)

__all__ = [
    "app",
    "building",
    "duplicates",
    "evaluating",
    "main",
    "mapping",
    "mending",
    "querying",
    "reporting",
    "serving",
    "syncing",
    "training",
]


def main() -> None:
    """Run the command line; errors become one line and an exit code."""
    _open_closed_streams()
    try:
        _run()
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    _leave(code)


def _open_closed_streams() -> None:
    """Give the process the standard streams that whoever started it has closed (``>&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _as_bytes_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """File names that are not UTF-8 come out as the bytes they are; what a terminal cannot show, escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    is_byte = "\udc80" <= error.object[error.start] <= "\udcff"
    return codecs.lookup_error("surrogateescape" if is_byte else "backslashreplace")(one)


codecs.register_error(_ENCODING_ERRORS, _as_bytes_or_escape)


def _leave(code: int) -> None:
    """End the process without taking Chroma and ONNX Runtime apart, which takes Python half a second."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C: it is ending already
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # its reader has seen enough
                code = code or FAILED
    os._exit(code)


def _run() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ENCODING_ERRORS)
    try:
        _refuse_empty(sys.argv[1:])
        app()
    except VsearchError as error:
        _fail(str(error))
    except SystemExit as exit:
        if isinstance(getattr(exit.__context__, "__cause__", None), KeyboardInterrupt):  # typer's way
            print("vsearch: stopped; what was finished is kept, the same command goes on", file=sys.stderr)
        raise
    except KeyboardInterrupt:  # before typer has begun
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe (head, say) has left; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        _fail("there is not enough memory; end other programs, or ask for less at once")
    except Exception as error:  # the last line of defence: no traceback reaches a user
        if isinstance(error, OSError) and (said := _of_the_system(error)):
            _fail(said)
        if "VSEARCH_DEBUG" in os.environ:
            traceback.print_exc()
        _fail(
            f"unexpected {type(error).__name__}: {error}; this is a bug: please report it with the "
            "output of the same command under VSEARCH_DEBUG=1"
        )


def _refuse_empty(arguments: list[str]) -> None:
    """An empty argument, of a shell's unset variable, must not stand for the working directory."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, sign, value = argument.partition("=")
        if not argument or (option.startswith("--") and sign and not value):
            name = option or (before if before.startswith("-") else "an argument")
            raise UsageError(f"{name} is empty; is a variable not set?")


def _of_the_system(error: OSError) -> str | None:
    """What to say of a fault of the machine that no part of the program could foresee."""
    if error.errno == errno.ENOSPC:
        return "the disk that the output goes to is full; make room there"
    if error.errno == errno.EACCES and error.filename is not None:
        return f"cannot read {error.filename}: permission denied; make it readable for this user"
    if error.errno == errno.ENAMETOOLONG and error.filename is not None:
        return f"{error.filename}: its name is too long"
    if error.errno == errno.ENOENT and error.filename is None:  # os.getcwd does so
        return "the working directory was deleted; change to another folder"
    return None


def _fail(message: str) -> None:
    from vsearch.render.text import printable

    print(f"vsearch: {printable(message)}", file=sys.stderr)
    sys.exit(FAILED)
