"""Bring a file of a Hub with huggingface_hub's own downloader, into a private cache in the stage; verify it ourselves.

The way without aria2c. huggingface_hub checks sizes only and does not resume across processes; what it brought takes
its staged name only after our own digest. Imports huggingface_hub inside functions.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from reconciler.download import Arrived, HubFile, Wanted, staged
from reconciler.download.retry import Budget
from reconciler.download.stream import Stopped, Tools, bring
from reconciler.download.wire import Line
from reconciler.errors import AccessError, NotFoundError, Problem, ReconcilerError, TransferError
from reconciler.hashing import hash_file
from reconciler.oserrors import disk_error
from reconciler.state import Digest, algorithm


def bring_from_hub(wanted: Wanted, line: Line, tools: Tools, buffer: memoryview) -> Arrived:
    """Return the verified, durable file in its stage; what has no place on a Hub comes over our own connections.

    Wrong bytes are fetched again, the second time over our own connections. Raise SourceError, TransferError,
    DiskError; Stopped when it is over.
    """
    if wanted.hub is None:
        return bring(wanted, line, tools, buffer)
    begun = time.monotonic()
    there = staged.settle(wanted)
    if there is not None:
        tools.teller.tell(wanted, wanted.size, 0, "done")
        return Arrived(wanted, there, 0, time.monotonic() - begun)
    staged.drop(wanted)
    try:
        path, received = _download(wanted, wanted.hub, tools)
        found = hash_file(path, algorithm(wanted.digest)) if path.stat().st_size == wanted.size else Digest("")
        if found == wanted.digest:
            _place(path, staged.payload(wanted))
            staged.clear(wanted)
            tools.teller.tell(wanted, wanted.size, received, "done")
            return Arrived(wanted, staged.payload(wanted), received, time.monotonic() - begun)
    except OSError as error:
        raise disk_error(error, str(wanted.stage), need=wanted.size) from error
    finally:
        staged.drop(wanted, ("_hub",))
    again = bring(wanted, line, tools, buffer, strikes=1)
    return again._replace(received=again.received + received, seconds=time.monotonic() - begun)


def _download(wanted: Wanted, hub: HubFile, tools: Tools) -> tuple[Path, int]:
    """Return the file that huggingface_hub brought and the bytes it received."""
    budget = Budget(tools.limits, time.monotonic())
    counter = _counter(wanted, tools)
    while True:
        if tools.over.is_set():
            raise Stopped
        try:
            return _once(wanted, hub, counter), counter.received
        except (Stopped, ReconcilerError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and _of_disk(error):
                raise
            known = _known(wanted, error)
            pause = None if isinstance(known, (AccessError, NotFoundError)) else budget.wait(time.monotonic())
            if pause is None:
                raise known from error
            if tools.over.wait(pause):
                raise Stopped from None


def _once(wanted: Wanted, hub: HubFile, counter: type[Any]) -> Path:
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(
        hub.repository,
        hub.path,
        revision=hub.revision,
        endpoint=hub.endpoint,
        token=hub.token.reveal() if hub.token is not None else False,
        cache_dir=staged.beside(wanted, "_hub"),
        tqdm_class=counter,
    )
    return Path(path).resolve()


def _counter(wanted: Wanted, tools: Tools) -> type[Any]:
    """Return a silent progress bar that tells us instead, and ends the transfer when it is over."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Counter(tqdm):  # type: ignore[misc]
        received = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            options = {name: value for name, value in options.items() if name != "name"}
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if tools.over.is_set():
                raise Stopped
            count = int(n or 0)
            Counter.received = max(0, Counter.received + count)
            tools.bucket.take(max(0, count), tools.over)
            tools.teller.tell(wanted, min(Counter.received, wanted.size), Counter.received, "downloading")
            return None

    return Counter


def _known(wanted: Wanted, error: Exception) -> ReconcilerError:
    """Return what an error of huggingface_hub means to people; its own text may hold a signed address and stays out."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status in (401, 403):
        hint = "accept the licence on the model's page and set HF_TOKEN"
        return AccessError(Problem(wanted.key, f"the Hub refused (HTTP {status})", hint))
    if isinstance(
        error, (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError, errors.RevisionNotFoundError)
    ):
        return NotFoundError(
            Problem(wanted.key, "the Hub has no such file", "it was removed or renamed, or is private")
        )
    words = f"HTTP {status}" if status else type(error).__name__
    return TransferError(Problem(wanted.key, f"huggingface_hub could not bring it: {words}", "run the same again"))


def _of_disk(error: OSError) -> bool:
    import errno

    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EFBIG)


def _place(path: Path, target: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    path.replace(target)
