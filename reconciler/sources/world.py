"""What a source may use of the world: addresses, tokens, patience, and a memory of this run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from reconciler.errors import InputError
from reconciler.secrets import Secret
from reconciler.sources import tokens, urls

T = TypeVar("T")

HUB = urls.HUB
CIVITAI = urls.CIVITAI
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
    """Sent to the endpoint's origin and nowhere else; where that is the Hub itself, also to its registry at hf.co."""
    offline: bool = False
    timeout: float = 30.0
    patience: float = 90.0
    insecure: frozenset[str] = frozenset()
    """Hosts (lower case) that the manifest allows over plain http or at a private address."""
    small: int = 0
    """Bytes below which `locate` names a file's address without asking for it; for callers that follow redirects."""
    civitai: str = CIVITAI
    """Civitai, without a slash at the end."""
    civitai_token: Secret | None = None
    """Sent to Civitai's own hosts and nowhere else."""
    warn: Callable[[str], None] = field(default=_silent, repr=False, compare=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False, compare=False)
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], *, warn: Callable[[str], None] = _silent, civitai_file: Path | None = None
    ) -> World:
        """Read what huggingface_hub reads: HF_ENDPOINT, HF_TOKEN, its token file, HF_HUB_OFFLINE; and Civitai's part.

        https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables; CIVITAI_ENDPOINT,
        CIVITAI_TOKEN, else the file of CIVITAI_TOKEN_FILE or `civitai_file`. Raise InputError when an endpoint is not
        an http(s) URL, or a token no word.
        """
        endpoint = _endpoint(environ, "HF_ENDPOINT", HUB)
        civitai = _endpoint(environ, "CIVITAI_ENDPOINT", CIVITAI)
        offline = any(
            environ.get(name, "").strip().lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        )
        token = tokens.of_hub(environ, warn)
        civitai_token = tokens.of_civitai(environ, warn, civitai_file)
        for name, url, secret in (
            ("HF_ENDPOINT", endpoint, token),
            ("CIVITAI_ENDPOINT", civitai, civitai_token),
        ):
            host = urls.origin(url)[1]
            if secret is not None and url.startswith("http:") and not urls.is_private(host):
                warn(f"{name}: the token goes to {host} unencrypted; use https")
        return cls(endpoint, token, offline, civitai=civitai, civitai_token=civitai_token, warn=warn)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Everything that no text may show."""
        return tuple(secret for secret in (self.token, self.civitai_token) if secret is not None)

    def trusting(self, hosts: Iterable[str]) -> World:
        """Return this world with more hosts allowed over plain http and at private addresses."""
        more = self.insecure | {host.lower() for host in hosts}
        return self if more == self.insecure else replace(self, insecure=more)


def _endpoint(environ: Mapping[str, str], name: str, default: str) -> str:
    endpoint = (environ.get(name) or default).strip().rstrip("/")
    try:
        urls.check(endpoint)
    except ValueError as error:
        raise InputError(str(error), where=name, hint=f"for example {default}") from None
    return endpoint
