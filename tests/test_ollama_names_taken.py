"""What others did to an Ollama store while, or after, we were at work in it."""

from __future__ import annotations

import os

import ollama_box_kit
import ollama_kit
import pytest
from ollama_box_kit import Box

from reconciler.apply import settle

registry, box, either = ollama_box_kit.registry, ollama_box_kit.box, ollama_kit.either


def test_undo_after_mere_pruning_undoes_no_model(box: Box) -> None:
    box.declare({"tiny-a": {}})
    box.applied()
    orphan = box.models / "blobs" / f"sha256-{'ab' * 32}"
    orphan.write_bytes(b"nobody names this")
    os.utime(orphan, (1, 1))
    assert "orphan-blob" in box.applied().text

    ran = box.run("undo", "--yes")

    assert ran.code == 1
    assert "only pruned 1 blobs that no model named" in ran.text
    assert "--to" in ran.text
    assert len(box.listed()) == 1


def test_a_model_that_takes_the_name_while_ours_is_placed_stays_and_ours_is_not_told_as_done(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.declare({"tiny-a": {"served_as": "mine"}})
    path = box.models / "manifests/registry.ollama.ai/library/mine/latest"
    real = settle._make_extras

    def taken(site: object, deed: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"another": "model"}')
        real(site, deed)  # type: ignore[arg-type]

    monkeypatch.setattr(settle, "_make_extras", taken)

    ran = box.apply()

    assert ran.code == 5
    assert "another model has taken the name meanwhile" in ran.text
    assert path.read_text() == '{"another": "model"}'
