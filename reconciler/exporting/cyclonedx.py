"""Variants as a CycloneDX 1.6 bill of materials of machine-learning models, in JSON. Pure.

https://cyclonedx.org/docs/1.6/json/; package URLs of the Hub are those of
https://github.com/package-url/purl-spec/blob/main/types-doc/huggingface-definition.md.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reconciler.air import parse as parse_air
from reconciler.audit.inventory import license_of
from reconciler.ollama import names
from reconciler.references import Reference, parse
from reconciler.secrets import redact

if TYPE_CHECKING:
    from reconciler.audit.inventory import Item
    from reconciler.exporting import Exported
    from reconciler.state import Artifact

_SPDX = {
    each.lower(): each
    for each in (
        "AFL-3.0", "AGPL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear",
        "BSL-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0",
        "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0",
        "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0",
        "ECL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "GFDL-1.3", "GPL-2.0", "GPL-3.0", "ISC", "LGPL-2.1",
        "LGPL-3.0", "LPPL-1.3c", "MIT", "MPL-2.0", "MS-PL", "NCSA", "OFL-1.1", "ODbL-1.0", "OSL-3.0", "PDDL-1.0",
        "PostgreSQL", "Unlicense", "WTFPL", "Zlib", "etalab-2.0",
    )
} | {"odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0"}  # fmt: skip
"""Names that the Hub gives licences, in the spelling of https://spdx.org/licenses/; every other name is a name."""

_FOR_PEOPLE = "https://ollama.com"


def render(exported: Exported) -> str:
    """Return the document. Its serial number follows from what it says, so that equal inputs give equal bytes."""
    components = [_component(item, exported) for item in exported.items]
    body = json.dumps([exported.loaded.name, components], sort_keys=True).encode()
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{hashlib.sha256(body).hexdigest()}")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": _metadata(exported),
        "components": components,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _metadata(exported: Exported) -> dict[str, Any]:
    from reconciler import __version__

    stamp = {"timestamp": exported.timestamp} if exported.timestamp else {}
    tool = {"type": "application", "name": "reconciler", "version": __version__}
    about = {"type": "platform", "bom-ref": f"manifest:{exported.loaded.name}", "name": exported.loaded.name}
    return {**stamp, "tools": {"components": [tool]}, "component": about}


def _component(item: Item, exported: Exported) -> dict[str, Any]:
    pin = item.pin
    files = list(pin.files) if pin else []
    license_ = license_of(item)
    reference = parse(item.source)
    facts = {
        "type": "machine-learning-model",
        "bom-ref": str(item.address) if item.address.location else item.address.variant,
        "name": item.address.variant,
        "version": pin.revision if pin and pin.revision else None,
        "hashes": _hashes(files[0]) if len(files) == 1 else None,
        "licenses": [_license(license_)] if license_ else None,
        "purl": _purl(reference, pin.revision if pin else None, files),
        "externalReferences": _references(item.source, reference, exported, pin.revision if pin else None),
        "modelCard": _card(item),
        "properties": _properties(item),
        "components": [_file(item, file) for file in files] if len(files) > 1 else None,
    }
    return {key: value for key, value in facts.items() if value}


def _file(item: Item, file: Artifact) -> dict[str, Any]:
    """Return one file. A git digest is none of the content alone, and no hash that CycloneDX knows: a property."""
    told: dict[str, Any] = {
        "type": "file", "bom-ref": f"{item.address}#{file.path}", "name": file.path, "hashes": _hashes(file),
        "properties": [_property("size", str(file.size))],
    }  # fmt: skip
    if not told["hashes"]:
        del told["hashes"]
        told["properties"].append(_property("digest", file.digest))
    return told


def _hashes(file: Artifact) -> list[dict[str, str]]:
    kind, _, digest = file.digest.partition(":")
    return [{"alg": "SHA-256", "content": digest}] if kind == "sha256" else []


def _license(text: str) -> Mapping[str, Any]:
    known = _SPDX.get(text.lower())
    return {"license": {"id": known} if known else {"name": text}}


def _purl(reference: Reference, revision: str | None, files: list[Artifact]) -> str | None:
    if reference.scheme == "hf":
        version = f"@{quote(revision.lower(), safe='')}" if revision else ""
        return f"pkg:huggingface/{quote(reference.repository)}{version}"
    if reference.scheme in ("https", "http"):
        name = quote(reference.path.rpartition("/")[2], safe="")
        address = f"{reference.scheme}://{reference.repository}/{quote(reference.path)}"
        hashed = [file.digest for file in files if file.digest.startswith("sha256:")]
        checksum = f"checksum={hashed[0]}&" if len(hashed) == 1 else ""
        return f"pkg:generic/{name}?{checksum}download_url={quote(address, safe=':/')}"
    return None


def _references(source: str, reference: Reference, exported: Exported, revision: str | None) -> list[dict[str, str]]:
    """Return where it comes from; a query may hold a secret and is left out."""
    match reference.scheme:
        case "hf":
            at = f"/tree/{quote(revision, safe='')}" if revision else ""
            url = f"{exported.endpoint}/{quote(reference.repository)}{at}"
        case "https" | "http":
            url = f"{reference.scheme}://{reference.repository}/{quote(reference.path)}"
        case "civitai":
            number = parse_air(source).id if source[:4].lower() == "urn:" else reference.repository
            version = f"?modelVersionId={reference.revision}" if reference.revision else ""
            url = f"{exported.civitai}/models/{number}{version}"
        case "ollama":
            name = names.parse(source.removeprefix(names.SCHEME))
            host = _FOR_PEOPLE if name.host == names.HOST else f"https://{name.host}"
            url = f"{host}/{name.namespace}/{name.model}:{name.tag}"
        case _:
            return []
    return [{"type": "distribution", "url": url}]


def _card(item: Item) -> dict[str, Any] | None:
    told = item.record.told if item.record else {}
    said = {"architectureFamily": told.get("architecture"), "task": told.get("kind")}
    parameters = {key: value for key, value in said.items() if isinstance(value, str)}
    return {"modelParameters": parameters} if parameters else None


def _properties(item: Item) -> list[dict[str, str]]:
    said = item.attributes
    facts = {
        "source": redact(item.source), "location": item.address.location, "format": said.format, "quant": said.quant,
        "backend": said.backend, "served_as": said.served_as, "size": str(item.size),
        "roles": ", ".join(role for role, _ in said.roles), "recorded": "true" if item.record else "false",
    }  # fmt: skip
    return [_property(key, value) for key, value in facts.items() if value]


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"reconciler:{name}", "value": value}
