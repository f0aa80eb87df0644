"""The standard streams: there from the start, and no reason to stop when what they lead to fails."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO

from reconciler.errors import DiskError

_NAMES = ("stdin", "stdout", "stderr")


def complete() -> None:
    """Open the streams that the process was started without (`>&-`): what is written there goes nowhere.

    Else the next file to be opened, a registry perhaps, would take the number of one, and with it what is meant for
    people and what libraries complain about.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  to the end


def tell(text: str) -> None:
    """Print one line on standard error; where it cannot be written (a full disk, a reader gone), it is not."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def say(text: str | bytes) -> None:
    """Print on standard output; bytes go out as they are. Raise DiskError when they cannot be written.

    Raise BrokenPipeError when nobody reads any more, which is no failure.
    """
    try:
        if isinstance(text, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskError(f"cannot be written: {error.strerror}", where="standard output") from error


def settle() -> None:
    """Write what waits; drop what cannot be written, so that Python does not complain about it at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)
        except ValueError:  # closed
            pass


def _drop(stream: IO[str]) -> None:
    """Let a stream lead nowhere; https://docs.python.org/3/library/signal.html#note-on-sigpipe."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
