"""`reconciler schema`: the JSON Schema of a manifest, for editors and for CI."""

from __future__ import annotations

from reconciler.cli import streams


def command() -> int:
    """Print the JSON Schema of a manifest (draft 2020-12).

    An editor with a YAML language server checks a manifest against it when its first line names it:
    `# yaml-language-server: $schema=./manifest.v1.json`

    \b
    Examples:
      reconciler schema > manifest.v1.json
      check-jsonschema --schemafile manifest.v1.json manifests/*.yaml

    \b
    Exit codes: 0 printed.
    """
    from reconciler.manifest import schema_text

    streams.say(schema_text())
    return 0
