"""What the loopback Civitai holds: models, versions, files, previews; and how its API words them. No sockets.

The shapes are those of the answers of https://developer.civitai.com/site/reference/model-versions and .../models.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlencode

from reconciler.hub.repos import Blob

Mode = Literal["Archived", "TakenDown"]
Usage = Literal["Download", "Generation", "InternalGeneration"]

_EDGE = "xG1nkqKTMzGDvpLrqFT7WA"


@dataclass(frozen=True)
class AssetFile:
    """One file of a version. `claims` replaces what the API says of it: sizeKB, hashes, name, scan results."""

    number: int
    name: str
    blob: Blob
    kind: str = "Model"
    primary: bool = False
    metadata: Mapping[str, str | None] = field(default_factory=lambda: {"format": "SafeTensor"})
    public: bool = True
    claims: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The hashes that Civitai records, as it writes them: upper case."""
        data = b"".join(bytes(block) for block in self.blob.blocks())
        sha256 = self.blob.sha256
        found = {
            "AutoV1": hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8],
            "AutoV2": sha256[:10],
            "SHA256": sha256,
            "CRC32": f"{zlib.crc32(data):08x}",
        }
        if self.name.endswith(".safetensors") and len(data) > 8:
            header = struct.unpack("<Q", data[:8])[0]
            found["AutoV3"] = hashlib.sha256(data[8 + header :]).hexdigest()[:12]
        return {kind: text.upper() for kind, text in found.items()}


@dataclass(frozen=True)
class Preview:
    """A picture or video. `told` is the extension in its address, whatever the bytes are; `level` its nsfw level."""

    number: int
    content: bytes
    told: str = "jpeg"
    level: int = 1
    kind: Literal["image", "video"] = "image"
    width: int = 16
    height: int = 24

    @property
    def path(self) -> str:
        """Where it is served, below the origin of pictures."""
        unique = hashlib.sha256(b"preview %d" % self.number).hexdigest()
        return f"/{_EDGE}/{unique[:8]}-{unique[8:12]}-{unique[12:16]}/original=true/{self.number}.{self.told}"


@dataclass
class Version:
    """One release of a model. Times are unix seconds; `early_access` is when it ends."""

    number: int
    model: Model
    name: str
    files: list[AssetFile]
    previews: list[Preview] = field(default_factory=list)
    base_model: str = "SDXL 1.0"
    air: str | None = None
    trained_words: Sequence[str] = ()
    description: str | None = None
    published: str = "2025-03-01T12:00:00.000Z"
    status: str = "Published"
    early_access: float | None = None
    paid: bool = False
    usage: Usage = "Download"
    level: int = 1

    @property
    def open_files(self) -> list[AssetFile]:
        """The files that everybody sees."""
        return [file for file in self.files if file.public]


@dataclass
class Model:
    """A model; `versions` newest first. `gone` is the status that answers whoever asks for it, once it is."""

    number: int
    name: str
    type: str = "LORA"
    description: str = "<p>A <strong>small</strong> model.</p>"
    mode: Mode | None = None
    gone: int | None = None
    creator: str = "acme"
    level: int = 1
    tags: Sequence[str] = ("style",)
    allow_no_credit: bool = True
    allow_commercial_use: Sequence[str] | str = ("Image", "RentCivit", "Rent", "Sell")
    allow_derivatives: bool = True
    allow_different_license: bool = True
    versions: list[Version] = field(default_factory=list)


def files_of(files: Mapping[str, bytes] | Iterable[AssetFile], numbers: Iterable[int]) -> list[AssetFile]:
    """Return files of a version: of names and bytes the first is the primary one."""
    if not isinstance(files, Mapping):
        return list(files)
    forms = {"pt": "PickleTensor", "ckpt": "PickleTensor", "gguf": "GGUF", "yaml": "Other", "zip": "Other"}
    return [
        AssetFile(
            number,
            name,
            Blob(content),
            primary=at == 0,
            metadata={"format": forms.get(name.rpartition(".")[2], "SafeTensor")},
        )
        for at, ((name, content), number) in enumerate(zip(files.items(), numbers, strict=False))
    ]


def model_json(model: Model, site: str, pictures: str, now: float) -> dict[str, Any]:
    """Return what `GET /api/v1/models/:id` says; it names no AIR, and no usage control."""
    versions = [version_json(version, site, pictures, now) for version in model.versions if _is_shown(version)]
    for version in versions:
        for key in ("air", "usageControl", "modelId", "model"):
            version.pop(key, None)
    said: dict[str, Any] = {
        "id": model.number,
        "name": model.name,
        "description": model.description,
        "allowNoCredit": model.allow_no_credit,
        "allowCommercialUse": _plain(model.allow_commercial_use),
        "allowDerivatives": model.allow_derivatives,
        "allowDifferentLicense": model.allow_different_license,
        "type": model.type,
        "minor": False,
        "poi": False,
        "nsfw": model.level > 3,
        "nsfwLevel": model.level,
        "availability": "Public",
        "stats": {"downloadCount": int(now) % 100_000, "thumbsUpCount": 416, "commentCount": 12},
        "creator": {"username": model.creator, "image": f"{pictures}/{_EDGE}/width=96/{model.creator}.jpeg"},
        "tags": list(model.tags),
        "modelVersions": versions,
    }
    return said | ({"mode": model.mode} if model.mode else {})


def version_json(version: Version, site: str, pictures: str, now: float) -> dict[str, Any]:
    """Return what `GET /api/v1/model-versions/:id` says. Archived: no files; taken down: no pictures either."""
    model = version.model
    has_files, has_pictures = model.mode is None, model.mode != "TakenDown"
    gated = version.paid or (version.early_access or 0.0) > now
    ends = _date(version.early_access) if version.early_access else None
    said: dict[str, Any] = {
        "id": version.number,
        "modelId": model.number,
        "name": version.name,
        "nsfwLevel": version.level,
        "createdAt": version.published,
        "updatedAt": version.published,
        "status": version.status,
        "publishedAt": version.published,
        "trainedWords": list(version.trained_words),
        "baseModel": version.base_model,
        "baseModelType": "Standard",
        "earlyAccessEndsAt": ends,
        "earlyAccessConfig": {"chargeForDownload": True, "downloadPrice": 500} if gated else None,
        "availability": "EarlyAccess" if gated else "Public",
        "paidAccess": {"permanent": version.paid, "endsAt": None if version.paid else ends} if gated else None,
        "description": version.description,
        "uploadType": "Created",
        "usageControl": version.usage,
        "stats": {"downloadCount": int(now) % 100_000, "thumbsUpCount": 416},
        "model": {"name": model.name, "type": model.type, "nsfw": model.level > 3, "poi": False},
        "files": [_file_json(file, version, site) for file in version.open_files] if has_files else [],
        "images": [_preview_json(each, pictures) for each in version.previews] if has_pictures else [],
    }
    if version.air:
        said["air"] = version.air
    if model.mode:
        said["model"]["mode"] = model.mode
    if has_files:
        said["downloadUrl"] = download_url(site, version)
    return said


def download_url(site: str, version: Version, file: AssetFile | None = None) -> str:
    """Return the address that the API gives: bare for the primary file, else with what should tell the file apart."""
    url = f"{site}/api/download/models/{version.number}"
    if file is None or file.primary:
        return url
    told = {"type": file.kind, **{key: value for key, value in file.metadata.items() if value}}
    return f"{url}?{urlencode(told)}"


def _is_shown(version: Version) -> bool:
    return version.status == "Published"


def _file_json(file: AssetFile, version: Version, site: str) -> dict[str, Any]:
    said = {
        "id": file.number,
        "sizeKB": file.blob.size / 1024,
        "name": file.name,
        "type": file.kind,
        "pickleScanResult": "Success",
        "pickleScanMessage": "No Pickle imports",
        "virusScanResult": "Success",
        "virusScanMessage": None,
        "scannedAt": version.published,
        "metadata": dict(file.metadata),
        "hashes": file.hashes,
        "downloadUrl": download_url(site, version, file),
    }
    return {**said, **({"primary": True} if file.primary else {}), **file.claims}


def _preview_json(preview: Preview, pictures: str) -> dict[str, Any]:
    return {
        "url": f"{pictures}{preview.path}",
        "nsfwLevel": preview.level,
        "width": preview.width,
        "height": preview.height,
        "hash": "U5IiO6s-4Vn+0~EO^5xa00VsL#IU_O?E7yWC",
        "type": preview.kind,
        "hasMeta": True,
        "onSite": False,
    }


def _plain(value: Sequence[str] | str) -> list[str] | str:
    return value if isinstance(value, str) else list(value)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + "000Z"
