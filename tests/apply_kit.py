"""A machine for one test: a manifest, its lock, some locations, the whole program, and a network that is a dict."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from reconciler import cli, lockfile
from reconciler.disk import disk_error
from reconciler.download import Arrived, Failed, Progress, Wanted
from reconciler.errors import TransferError
from reconciler.lockfile import Lock
from reconciler.state import Artifact, Digest, Pin

Files = Mapping[str, bytes]


def sha256(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def commit(number: int) -> str:
    return f"{number:040x}"


def pin(source: str, revision: int, files: Files) -> Pin:
    """Return the pin of a repository that holds these files at commit `revision`."""
    artifacts = tuple(Artifact(path, len(data), sha256(data)) for path, data in sorted(files.items()))
    return Pin(source, commit(revision), artifacts, "apache-2.0")


@dataclass
class FakeDownloader:
    """The Downloader port over a dict: digest -> bytes. `before` is called before each file, and may raise."""

    bytes_of: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    before: Callable[[Wanted], object] = lambda _: None
    fetched: list[str] = field(default_factory=list)
    name: str = "a dict"

    def fetch(self, wanted: Sequence[Wanted], watch: Callable[[Progress], None]) -> Iterator[Arrived | Failed]:
        for item in wanted:
            self.before(item)
            path = item.stage / item.name
            if path.exists() and path.read_bytes() == self.bytes_of[item.digest]:
                yield Arrived(item, path, 0, 0.0)
                continue
            if item.digest in self.broken:
                error = self.broken[item.digest]
                yield Failed(item, error if isinstance(error, TransferError) else TransferError(str(error)))
                continue
            data = self.bytes_of[item.digest]
            try:
                _stage(item, data)
            except OSError as error:
                yield Failed(item, disk_error(error, str(path)))
                continue
            self.fetched.append(item.key)
            watch(Progress(item.key, len(data), len(data), len(data), "done"))
            yield Arrived(item, path, len(data), 0.0)


def _stage(item: Wanted, data: bytes) -> None:
    partial = item.stage / f"{item.name}_part"
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(partial, item.stage / item.name)


class Ran(NamedTuple):
    """One run of the program."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def ran(words: Sequence[str]) -> Ran:
    """Run the program in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(words)
    return Ran(code, out.getvalue(), err.getvalue())


@dataclass
class Ground:
    """One machine below `path`. Locations are directories of it; the manifest is `ws.yaml`."""

    path: Path
    net: FakeDownloader
    pins: dict[str, Pin] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        return self.path / "ws.yaml"

    @property
    def registry(self) -> Path:
        return self.path / "registry"

    def declare(
        self, variants: Mapping[str, tuple[str, int, Files] | tuple[str, int, Files, dict[str, Any]]],
        *, locations: Mapping[str, str] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """Write manifest and lock: name -> (source, commit, files, further fields)."""
        stores = locations or {"main": "huggingface"}
        self.spec = {
            "version": 1, "name": "ws", "registry": str(self.registry),
            "locations": {name: {"store": store, "root": str(self.path / name)} for name, store in stores.items()},
            "variants": {},
            "policy": {"max_remove": "100%", "min_free": "0B", "keep_trash": "14d"},
        } | more  # fmt: skip
        pins = {}
        for name, (source, revision, files, *extra) in variants.items():
            said = extra[0] if extra else {}
            self.spec["variants"][name] = {"source": source, "location": next(iter(stores)), **said}
            pins[name] = pin(source, revision, files)
            self.net.bytes_of.update((sha256(data), data) for data in files.values())
        self.manifest.write_text(yaml.safe_dump(self.spec, sort_keys=False))
        lockfile.write(lockfile.path_for(self.manifest), Lock(pins=pins))

    def run(self, *arguments: str) -> Ran:
        """Run the program in this process; the manifest goes second unless the arguments name one."""
        words = [arguments[0], *arguments[1:]]
        if not any(word.endswith((".yaml", ".json")) for word in words[1:]):
            words.insert(1, str(self.manifest))
        return ran(words)

    def apply(self, *arguments: str) -> Ran:
        return self.run("apply", "--yes", *arguments)

    def steps(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the steps of the plan that are not `keep`."""
        plan = json.loads(self.run("plan", "--json", *arguments).out)
        return [step for step in plan["steps"] if step["action"] != "keep" or step["blocked"]]

    def files(self, location: str = "main") -> dict[str, bytes]:
        """Return every regular file of a location, its house left out."""
        root = self.path / location
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.is_symlink() and ".reconciler" not in str(path.relative_to(self.path))
        }

    def links(self, location: str = "main") -> dict[str, str]:
        root = self.path / location
        return {str(path.relative_to(root)): os.readlink(path) for path in sorted(root.rglob("*")) if path.is_symlink()}

    def house(self, location: str = "main") -> Path:
        beside = self.path / f".reconciler-{location}"
        return beside if beside.exists() else self.path / location / ".reconciler"

    def trash(self, location: str = "main") -> dict[str, bytes]:
        folder = self.house(location) / "trash"
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith("_info")}

    def stage(self, location: str = "main") -> list[str]:
        folder = self.house(location) / "stage"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def journals(self) -> list[str]:
        folder = self.registry / "journal"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what serving tools read, by name."""
        return {entry["name"]: entry for entry in json.loads((self.registry / "model_registry.json").read_bytes())}

    def litter(self) -> list[str]:
        """Name everything that an apply should not have left behind."""
        found = [f"journal/{name}" for name in self.journals()]
        for name in self.spec["locations"]:
            house = self.house(name)
            if not house.exists():
                continue
            found += [f"{name}/stage/{each}" for each in self.stage(name)]
            trash = set(os.listdir(house / "trash"))
            found += [f"{name}/trash/{each}" for each in trash if each.endswith("_info") and each[:-5] not in trash]
            found += [
                f"{name}/trash/{each}" for each in trash if not each.endswith("_info") and f"{each}_info" not in trash
            ]
        found += [str(path) for path in self.path.rglob("*") if path.name.endswith(".reconciler-tmp")]
        return found + [str(path) for path in (self.registry / "generations").glob(".partial*")]


@contextlib.contextmanager
def fake_network(net: FakeDownloader) -> Iterator[None]:
    """Put the dict where the network was: the Downloader port, and the question whether upstream would let us."""
    from reconciler import download, sources

    def open_downloader(*_: object, **__: object) -> contextlib.AbstractContextManager[FakeDownloader]:
        return contextlib.nullcontext(net)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "open_downloader", open_downloader)
        patch.setattr(sources, "access", lambda *_: None)
        yield


def content(seed: int, size: int = 3000) -> bytes:
    """Bytes that no two seeds share."""
    return hashlib.shake_128(str(seed).encode()).digest(size)
