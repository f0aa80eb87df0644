"""Ask an Ollama server over its HTTP API; whatever it refuses is an OllamaError that says what was asked.

https://docs.ollama.com/api and https://github.com/ollama/ollama/blob/main/server/routes.go, as of 0.32. No token is
ever sent, no redirect followed, and a server on this machine is never asked by way of a proxy.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.errors import OllamaError
from reconciler.inert import inert
from reconciler.ollama import names
from reconciler.ollama.address import is_loopback, url_of
from reconciler.state import Digest, parse_digest

if TYPE_CHECKING:
    import urllib3

__all__ = ["Api", "Listed", "Progress", "Watch", "blob_directory", "is_loopback", "url_of"]

_SMALL, _LIST, _SHOW, _LINE = 1 << 16, 64 << 20, 64 << 20, 1 << 20
"""Bytes of an answer: a word; every model; one model with its tensors; one line of a stream."""
_PORTION = 1 << 16
_SLACK = 10.0
"""How many times the timeout a whole answer may take, so that one that trickles ends too."""
_SILENCE = 1800.0
"""Seconds that a stream may be silent: hundreds of GiB are hashed without a word."""

_FROM = re.compile(r"FROM\s+[\"']?(.+)[/\\]blobs[/\\]sha256-[0-9a-f]{64}[\"']?\s*")
_START = "start it with `ollama serve`, or correct `url` of the location or OLLAMA_HOST"
_STRANGE = "is this the address of an Ollama server?"


class Listed(NamedTuple):
    """A model as the server lists it: the manifest's digest, `size` in bytes as that declares.

    `remote_host` is set for a stub of a model that runs elsewhere; `details` are the server's words about it.
    """

    name: str
    digest: Digest
    size: int
    remote_host: str = ""
    details: Mapping[str, Any] = {}

    @property
    def key(self) -> str:
        """What equal names have in common, as `names.Name.key`."""
        try:
            return names.parse(self.name).key
        except ValueError:
            return self.name.lower()


class Progress(NamedTuple):
    """One line of a stream: the status in the server's words; of one blob, its digest and bytes."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


Watch = Callable[[Progress], None]
"""What it raises ends the stream, and by that the server's work."""


@dataclass(frozen=True, slots=True)
class Api:
    """A server at `url` (without a slash at the end); `timeout` in seconds for a connection, and for each silence.

    Every method raises OllamaError, whose `status` is that of HTTP.
    """

    url: str
    timeout: float = 30.0

    def version(self) -> str:
        """Return the server's version."""
        value = self._ask("GET", "/api/version", "its version", limit=_SMALL)
        version = value.get("version")
        if not isinstance(version, str):
            raise self._strange("its version")
        return inert(version[:80])

    def tags(self) -> tuple[Listed, ...]:
        """Return the models that the server lists, in its order."""
        asked = "the list of its models"
        models = self._ask("GET", "/api/tags", asked, limit=_LIST).get("models")
        if not isinstance(models, list) and models is not None:
            raise self._strange(asked)
        try:
            return tuple(map(_listed, models or ()))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise self._strange(asked) from None

    def show(self, name: str) -> dict[str, Any]:
        """Return what the server knows about a model (https://docs.ollama.com/api#show-model-information)."""
        return self._ask("POST", "/api/show", f"what {inert(name)} is", {"model": name}, limit=_SHOW)

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name; one that has this name already is replaced."""
        asked = f"to copy {inert(source)} to {inert(destination)}"
        self._ask("POST", "/api/copy", asked, {"source": source, "destination": destination}, limit=_SMALL)

    def delete(self, name: str) -> None:
        """Take a model away, with every blob that no other one names."""
        self._ask("DELETE", "/api/delete", f"to delete {inert(name)}", {"model": name}, limit=_SMALL)

    def pull(self, name: str, *, insecure: bool = False, watch: Watch | None = None) -> None:
        """Have the server fetch a model; an existing one of this name is replaced. Repeated, it goes on where it was.

        `insecure` allows plain http. What is there already is not verified again by the server.
        """
        body = {"model": name, "stream": True, **({"insecure": True} if insecure else {})}
        self._follow("/api/pull", f"to pull {inert(name)}", body, watch)

    def create(self, body: Mapping[str, Any], watch: Watch | None = None) -> None:
        """Have the server make a model (https://docs.ollama.com/api#create-a-model); a `from` it lacks is pulled."""
        asked = f"to create {inert(str(body.get('model')))}"
        self._follow("/api/create", asked, {**body, "stream": True}, watch)

    def _ask(
        self, method: str, path: str, asked: str, body: Mapping[str, Any] | None = None, *, limit: int
    ) -> dict[str, Any]:
        with self._open(method, path, asked, *_json(body)) as response:
            data = self._read(response, asked, limit)
        if response.status != 200:
            raise self._refused(asked, response.status, data)
        if not data.strip():
            return {}
        return self._object(data, asked)

    def _follow(self, path: str, asked: str, body: Mapping[str, Any], watch: Watch | None) -> None:
        """Read a stream to its end. Its status is 200 whatever happens: the last line says how it went."""
        done = False
        with self._open("POST", path, asked, *_json(body), silence=_SILENCE) as response:
            if response.status != 200:
                raise self._refused(asked, response.status, self._read(response, asked, _SMALL))
            for line in self._lines(response, asked):
                said = self._object(line, asked)
                if "error" in said:
                    raise self._refused(asked, 200, line)
                progress = _progress(said)
                done = done or progress.status == "success"
                if watch is not None:
                    watch(progress)
        if not done:
            hint = "was the server stopped? run the same again: it goes on where it was"
            raise OllamaError(f"asked {asked}, it broke off without a word", where=self.url, hint=hint, status=200)

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        asked: str,
        body: Any = None,
        headers: Mapping[str, str] = {},
        *,
        silence: float | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        import urllib3

        from reconciler import __version__
        from reconciler.sources.wire import connections

        timeout = urllib3.Timeout(connect=min(10.0, self.timeout), read=silence or self.timeout)
        sent = {"User-Agent": f"reconciler/{__version__}", "Accept-Encoding": "identity", **headers}
        try:
            pool = connections(self.url, direct=is_loopback(self.url))
            response = pool.request(
                method, self.url + path, body=body, headers=sent, redirect=False, retries=False, preload_content=False,
                timeout=timeout,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._unreachable(asked, error) from None
        try:
            yield response
        finally:
            response.close()  # what was not read ends the server's work too

    def _read(self, response: urllib3.BaseHTTPResponse, asked: str, limit: int) -> bytes:
        until = time.monotonic() + self.timeout * _SLACK
        data = bytearray()
        for portion in self._portions(response, asked):
            data += portion
            if len(data) > limit:
                raise OllamaError(f"asked {asked}, it answers more than {limit} bytes", where=self.url, hint=_STRANGE)
            if time.monotonic() > until:
                raise OllamaError(f"asked {asked}, its answer does not end", where=self.url, hint="try again later")
        return bytes(data)

    def _lines(self, response: urllib3.BaseHTTPResponse, asked: str) -> Iterator[bytes]:
        rest = b""
        for portion in self._portions(response, asked):
            *lines, rest = (rest + portion).split(b"\n")
            yield from filter(bytes.strip, lines)
            if len(rest) > _LINE:
                raise self._strange(asked)
        if rest.strip():
            yield rest

    def _portions(self, response: urllib3.BaseHTTPResponse, asked: str) -> Iterator[bytes]:
        import urllib3

        try:
            while portion := response.read1(_PORTION, decode_content=False):
                yield portion
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(asked, error, broken=True) from None

    def _object(self, data: bytes, asked: str) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise self._strange(asked) from None
        if not isinstance(value, dict):
            raise self._strange(asked)
        return value

    def _refused(self, asked: str, status: int, body: bytes) -> OllamaError:
        said = _said(body)
        told = f"asked {asked}, it says {said}" if said else f"asked {asked}, it refuses"
        hint = _hint(said) if said else _STRANGE
        return OllamaError(f"{told} ({status})" if status != 200 else told, where=self.url, hint=hint, status=status)

    def _strange(self, asked: str) -> OllamaError:
        return OllamaError(f"asked {asked}, it answers what no Ollama does", where=self.url, hint=_STRANGE, status=200)

    def _unreachable(self, asked: str, error: Exception, *, broken: bool = False) -> OllamaError:
        cause = _cause(error)
        told = f"asked {asked}, the answer broke off: {cause}" if broken else f"no answer: {cause}"
        return OllamaError(told, where=self.url, hint="" if broken else _START)


def blob_directory(show: Mapping[str, Any]) -> str | None:
    r"""Return the store directory that an answer of `show` gives away, as the server's machine calls it.

    The Modelfile of a model whose weights are one file says `FROM <directory>/blobs/sha256-…` (on Windows with `\`);
    None for others. What comes after the first instruction is text of the model's author, and never believed.
    """
    text = show.get("modelfile")
    for line in text.splitlines() if isinstance(text, str) else ():
        if line.strip() and not line.startswith("#"):
            found = _FROM.fullmatch(line)
            return found[1] if found else None
    return None


def _json(body: Mapping[str, Any] | None) -> tuple[bytes | None, Mapping[str, str]]:
    if body is None:
        return None, {}
    return json.dumps(body, ensure_ascii=False).encode(), {"Content-Type": "application/json"}


def _listed(value: Any) -> Listed:
    name, digest, size, details = value["name"], value.get("digest"), value.get("size"), value.get("details")
    if not isinstance(name, str):
        raise TypeError
    return Listed(
        name[:1000],
        parse_digest(f"sha256:{str(digest).removeprefix('sha256:')}"),
        size if type(size) is int and size >= 0 else 0,
        str(value.get("remote_host") or ""),
        details if isinstance(details, dict) else {},
    )


def _progress(said: Mapping[str, Any]) -> Progress:
    def number(key: str) -> int:
        value = said.get(key)
        return value if type(value) is int and value >= 0 else 0

    def text(key: str) -> str:
        value = said.get(key)
        return inert(value[:200]) if isinstance(value, str) else ""

    return Progress(text("status"), text("digest"), number("total"), number("completed"))


def _said(body: bytes) -> str:
    """Return the server's own words, '' when it has none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    said = value.get("error") if isinstance(value, dict) else None
    return inert(said[:500]) if isinstance(said, str) else ""


def _cause(error: Exception) -> str:
    """Return what went wrong on the wire, without the objects that urllib3 names first."""
    import urllib3

    from reconciler.secrets import redact

    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the host name is not known"
    refused = isinstance(
        error, urllib3.exceptions.NewConnectionError
    )  # counted among the timeouts, for old times' sake
    if isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)) and not refused:
        return "nothing came in time"
    reason = str(getattr(error, "reason", None) or error)
    text = re.split(r"\[Errno -?\d+\] |>: |\): ", reason)[-1] or type(error).__name__
    return inert(redact(text))[:200]


def _hint(said: str) -> str:
    if "chtimes" in said:
        return "a blob belongs to another user than the server's, which therefore cannot derive from it; copy the file"
    if "no Location header" in said:
        return "the registry serves blobs itself, which this server does not understand; it must redirect"
    if "MLX" in said:
        return "this model runs on Apple silicon only"
    return ""
