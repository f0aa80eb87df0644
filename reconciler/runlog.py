"""The log of runs: whatever a command changed, one JSON line a step; secrets left out, rotated by size.

An apply is logged while it goes, so that one which is killed has told what it did until then. The log is for people and
their log collectors, and nothing here reads it back: the registry and its generations are the record. A log that cannot
be written never fails the run that it tells of.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets as randoms
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.secrets import redact

if TYPE_CHECKING:
    from collections.abc import Container

    from reconciler.manifest import Loaded
    from reconciler.plan import Action, Plan
    from reconciler.receipt import Outcome, Receipt
    from reconciler.settings import Settings
    from reconciler.state import Address

FOLDER = "log"
NAME = "reconciler.jsonl"
LIMIT = 5 << 20
"""Bytes at which the file becomes `reconciler.jsonl.1`."""
KEPT = 5
"""Older files that are kept; the oldest goes."""

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "CIVITAI_TOKEN")

Line = Mapping[str, Any]


def note(loaded: Loaded, command: str, lines: Iterable[Line], chosen: Settings | None = None) -> None:
    """Log what a command did to a manifest or its machine; nothing when there is nothing to tell.

    `chosen` are the settings that hold, None: those of environment and files.
    Where the setting `log_dir` says nothing, it is logged in the manifest's registry, unless there is none yet: a
    command that only writes manifests does not make one. Raise InputError when settings are wrong.
    """
    lines = list(lines)
    if lines:
        begin(loaded, command, chosen)(lines)


def begin(loaded: Loaded, command: str, chosen: Settings | None = None) -> Callable[[Iterable[Line]], None]:
    """Return what logs lines of one run, each time that there is something to tell; otherwise as `note`."""
    from reconciler.settings import load

    log_dir = (chosen or load(os.environ, None, loaded.path)).log_dir
    directory = log_dir or loaded.registry / FOLDER
    common = {"run": randoms.token_hex(6), "command": command, "manifest": str(loaded.path)}

    def tell(lines: Iterable[Line]) -> None:
        if log_dir is not None or loaded.registry.is_dir():
            append(directory, [{"time": _now(), **common, **line} for line in lines])

    return tell


def of_start(plan: Plan, approved: Container[Action]) -> Line:
    """Return the line of an apply that begins: how many steps are to run, and the bytes that they bring."""
    from reconciler.planjson import plan_id

    steps = [step for step in plan.changes if step.action in approved]
    size = sum(step.bytes.download for step in steps)
    return {"event": "start", "plan_id": plan_id(plan), "steps": len(steps), "bytes": size}


def of_outcome(outcome: Outcome) -> Line:
    """Return the line of a step that came to its end."""
    from reconciler.render.receipt import outcome_json

    return {"event": "step", **outcome_json(outcome)}


def of_end(receipt: Receipt, told: Container[Address]) -> list[Line]:
    """Return a line for every step whose end was not `told` yet, and one for the whole."""
    from reconciler.render.receipt import receipt_json

    whole = receipt_json(receipt)
    rest = [of_outcome(outcome) for outcome in receipt.outcomes if outcome.address not in told]
    return [*rest, {"event": "end", **{key: value for key, value in whole.items() if key != "outcomes"}}]


def append(directory: Path, lines: Iterable[Line]) -> bool:
    """Append lines; whether they were written. Text in them loses what looks like a secret."""
    tokens = [os.environ.get(name) for name in _TOKENS]
    text = "".join(json.dumps(_clean(line, tokens), ensure_ascii=True) + "\n" for line in lines)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / NAME
        with _alone(directory):
            _rotate(path, len(text))
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, text.encode())  # in one piece, for whoever reads it meanwhile
            finally:
                os.close(fd)
    except OSError:
        return False
    return True


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other runs from rotating or writing meanwhile.

    A log is in nobody's way: one that somebody keeps for longer than two seconds, and one on a file system without
    locks, is written all the same.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(200):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(fd)


def _rotate(path: Path, coming: int) -> None:
    try:
        size = path.lstat().st_size
    except FileNotFoundError:
        return
    if not size or size + coming <= LIMIT:
        return
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{NAME}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{NAME}.{number + 1}"))
    path.replace(path.with_name(f"{NAME}.1"))


def _clean(value: Any, tokens: Iterable[str | None]) -> Any:
    if isinstance(value, str):
        return redact(value, tokens)
    if isinstance(value, Mapping):
        return {str(key): _clean(each, tokens) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each, tokens) for each in value]
    return value


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")
