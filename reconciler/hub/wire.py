"""HTTP/1.1 on a socket: read a call, write an answer, misdeliver it where a fault says so."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from reconciler.hub.repos import Blob

Origin = Literal["hub", "cdn"]
Stream = Generator[bytes, None, None]

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LINE = 65536
BODY = 16 * 1024 * 1024
"""Bytes of a call's body that a service takes unless it says otherwise."""
_SMALL = 64 * 1024
_STEP = 1024 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Call(NamedTuple):
    """One request as it came: `path` is still percent-encoded, header names are lower case."""

    origin: Origin
    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def query(self) -> dict[str, str]:
        """The query's values by name; of repeated names the last."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def plain_path(self) -> str:
        """The path, decoded."""
        return unquote(self.path)


class Delivery(NamedTuple):
    """How a body goes out. The default is: whole, at once, as promised.

    `alter` gets (offset in the file, bytes) and returns the bytes to send; after `after` bytes `then` happens;
    `rate` is in bytes per second, in portions of `step` bytes; `endless` goes on with rubbish, up to that many bytes.
    """

    alter: Callable[[int, bytes], bytes] | None = None
    after: int | None = None
    then: Literal["close", "reset", "stall"] = "close"
    rate: float | None = None
    step: int = _STEP
    rush: int = 0
    """So many bytes go out before `rate` counts."""
    endless: int = 0
    length: int | None = None
    """The Content-Length to promise; -1: none. None: the true one."""
    chunked: bool = False
    mute: bool = False
    """Not even the head is sent before `then` happens."""


_AS_PROMISED = Delivery()
_NOTHING = Blob(b"")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, headers, and the bytes `start` to `stop` of a blob, or a `stream` that is made as it goes out.

    An empty piece of a stream sends nothing and looks whether the other side is still there; a stream that is not
    wanted to its end is closed.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    blob: Blob = _NOTHING
    start: int = 0
    stop: int | None = None
    delivery: Delivery = _AS_PROMISED
    stream: Stream | None = None

    @property
    def end(self) -> int:
        """Where the body ends in the blob."""
        return self.blob.size if self.stop is None else self.stop

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Gate:
    """Where stalled and slow bodies wait: until they are released, or the hub closes."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._releases = 0
        self.closing = False

    def turn(self) -> Turn:
        """Return the turn of one answer. It is taken before anybody can know of the answer, so no release is missed."""
        return Turn(self, self._releases)

    def has_released(self, since: int) -> bool:
        """Whether `release` was called after there were `since` releases."""
        return self._releases != since

    def release(self) -> None:
        """Let everything that waits go on."""
        with self._condition:
            self._releases += 1
            self._condition.notify_all()

    def close(self) -> None:
        """Wake everything that waits, for the last time."""
        with self._condition:
            self.closing = True
            self._condition.notify_all()

    def pause(self, seconds: float, since: int) -> bool:
        """Wait `seconds`; return at once, and True, when released after `since` or closing."""
        with self._condition:
            return self._condition.wait_for(lambda: self.closing or self._releases != since, seconds)


class Turn(NamedTuple):
    """One answer at the gate, and how many releases there were before it."""

    gate: Gate
    since: int

    @property
    def closing(self) -> bool:
        """Whether the hub closes."""
        return self.gate.closing

    @property
    def released(self) -> bool:
        """Whether there was a release since."""
        return self.gate.has_released(self.since)

    def pause(self, seconds: float) -> bool:
        """Wait `seconds`; return at once, and True, when released or closing."""
        return self.gate.pause(seconds, self.since)


class _EndOfConnection(Exception):  # noqa: N818 - not an error: what the fault wants
    """The connection ends here."""


def read_call(reader: BinaryIO, origin: Origin, limit: int = BODY) -> Call | None:
    """Return the next call of a connection, or None when there is no more (or it is no HTTP).

    Raises ValueError for a body of more than `limit` bytes.
    """
    line = reader.readline(_LINE).strip()
    if not line:
        return None
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3:
        return None
    headers: dict[str, str] = {}
    while (header := reader.readline(_LINE)) not in (b"\r\n", b"\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if parts[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    body = _read_body(reader, headers, limit)
    path, _, query = parts[1].partition("?")
    return Call(origin, parts[0], path, query, headers, body)


def _read_body(reader: BinaryIO, headers: Mapping[str, str], limit: int) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        length = int(headers.get("content-length") or 0)
        if length > limit:
            raise ValueError(f"a body of {length} bytes")
        return reader.read(length) if length else b""
    body = bytearray()
    while size := int(reader.readline(_LINE).split(b";")[0], 16):
        if len(body) + size > limit:
            raise ValueError(f"a body of more than {limit} bytes")
        body += reader.read(size)
        reader.readline(_LINE)
    while reader.readline(_LINE) not in (b"\r\n", b"\n", b""):
        pass  # trailers
    return bytes(body)


def send(connection: socket.socket, call: Call, response: Response, turn: Turn, count: Callable[[int], None]) -> bool:
    """Send `response`; `count` hears of the body's bytes just before they leave. Return whether to keep the line."""
    delivery = response.delivery
    keep = call.headers.get("connection", "").lower() != "close" and not delivery.endless and delivery.length is None
    head = _head(response, keep=keep)
    bodiless = call.method == "HEAD" or response.status in (204, 304)
    if delivery.mute or (bodiless and delivery.after is not None):
        try:
            _interrupt(connection, delivery, turn)
        except _EndOfConnection:
            return False
        delivery = _AS_PROMISED
    if bodiless:
        connection.sendall(head)
        return keep
    if response.stream is not None:
        try:
            _send_stream(connection, head, response.stream, delivery, turn, count)
        except _EndOfConnection:
            return False
        return keep
    as_promised = delivery == _AS_PROMISED
    if as_promised and response.end - response.start <= _SMALL:
        body = b"".join(response.blob.blocks(response.start, response.stop))
        count(len(body))
        connection.sendall(head + body)
        return keep
    try:
        connection.sendall(head)
        if isinstance(response.blob.content, Path) and as_promised:
            _send_file(connection, response.blob.content, response.start, response.end, count)
        else:
            _send_blocks(connection, response, turn, count)
    except _EndOfConnection:
        return False
    return keep


def _head(response: Response, *, keep: bool) -> bytes:
    delivery = response.delivery
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}"]
    lines += [f"{name}: {_CONTROL.sub(' ', value)}" for name, value in response.headers]
    if delivery.chunked or response.stream is not None:
        lines.append("Transfer-Encoding: chunked")
    elif delivery.length is None and response.status not in (204, 304):
        lines.append(f"Content-Length: {response.end - response.start}")
    elif delivery.length is not None and delivery.length >= 0:
        lines.append(f"Content-Length: {delivery.length}")
    lines += [f"Date: {formatdate(usegmt=True)}", f"Connection: {'keep-alive' if keep else 'close'}", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def _send_stream(
    connection: socket.socket, head: bytes, stream: Stream, delivery: Delivery, turn: Turn, count: Callable[[int], None]
) -> None:
    """Send what comes as it comes; stop, and close the stream, when nobody listens any more."""
    left = delivery.after
    with closing(stream):
        connection.sendall(head)
        for piece in stream:
            if turn.closing or _has_hung_up(connection):
                raise _EndOfConnection
            data = memoryview(piece)
            if left is not None and left <= len(data):
                _send_data(connection, data[:left], count, chunked=True)
                _interrupt(connection, delivery, turn)
                data, left = data[left:], None
            _send_data(connection, data, count, chunked=True)
            left = None if left is None else left - len(data)
        connection.sendall(b"0\r\n\r\n")


def _send_file(connection: socket.socket, path: Path, start: int, stop: int, count: Callable[[int], None]) -> None:
    """Send a part of a file without copying it through this process."""
    with path.open("rb", buffering=0) as file:
        while start < stop:
            portion = min(8 * _STEP, stop - start)
            count(portion)
            sent = 0
            try:
                sent = os.sendfile(connection.fileno(), file.fileno(), start, portion)
            finally:
                count(sent - portion)
            if not sent:
                raise _EndOfConnection  # the file is shorter than it was
            start += sent


def _send_blocks(connection: socket.socket, response: Response, turn: Turn, count: Callable[[int], None]) -> None:
    delivery = response.delivery
    left = delivery.after
    began, sent = time.monotonic(), 0
    for block in _blocks(response, lambda: turn.released):
        data = memoryview(block)
        if left is not None and left < len(data):
            _send_data(connection, data[:left], count, chunked=delivery.chunked)
            _interrupt(connection, delivery, turn)
            data, left = data[left:], None
        _send_data(connection, data, count, chunked=delivery.chunked)
        sent += len(data)
        left = None if left is None else left - len(data)
        if delivery.rate:
            turn.pause(began + (sent - delivery.rush) / delivery.rate - time.monotonic())
        if turn.closing:
            raise _EndOfConnection
    if left is not None:  # the body ended before the point was reached, or just there
        _interrupt(connection, delivery, turn)
    if delivery.chunked:
        connection.sendall(b"0\r\n\r\n")


def _blocks(response: Response, released: Callable[[], bool]) -> Iterator[bytes | memoryview]:
    """Yield the body: what may rush, then portions of the delivery's step, and the rest when that is released."""
    delivery = response.delivery
    position = response.start
    for stop, step in ((position + delivery.rush, _STEP), (response.end, delivery.step), (response.end, _STEP)):
        for block in response.blob.blocks(position, min(stop, response.end), step):
            yield delivery.alter(position, bytes(block)) if delivery.alter else block
            position += len(block)
            if step < _STEP and released():
                break
    rubbish, left = b"\xa5" * min(_STEP, delivery.endless), delivery.endless
    while left > 0:
        yield rubbish[:left]
        left -= len(rubbish)


def _send_data(connection: socket.socket, data: memoryview, count: Callable[[int], None], *, chunked: bool) -> None:
    if not data:
        return
    count(len(data))
    if chunked:
        connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")
    else:
        connection.sendall(data)


def _interrupt(connection: socket.socket, delivery: Delivery, turn: Turn) -> None:
    """Do what the fault wants at this point of the body; return only when the body shall go on."""
    if delivery.then == "stall":
        while not turn.pause(0.1):
            if _has_hung_up(connection):
                raise _EndOfConnection
        if turn.closing:
            raise _EndOfConnection
        return
    if delivery.then == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise _EndOfConnection


def _has_hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
