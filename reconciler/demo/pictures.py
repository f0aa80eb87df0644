"""Look for oneself whether image models, their pictures and notes are as they should be; in the logs, who sent what."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from reconciler.demo import evidence
from reconciler.demo.stage import Stage
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import png

TOKEN = "civitai_of_the_demo"  # noqa: S105 - it opens nothing but the embedded Civitai
"""The token of an account at the embedded Civitai."""

_ROOTS = ("ComfyUI/models", "webui", "old/ComfyUI/models")


def civitai(stage: Stage) -> Civitai:
    """Return the Civitai of the tour."""
    return cast("Civitai", stage.servers["civitai"])


def reset(stage: Stage) -> None:
    """Begin the logs of both servers anew."""
    stage.hub.reset_log()
    civitai(stage).reset_log()


def weights_sent(stage: Stage) -> int:
    """Return how many bytes of weights the hub and Civitai sent since `reset`; pictures are none."""
    return evidence.weights_sent(stage) + sum(int(each.bytes_sent) for each in _downloads(stage))


def sent_twice(stage: Stage) -> list[str]:
    """Return the files of Civitai of which more bytes went out than they have, but for one asked to find an address."""
    sent: Counter[str] = Counter()
    for each in _downloads(stage):
        sent[each.path] += each.bytes_sent
    sizes = {
        f"/{version.number}/{file.number}/": file.blob.size
        for version in civitai(stage).versions.values()
        for file in version.files
    }
    return [
        path
        for path, count in sent.items()
        if count > 1024 + next(size for part, size in sizes.items() if part in path)
    ]


def report(stage: Stage) -> Mapping[str, Mapping[str, str]]:
    """Return the rows of pages.csv, by page."""
    with (stage.directory / "pages.csv").open(newline="", encoding="utf-8") as file:
        return {row["file_path"]: row for row in csv.DictReader(file)}


def variants(stage: Stage) -> list[str]:
    """Return the names in the lock."""
    return sorted(evidence.locked(stage))


def matching(stage: Stage) -> tuple[int, int]:
    """Return how many files of weights and pictures the lock names, but for what is blocked, and how many are here."""
    rows = [
        file["digest"].partition(":")[2]
        for name, entry in evidence.locked(stage).items()
        if name != "depth"
        for file in entry["files"]
    ]
    here = {hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(stage)}
    return len(rows), sum(digest in here for digest in rows)


def rated_pg() -> bytes:
    """Return the second picture of the first model: the first one is not for everybody."""
    return png(2)


def is_plain_info(stem: Path) -> bool:
    """Whether a `.civitai.info` is JSON without any long text that could be a picture."""
    path = stem.with_name(f"{stem.name}.civitai.info")
    told = json.loads(path.read_bytes())
    return told["modelId"] == 1001 and "base64" not in path.read_text("utf-8") and path.stat().st_size < 1 << 14


def check_token(stage: Stage) -> None:
    """Check that the token went to Civitai alone, and stands in no file."""
    requests = [*stage.hub.requests, *(each for each in civitai(stage).requests if each.origin == "cdn")]
    abroad = [each for each in requests if TOKEN in str(each)]
    asked = [each for each in civitai(stage).requests if TOKEN in each.headers.get("authorization", "")]
    stage.check(f"the token went with {len(asked)} requests to Civitai, and to no other origin", asked and not abroad)  # type: ignore[arg-type]
    stage.check("no file below the demo's directory holds it", not evidence.files_with(stage.directory, TOKEN))


def verdicts(stage: Stage) -> Mapping[str, str]:
    """Return what `detect` says of every page, by its name."""
    return {
        Path(page["file_path"]).stem: page["verdict"] for page in evidence.told(stage, "detect", "catalog")["pages"]
    }


def _downloads(stage: Stage) -> list[Any]:
    return [each for each in civitai(stage).requests if each.origin == "cdn" and "/model/" in each.path]


def _files(stage: Stage) -> list[Path]:
    found = (path for root in _ROOTS for path in (stage.directory / root).rglob("*"))
    return [path for path in found if path.is_file() and ".reconciler" not in path.parts]
