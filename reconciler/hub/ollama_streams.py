"""What an Ollama server tells while it works: lines of JSON, a status each, an error at the end of an answer of 200.

The work goes on in a thread of its own, so that a client that leaves ends it even while a registry says nothing.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Generator, Mapping
from typing import Any

from reconciler.hub.ollama_files import Bad
from reconciler.hub.repos import Blob
from reconciler.hub.wire import Response, Stream

Line = Mapping[str, Any]
Steps = Generator[Line, None, None]

_TICK = 0.02  # seconds between two looks at whether the client is still there
_JSON = (("Content-Type", "application/json; charset=utf-8"),)


class Refused(Exception):  # noqa: N818 - an answer
    """A call is refused: the status where one can still be told, and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Stopped(Exception):  # noqa: N818 - nobody waits for the answer
    """The client has left."""


class Halt:
    """How work in progress is ended: a word to look at, and the connection that it may be waiting on."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiting_on: socket.socket | None = None

    def watch(self, connection: socket.socket | None) -> None:
        """Name the connection that the work reads from now."""
        with self._lock:
            self._waiting_on = connection

    def look(self) -> None:
        """Raise Stopped when the work shall end."""
        if self._event.is_set():
            raise Stopped

    def call(self) -> None:
        """End the work."""
        self._event.set()
        with self._lock, contextlib.suppress(OSError):
            if self._waiting_on is not None:
                self._waiting_on.shutdown(socket.SHUT_RDWR)


def go_json(value: object) -> str:
    """Return JSON as Go writes it: compact, and harmless inside HTML."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def answer(value: object, status: int = 200) -> Response:
    """Return one value as the whole answer."""
    return Response(status, _JSON, Blob(go_json(value).encode()))


def refusal(status: int, text: str) -> Response:
    """Return an error."""
    return answer({"error": text}, status)


def told(steps: Steps, halt: Halt, *, stream: bool) -> Response:
    """Return what a client hears of `steps`: each as it comes, or only what it comes to.

    An error that stands at the beginning has its status; once something was said the status is 200, whatever follows.
    """
    if not stream:
        return _outcome(steps)
    lines = _beside(_with_errors(steps), halt)
    first = next((line for line in lines if line is not None), None)
    if isinstance(first, Refused):
        lines.close()
        return refusal(first.status, first.text)
    return Response(200, (("Content-Type", "application/x-ndjson"),), stream=_written(first, lines))


def _outcome(steps: Steps) -> Response:
    last: Line = {}
    try:
        for step in steps:
            last = step
    except Refused as problem:
        return refusal(problem.status, problem.text)
    except Bad as problem:
        return refusal(500, str(problem))
    except Stopped:
        pass
    return Response(200, (("Content-Type", "application/json"),), Blob(go_json(last).encode()))


def _with_errors(steps: Steps) -> Generator[Line | Refused, None, None]:
    try:
        yield from steps
    except Refused as problem:
        yield problem
    except Bad as problem:
        yield Refused(500, str(problem))
    except Stopped:
        return


def _beside(steps: Generator[Line | Refused, None, None], halt: Halt) -> Generator[Line | Refused | None, None, None]:
    """Yield what comes, and None while nothing does; end the work when nobody asks any more."""
    waiting: queue.SimpleQueue[Line | Refused | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for step in steps:
                waiting.put(step)
        finally:
            waiting.put(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            try:
                step = waiting.get(timeout=_TICK)
            except queue.Empty:
                yield None
                continue
            if step is None:
                return
            yield step
    finally:
        halt.call()
        thread.join()


def _written(first: Line | None, lines: Generator[Line | Refused | None, None, None]) -> Stream:
    with contextlib.closing(lines):
        if first is not None:
            yield _line(first)
        for line in lines:
            if line is None:
                yield b""
            elif isinstance(line, Refused):
                yield _line({"error": line.text})
            else:
                yield _line(line)


def _line(value: Line) -> bytes:
    return go_json(value).encode() + b"\n"
