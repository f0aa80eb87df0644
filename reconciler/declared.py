"""What a manifest may say: its models. Imported by `manifest` only, because pydantic is heavy."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from reconciler import modelfields, sources
from reconciler.inert import inert
from reconciler.paths import check_component, check_relative, check_root
from reconciler.rulefields import MAX_RULES, Rule
from reconciler.scalars import DAY, Glob, Patterns, Ratio, Size, Span, Text, check_text
from reconciler.ui.companions import Companion
from reconciler.ui.declaring import SCHEMA as IMAGES_SCHEMA
from reconciler.ui.declaring import Preview, Subfolder, Template, of_images_only
from reconciler.ui.kinds import UIS, Kind
from reconciler.ui.previews import Rating

MAX_NAME = 128
"""Characters in the name of a variant, location or role."""
MAX_PLACES = 256
"""Locations, and routes: each variant may have to be held against every one."""

_NAME = re.compile(r"[^\W_][\w.+()-]*")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_name(name: str) -> str:
    """Return `name` when it may name a variant, a location or a role; raise ValueError with the reason.

    Letters and digits of any script, `.`, `_`, `-`, `+` and parentheses; it begins with a letter or digit. `@` parts
    a variant from its location in addresses, and `/`, `:` and `*` mean something in paths, origins and globs.
    """
    if len(name) > MAX_NAME:
        raise ValueError(f"a name of {len(name)} characters; {MAX_NAME} are allowed")
    if not _NAME.fullmatch(name):
        bad = next((c for c in name if not _NAME.fullmatch("a" + c)), name[:1])
        raise ValueError(
            f"`{inert(bad)}` in the name `{inert(name)}`; "
            "expected letters, digits and `._-+()`, beginning with a letter or digit"
        )
    if not unicodedata.is_normalized("NFC", name):
        raise ValueError(f"the name `{inert(name)}` is not in Unicode's composed form (NFC)")
    return check_component(name)


def _check_digests(value: Any) -> Any:
    """A sha256 for the only file, or a map from path to sha256; in lower case."""
    if isinstance(value, dict) and value:
        return {check_relative(path): _sha256(digest, path) for path, digest in value.items()}
    return _sha256(value, "")


def _sha256(value: Any, path: str) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        of = f" for `{inert(path)}`" if path else ""
        raise ValueError(f"expected 64 hexadecimal digits{of}, found `{inert(str(value))[:80]}`")
    return value.lower()


def _check_metadata(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds an infinity or NaN, which the JSON of the record has not")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_metadata(inner)
    return value


_NAME_SCHEMA = {
    "type": "string",
    "maxLength": MAX_NAME,
    # No script is left out, so the class says what is not allowed; Python's and ECMAScript's engines agree on it.
    "pattern": r"""^[^\s@/\\:*?"<>|\[\]{}#,;!$%&'=^~`.+()_-][^\s@/\\:*?"<>|\[\]{}#,;!$%&'=^~`]*$""",
}
Name = Annotated[str, AfterValidator(check_name), WithJsonSchema(_NAME_SCHEMA)]
Root = Annotated[str, AfterValidator(check_root), WithJsonSchema({"type": "string", "pattern": r"^(/|~(/|$))"})]
Source = Annotated[str, AfterValidator(check_text), WithJsonSchema({"type": "string", "pattern": "^[a-z]+:.+"})]
Digests = Annotated[
    str | dict[str, str],
    BeforeValidator(_check_digests),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                },
            ]
        }
    ),
]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Location(_Declared):
    """A place on this machine. `store` says how files are arranged below `root`."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"store": {"const": "ollama"}}, "required": ["store"]},
            "then": {"properties": {"root": False}},
            "else": {"required": ["root"], "properties": {"url": False, "models": False}},
            **IMAGES_SCHEMA,
        }
    )

    store: Literal[
        "huggingface", "lmstudio", "flat", "hf-cache", "ollama", "comfyui", "a1111", "forge", "sdnext"
    ]  # fmt: skip
    """How files are arranged: as serving tools expect them (`huggingface`, `lmstudio`), plainly (`flat`), or as in the
    Hub's own cache (`hf-cache`); in an Ollama's store (`ollama`); or in a folder for each kind of image model, as
    ComfyUI (`comfyui`) and the web UIs `a1111`, `forge` and `sdnext` have them."""
    root: Root | None = Field(default=None, examples=["~/ai-models/weights", "/mnt/d/models"])
    """The directory: absolute, or below `~`. No environment variables, no `..`. Every store but `ollama` has one."""
    url: modelfields.Server | None = Field(default=None, examples=["http://127.0.0.1:11434"])
    """Of an `ollama` location: where its server listens; without it as `OLLAMA_HOST` says, else on this machine."""
    models: Root | None = Field(default=None, examples=["/usr/share/ollama/.ollama/models"])
    """Of an `ollama` location: the directory of its store, where that is on this machine; without it, it is found."""

    names: Template | None = Field(default=None, examples=["{stem}-mid_{model}-vid_{version}"])
    """Of a location of image models: how files are named; without it, as upstream names them."""
    companions: tuple[Companion, ...] = Field(default=(), examples=[["preview", "markdown"]])
    """Of a location of image models: what lies beside each model."""
    rating: Rating = "pg"
    """Of a location of image models: the most that a preview may show, in Civitai's levels."""
    extra_model_paths: Root | None = Field(default=None, examples=["~/ComfyUI/extra_model_paths.yaml"])
    """Of a `comfyui` location: the file in which ComfyUI is told of more folders. It is read, never written."""

    @model_validator(mode="after")
    def _says_what_its_store_has(self) -> Location:
        of_images_only(self.model_fields_set, self.store, UIS)
        return self

    @model_validator(mode="after")
    def _says_where(self) -> Location:
        if self.store == "ollama":
            if self.root is not None:
                raise ValueError("an `ollama` location has `url` and `models`, not `root`")
        elif self.root is None:
            raise ValueError(f"a `{self.store}` location says where its files are: `root` is missing")
        elif self.url is not None or self.models is not None:
            raise ValueError("`url` and `models` belong to `ollama` locations; `root` says where files are")
        return self


class Route(_Declared):
    """Where variants without `location` go. Every condition given must hold; the first route that matches wins."""

    location: Name
    """The location that takes what matches."""
    format: Glob | None = Field(default=None, examples=["gguf", "safetensors"])
    """A glob over the format, declared or detected; case does not count."""
    backend: Glob | None = Field(default=None, examples=["vllm"])
    """A glob over the declared backend; case does not count."""
    quant: Glob | None = Field(default=None, examples=["q4_*"])
    """A glob over the quantisation, declared or detected; case does not count."""
    source: Glob | None = Field(default=None, examples=["hf:bartowski/*"])
    """A glob over the source; case does not count and `*` crosses `/`."""


class HandPin(_Declared):
    """A pin by hand: what must never be anything else."""

    revision: Text | None = Field(default=None, examples=["fdcc0a4c3e2d5a3c1e9a5e3c8b0b3c6d7e8f9a0b"])
    """The exact commit, tag or version, of an Ollama model the digest of its manifest; text, even where it looks like a
    number."""
    sha256: Digests | None = None
    """The digest of the only file, or a map from path to digest: 64 hexadecimal digits each."""

    @model_validator(mode="after")
    def _pins_something(self) -> HandPin:
        if self.revision is None and self.sha256 is None:
            raise ValueError("pins nothing; expected `revision`, `sha256` or both")
        return self


class Variant(_Declared):
    """One build of a model in one place for one backend. Its key is its name everywhere."""

    insecure: StrictBool = False
    """Allows a source without TLS, or one on this machine or in a private network."""
    source: Source = Field(
        examples=["hf:Qwen/Qwen2.5-VL-7B-Instruct-AWQ", "hf:owner/repo@branch", "https://…/file.gguf"]
    )
    """Where the bytes come from: `hf:owner/repo[@revision]`, `ollama:[host/][namespace/]model[:tag]`, `https://…` or
    `file:…`."""
    files: Patterns = Field(default=(), examples=[["*Q4_K_M.gguf"]])
    """Globs of the files to take; without it, all. A pattern without `/` means the base name in any directory."""
    exclude: Patterns = Field(default=(), examples=[["*.bin", "original/**"]])
    """Globs of files to leave out; stronger than `files`."""
    location: Name | None = None
    """The location; without it, the first route that matches, or the only location there is."""
    backend: Text | None = Field(default=None, examples=["vllm", "lmstudio"])
    """What serves it."""
    format: Text | None = Field(default=None, examples=["safetensors", "gguf"])
    """The format it is claimed to have; checked against what is detected."""
    quant: Text | None = Field(default=None, examples=["awq", "q4_k_m"])
    """The quantisation it is claimed to have; checked against what is detected."""
    served_as: Text | None = None
    """The name under which a server offers it."""
    kind: Kind | None = Field(default=None, examples=["lora"])
    """What an image model is for, where nothing else tells it: it decides the folder."""
    subfolder: Subfolder | None = Field(default=None, examples=["flux/styles"])
    """Of an image model: directories below the folder of its kind."""
    preview: Preview | None = Field(default=None, examples=["none", "https://example.org/picture.png"])
    """Of an image model: the picture or video beside it, or `none`; without it the first that `rating` allows."""
    support: Source | None = Field(default=None, examples=["hf:Qwen/Qwen2.5-7B-Instruct"])
    """A repository that lends config and tokenizer files which the source lacks."""
    license: Text | None = Field(default=None, examples=["apache-2.0"])
    """The licence; recorded, and told by the Ollama models that are made here."""
    template: modelfields.Template | None = Field(default=None, examples=["{{ .System }} {{ .Prompt }}"])
    """Of an Ollama model: how a prompt is put together, in Go's template language."""
    system: modelfields.LongText | None = Field(default=None, examples=["You answer in one sentence."])
    """Of an Ollama model: the system text that it has when a request brings none."""
    parameters: modelfields.Parameters | None = None
    """Of an Ollama model: what a server is to run it with."""
    adapters: Patterns = Field(default=(), examples=[["*lora*.gguf"]])
    """Of an Ollama model made of a GGUF: globs of the source's files that are adapters to it."""
    protect: StrictBool = False
    """Never removed by a plan, even when no longer declared."""
    lock: HandPin | None = None
    """A pin by hand; the lock file must agree with it."""
    metadata: Annotated[dict[str, Any], AfterValidator(_check_metadata)] = Field(default_factory=dict)
    """Anything else to keep in the record; handed on as it is."""

    @field_validator("source", "support", "preview")
    @classmethod
    def _a_source_we_know(cls, reference: str | None, info: ValidationInfo) -> str | None:
        if reference is not None and reference != "none":
            # `insecure` is declared first, so that it is known here.
            sources.check(reference, insecure=info.data.get("insecure", False))
        return reference

    @model_validator(mode="after")
    def _a_model_of_ollama_is_whole(self) -> Variant:
        if sources.scheme_of(self.source) == "ollama":
            for key in ("files", "exclude", "support"):
                if getattr(self, key):
                    raise ValueError(
                        f"`{key}` does not go with an `ollama:` source: a model is taken whole (remove it)"
                    )
        return self


class Policy(_Declared):
    """Limits on what a plan may do."""

    max_remove: Ratio = Field(default=0.3, examples=["30%"])
    """The share of managed variants that one plan may remove, once there are 4 or more."""
    min_free: Size = Field(default=0, examples=["20GiB"])
    """Free space that must be left in a location's file system."""
    pickle: Literal["deny", "allow"] = "deny"
    """Whether pickle files, which can run code when they are loaded, may come."""
    keep_trash: Span = Field(default=14 * DAY, examples=["14d"])
    """How long removed and replaced files wait in the trash before `gc` may free them."""
    stale_records: Literal["report", "prune"] = "report"
    """What becomes of entries in the registry that no manifest manages and that speak of nothing, are marked as
    deprecated, or repeat another entry: they are told, or taken out of the tool's own layer."""
    duplicates: Literal["report", "link"] = "report"
    """What becomes of managed files of the same bytes on one file system: `reconciler duplicates` tells them, or plans
    make them names of one file."""
    rules: tuple[Rule, ...] = Field(
        default=(), max_length=MAX_RULES, examples=[[{"rule": "license", "allow": ["apache-2.0", "mit"]}]]
    )
    """What variants that arrive or change must keep to; every rule holds."""


class Manifest(_Declared):
    """A Reconciler manifest: what should be on this machine, and where."""

    version: Literal[1]
    """The version of this format: 1."""
    name: Name | None = Field(default=None, examples=["workstation"])
    """The manifest's name; what it places is recorded as managed by that name. Without it, by the file's path."""
    registry: Root | None = Field(default=None, examples=["~/ai-models/registry"])
    """The directory of the record; without it `~/.local/share/reconciler/registry`."""
    locations: dict[Name, Location] = Field(default_factory=dict, max_length=MAX_PLACES)
    """Places on this machine, by name."""
    routes: list[Route] = Field(default_factory=list, max_length=MAX_PLACES)
    """Where variants without `location` go; the first match wins."""
    variants: dict[Name, Variant] = Field(default_factory=dict)
    """What should be there, by name."""
    roles: dict[Name, list[str]] = Field(default_factory=dict, examples=[{"chat": ["llama-3.2-3b-q4_k_m"]}])
    """What variants serve: role -> variants in order of preference."""
    policy: Policy = Field(default=Policy())
    """What every plan must keep to."""

    @field_validator("version", mode="before")
    @classmethod
    def _a_version_we_read(cls, value: Any) -> Any:
        if type(value) is not int or value != 1:
            raise ValueError(
                f"expected `version: 1`, the only one that this program reads; found `{inert(str(value))[:80]}`"
            )
        return value
