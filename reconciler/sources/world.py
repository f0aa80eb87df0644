"""What a source may use of the world: the Hub's address, a token, patience, and a memory of this run."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from reconciler.errors import InputError
from reconciler.secrets import Secret
from reconciler.sources import urls

T = TypeVar("T")

HUB = urls.HUB
_TRUE = {"1", "on", "yes", "true"}


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What was asked in this run is not asked again, also when many threads ask at the same time."""

    cells: dict[Hashable, Future[Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return `make()`, called once for `key`; what it raised is raised again: a Hub that is down stays down."""
        with self.lock:
            known = self.cells.get(key)
            cell: Future[Any] = Future() if known is None else known
            self.cells[key] = cell
        if known is None:
            try:
                cell.set_result(make())
            except BaseException as error:
                cell.set_exception(error)
        return cast("T", cell.result())

    def recall(self, key: Hashable) -> Any:
        """Return what `once` made for `key`, or None when nobody asked yet or the asking failed."""
        cell = self.cells.get(key)
        return cell.result() if cell is not None and cell.done() and cell.exception() is None else None


@dataclass(frozen=True, slots=True)
class World:
    """One run's view of upstream. `timeout` and `patience` (the longest total wait for one request) in seconds."""

    endpoint: str = HUB
    token: Secret | None = None
    """Sent to the endpoint's origin and nowhere else."""
    offline: bool = False
    timeout: float = 30.0
    patience: float = 90.0
    insecure: frozenset[str] = frozenset()
    """Hosts (lower case) that the manifest allows over plain http or at a private address."""
    small: int = 0
    """Bytes below which `locate` names a file's address without asking for it; for callers that follow redirects."""
    warn: Callable[[str], None] = field(default=_silent, repr=False, compare=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, warn: Callable[[str], None] = _silent) -> World:
        """Read what huggingface_hub reads: HF_ENDPOINT, HF_TOKEN, its token file, HF_HUB_OFFLINE.

        https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables. Raise InputError when
        HF_ENDPOINT is not an http(s) URL.
        """
        endpoint = (environ.get("HF_ENDPOINT") or HUB).strip().rstrip("/")
        try:
            urls.check(endpoint)
        except ValueError as error:
            raise InputError(str(error), where="HF_ENDPOINT", hint=f"for example {HUB}") from None
        offline = any(
            environ.get(name, "").strip().lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        )
        token = _token(environ, warn)
        host = urls.origin(endpoint)[1]
        if token is not None and endpoint.startswith("http:") and not urls.is_private(host):
            warn(f"HF_ENDPOINT: the token goes to {host} unencrypted; use https")
        return cls(endpoint, token, offline, warn=warn)

    def trusting(self, hosts: Iterable[str]) -> World:
        """Return this world with more hosts allowed over plain http and at private addresses."""
        more = self.insecure | {host.lower() for host in hosts}
        return self if more == self.insecure else replace(self, insecure=more)


def _token(environ: Mapping[str, str], warn: Callable[[str], None]) -> Secret | None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if value := _clean(environ.get(name, ""), name):
            return Secret(value)
    path = _token_path(environ)
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            value = _clean(file.read(4096), str(path))
    except (OSError, UnicodeDecodeError):
        return None
    if value and stat.S_IMODE(mode) & 0o077:
        warn(f"{path}: others on this machine can read this token; `chmod 600` it")
    return Secret(value) if value else None


def _clean(text: str, where: str) -> str:
    value = text.strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise InputError("a token is one word of ASCII characters; this is something else", where=where)
    return value


def _token_path(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME") or "~"
    cache = environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    hf_home = environ.get("HF_HOME") or f"{cache}/huggingface"
    path = environ.get("HF_TOKEN_PATH") or f"{hf_home}/token"
    return Path(f"{home}{path[1:]}" if path.startswith("~/") else path).expanduser()
