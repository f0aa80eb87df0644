"""`reconciler schema`: the very file that editors are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli import run

SCHEMA = Path(__file__).parent.parent / "schema" / "manifest.v1.json"


def test_what_is_printed_is_the_file_in_the_repository_to_the_byte(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0

    told = capsys.readouterr()
    assert told.out == SCHEMA.read_text(encoding="utf-8")
    assert told.err == ""


def test_it_is_a_schema_of_the_draft_that_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    from jsonschema import Draft202012Validator

    run(["schema"])
    schema = json.loads(capsys.readouterr().out)

    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)
