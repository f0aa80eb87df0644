"""A service on loopback: listens on its ports, answers each call in order, logs it, and ends when told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, Self

from reconciler.hub.faults import Faults
from reconciler.hub.wire import BODY, Call, Gate, Origin, Response, read_call, send

HOST = "127.0.0.1"
_PATIENCE = 5.0  # seconds for a connection to end


class Request(NamedTuple):
    """One request that was answered; `path` is decoded, `bytes_sent` counts the body so far."""

    origin: Origin
    method: str
    path: str
    headers: dict[str, str]
    status: int
    bytes_sent: int
    query: str = ""


class Log:
    """Every request, in the order of its answer. An answer is in the log before its first byte leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[tuple[Call, int, list[int]]] = []

    def begin(self, call: Call, status: int) -> Callable[[int], None]:
        """Note an answer; return the function that counts its bytes."""
        sent = [0]
        with self._lock:
            self._rows.append((call, status, sent))

        def count(portion: int) -> None:
            sent[0] += portion

        return count

    def requests(self) -> list[Request]:
        """Return what was logged, as it stands now."""
        with self._lock:
            rows = list(self._rows)
        return [
            Request(call.origin, call.method, call.plain_path, call.headers, status, sent[0], call.query_string)
            for call, status, sent in rows
        ]

    def clear(self) -> None:
        """Forget what was logged."""
        with self._lock:
            self._rows = []


class Service(ABC):
    """What answers calls on loopback; who is one opens its ports in `_open`, and says in `respond` what it answers."""

    body_limit = BODY
    """Bytes of a call's body; who sends more is hung up on."""
    fault_origin: Literal["hub", "cdn", "any"] = "any"
    """Whose answers a fault spoils that does not say it."""

    def __init__(self, ports: Mapping[Origin, int]) -> None:
        self._ports: dict[Origin, int] = dict(ports)
        self._listeners: list[socket.socket] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._door = threading.Lock()
        self._faults, self._log, self._gate = Faults(), Log(), Gate()
        self.rate: float | None = None
        """Bytes per second and connection that the origin of the large bytes, `cdn`, sends at most."""

    @abstractmethod
    def respond(self, call: Call) -> Response:
        """Return the answer to one call as a well-behaved server gives it."""

    def revoke(self, signature: str) -> None:  # noqa: B027  most sign nothing
        """Let a signature be good no longer; who signs nothing has nothing to do."""

    def answer(self, call: Call) -> Response:
        """Return the answer to one call, faults included."""
        effect = self._faults.commit(call, self.respond(call))
        if effect.revoke:
            self.revoke(effect.revoke)
        response = effect.response
        if self.rate and call.origin == "cdn" and not response.delivery.rate:
            step = max(1, min(1 << 20, int(self.rate / 20)))
            response = replace(response, delivery=response.delivery._replace(rate=float(self.rate), step=step))
        return response

    @abstractmethod
    def _open(self) -> None:
        """Listen on every port."""

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return bool(self._listeners)

    @property
    def conversations(self) -> int:
        """How many connections are open, or still busy with what was asked."""
        with self._door:
            return len(self._connections)

    def close(self) -> None:
        """Stop listening and end every connection, whatever it waits for."""
        self._gate.close()
        listeners, self._listeners = self._listeners, []
        with self._door:
            connections = dict(self._connections)
        for each in (*listeners, *connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for listener in listeners:
            listener.close()
        for thread in connections.values():
            thread.join(_PATIENCE)

    def __enter__(self) -> Self:
        if not self.is_open:
            self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fault(
        self,
        kind: str,
        *,
        times: int = 1,
        path: str | None = None,
        origin: Literal["hub", "cdn", "any"] | None = None,
        **settings: Any,
    ) -> None:
        """Spoil the next `times` matching answers (-1: all); `path` is a part or a glob of the decoded URL path.

        Without an `origin` those of `fault_origin` are meant. Kinds and their settings stand in the docstring of
        `reconciler.hub.faults`. Raises ValueError for others.
        """
        self._faults.ask(kind, times, path, origin or self.fault_origin, **settings)

    def clear_faults(self) -> None:
        """Behave again."""
        self._faults.clear()

    def release(self) -> None:
        """Let every body that stalls or drips now go on at full speed."""
        self._gate.release()

    @property
    def faults_served(self) -> int:
        """How many answers were spoilt so far."""
        return self._faults.committed

    @property
    def requests(self) -> list[Request]:
        """What was asked and answered since the start or the last `reset_log`."""
        return self._log.requests()

    def reset_log(self) -> None:
        """Forget the requests so far."""
        self._log.clear()

    def bytes_served(self, origin: Origin | None = None) -> int:
        """Return how many bytes of bodies went out, from one origin or both, since the last `reset_log`."""
        return sum(request.bytes_sent for request in self.requests if origin in (None, request.origin))

    def _begin(self) -> None:
        self._gate = Gate()
        self._open()

    def _listen(self, origin: Origin) -> str:
        listener = socket.create_server((HOST, self._ports[origin]), backlog=1024)
        self._listeners.append(listener)
        self._ports[origin] = listener.getsockname()[1]  # a hub that starts again is found at the same place
        threading.Thread(target=self._accept, args=(listener, origin), daemon=True).start()
        return f"http://{HOST}:{self._ports[origin]}"

    def _accept(self, listener: socket.socket, origin: Origin) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection, origin), daemon=True).start()

    def _converse(self, connection: socket.socket, origin: Origin) -> None:
        """Answer the calls of one connection until one side has had enough."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gate = self._gate
        with self._door:
            self._connections[connection] = threading.current_thread()
        reader: BinaryIO = connection.makefile("rb", buffering=65536)  # type: ignore[assignment]
        try:
            while not gate.closing and (call := read_call(reader, origin, self.body_limit)):
                turn = gate.turn()
                response = self.answer(call)
                count = self._log.begin(call, response.status)
                if not send(connection, call, response, turn, count):
                    break
        except (OSError, ValueError):
            pass  # the other side left, or does not speak HTTP
        finally:
            with contextlib.suppress(OSError):
                reader.close()
                connection.close()
            with self._door:
                self._connections.pop(connection, None)
