"""A machine with a small Hub and a small Civitai, and the real command line, for imports of image models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Shell

from reconciler import lockfile
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model
from reconciler.hub.server import Hub
from reconciler.manifest import Loaded, load
from reconciler.state import Pin

TOKEN = "c1v1ta1CANARYcanaryCANARY6543210"
DETAIL, HIGH, LOW = (image_model("lora", seed) for seed in (11, 12, 13))
VAE, OTHER = (image_model("checkpoint", seed) for seed in (14, 15))


class Studio(Shell):
    """A directory to stand in; `someone/parts` on the Hub, models 1101 and 1103 on Civitai."""

    def __init__(self, here: Path, hub: Hub, civitai: Civitai, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(capsys)
        self.here, self.hub, self.civitai = here, hub, civitai
        files = {"vae.safetensors": VAE, "nested/vae.safetensors": OTHER, "split/loras/soft.safetensors": OTHER}
        self.commit = hub.add("someone/parts", files)
        civitai.add_model(1101, "Detail")
        civitai.add_version(1101, 2202, {"detail.safetensors": DETAIL}, ecosystem="sdxl")
        civitai.add_model(1103, "Halves")
        civitai.add_version(1103, 2204, {"halves_high.safetensors": HIGH}, ecosystem="video")
        civitai.add_version(1103, 2205, {"halves_low.safetensors": LOW}, ecosystem="video")

    def page(self, name: str, body: str, front: str = "") -> None:
        """Write a page of the catalog with one fence of bash."""
        path = self.here / "vault" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\ntitle: {Path(name).name}\n{front}---\n\n```bash\n{body}\n```\n")

    def loaded(self) -> Loaded:
        """Return the manifest."""
        return load(self.here / "box.yaml")

    def said(self) -> dict[str, dict[str, Any]]:
        """Return what the manifest says of each variant."""
        variants = self.loaded().manifest.variants
        return {name: variant.model_dump(exclude_defaults=True) for name, variant in variants.items()}

    def pins(self) -> Mapping[str, Pin]:
        """Return the lock's pins."""
        lock = lockfile.read(lockfile.path_for(self.here / "box.yaml"))
        return lock.pins if lock else {}


@contextmanager
def a_studio(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Studio]:
    """Start both servers and stand in an empty directory; the home is this test's own."""
    with Hub() as hub, Civitai(token=TOKEN) as civitai:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
        monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
        monkeypatch.chdir(here)
        yield Studio(here, hub, civitai, capsys)


def rows(report: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return what -> why of the report's rows of one kind."""
    return {row["what"]: row["why"] for row in report["rows"] if row["kind"] == kind}
