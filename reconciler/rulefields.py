"""What a manifest may say under `policy.rules`: the type for `declared`. Loads pydantic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from reconciler.inert import inert
from reconciler.scalars import Size, check_text, parse_ratio, parse_size

MAX_RULES = 64
MAX_GLOBS = 256

ALLOWED: dict[str, tuple[str, ...]] = {
    "license": ("allow", "deny"),
    "namespace": ("allow", "deny"),
    "format": ("allow", "deny"),
    "size": ("max",),
    "free_space": ("min",),
    "pickle": ("allow",),
    "code": ("allow",),
    "gated": (),
}
"""Kind of rule -> the keys that it has besides those of every rule."""

_NEEDED: dict[str, str] = {"size": "max", "free_space": "min"}
_LISTS = ("license", "namespace", "format")
"""Kinds that say nothing without `allow` or `deny`."""


def _room(value: Any) -> Any:
    """A share (float) or bytes (int)."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        return parse_ratio(value)
    if isinstance(value, float | bool):
        raise ValueError(f"expected a share such as `10%` or a size such as `20GiB`, found `{inert(str(value))[:80]}`")
    return parse_size(value)


def _some(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not 0 < len(patterns) <= MAX_GLOBS:
        raise ValueError(f"expected 1 to {MAX_GLOBS} globs, found {len(patterns)}")
    for pattern in patterns:
        if pattern.count("*") > 16:
            raise ValueError(f"`{inert(pattern)[:120]}`: a pattern with more than 16 `*`")
    return patterns


Room = Annotated[
    int | float,
    BeforeValidator(_room),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(%|([KMGTPkmgtp]i?)?[Bb]?)$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
Globs = Annotated[
    tuple[Annotated[str, AfterValidator(check_text)], ...],
    AfterValidator(_some),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 1024},
            "minItems": 1,
            "maxItems": MAX_GLOBS,
        }
    ),
]


def _schema() -> dict[str, Any]:
    keys = ("allow", "deny", "max", "min")
    conditions: list[dict[str, Any]] = []
    for kind, allowed in ALLOWED.items():
        then: dict[str, Any] = {"properties": {key: False for key in keys if key not in allowed}}
        if kind in _NEEDED:
            then["required"] = [_NEEDED[kind]]
        if kind in _LISTS:
            then["anyOf"] = [{"required": ["allow"]}, {"required": ["deny"]}]
        conditions.append({"if": {"properties": {"rule": {"const": kind}}, "required": ["rule"]}, "then": then})
    return {"allOf": conditions}


class Rule(BaseModel):
    """What variants that arrive or change must keep to."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_schema())

    rule: Literal["license", "namespace", "format", "size", "free_space", "pickle", "code", "gated"] = Field(
        examples=["license"]
    )
    """What the rule is about."""
    severity: Literal["error", "warning", "info"] = "error"
    """What becomes of a variant that breaks it: its step is blocked (`error`), or the plan says so."""
    allow: Globs = Field(default=(), examples=[["apache-2.0", "mit"]])
    """Globs of what may come; without it, everything that `deny` leaves."""
    deny: Globs = Field(default=(), examples=[["*-nc-*", "unknown"]])
    """Globs of what must not come; stronger than `allow`."""
    max: Size | None = Field(default=None, examples=["50GiB"])
    """Of a `size` rule: the most that all files of one variant may have."""
    min: Room | None = Field(default=None, examples=["10%", "20GiB"])
    """Of a `free_space` rule: what must stay free on the file system, in bytes or as a share of it."""
    only: Globs = Field(default=(), examples=[["*-vllm-*", "*@shared"]])
    """Globs over VARIANT or VARIANT@LOCATION: what the rule is about; without it, everything."""
    exempt: Globs = Field(default=(), examples=[["llama-3.2-3b-*"]])
    """Globs over VARIANT or VARIANT@LOCATION: what the rule is not about."""

    @model_validator(mode="after")
    def _says_what_its_kind_has(self) -> Rule:
        allowed = ALLOWED[self.rule]
        said = self.model_fields_set
        for key in ("allow", "deny", "max", "min"):
            if key in said and key not in allowed:
                has = " and ".join(f"`{each}`" for each in allowed) or "neither lists nor limits"
                raise ValueError(f"`{key}` does not go with a `{self.rule}` rule (it has {has})")
        needed = _NEEDED.get(self.rule)
        if needed is not None and getattr(self, needed) is None:
            example = type(self).model_fields[needed].examples or [""]
            raise ValueError(f"a `{self.rule}` rule says `{needed}` (for example `{needed}: {example[0]}`)")
        if self.rule in _LISTS and not self.allow and not self.deny:
            raise ValueError(f"a `{self.rule}` rule without `allow` or `deny` says nothing (give one of them)")
        return self
