"""What a manifest may say of Ollama: of its models, as a Modelfile would, and of its server. Loads pydantic."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    model_validator,
)

from reconciler.errors import InputError
from reconciler.inert import inert
from reconciler.ollama import modelfile

_LARGEST = 2**53
"""Whole numbers beyond it are not whole any more to a server, which reads every number as a double."""
_LONG_TEXT = {"type": "string", "minLength": 1, "maxLength": modelfile.LARGEST}
_STOP = {"type": "string", "minLength": 1, "maxLength": 1024}


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number, found `{inert(str(value))[:80]}`")
    return value


def _texts(value: Any) -> Any:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not value or len(value) > 64:
        raise ValueError("expected a text, or a list of 1 to 64 texts")
    for each in value:
        if not isinstance(each, str) or not 0 < len(each) <= 1024:
            raise ValueError(f"expected texts of 1 to 1024 characters, found `{inert(str(each))[:80]}`; quote it")
        modelfile.check_characters(each)
    return value


def _server(url: str) -> str:
    from reconciler.ollama.address import url_of

    if not re.match(r"https?://[^/:]", url, re.IGNORECASE):
        raise ValueError(f"expected a URL such as `http://127.0.0.1:11434`, found `{inert(url)[:80]}`")
    try:
        return url_of(url, {})
    except InputError as error:
        raise ValueError(error.problems[0].summary) from None


LongText = Annotated[str, AfterValidator(modelfile.check_text), WithJsonSchema(_LONG_TEXT)]
Template = Annotated[str, AfterValidator(modelfile.check_template), WithJsonSchema(_LONG_TEXT)]
Server = Annotated[
    str,
    AfterValidator(_server),
    WithJsonSchema({"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://[^/:@?#][^@?#]*$"}),
]
Integer = Annotated[StrictInt, Field(ge=-_LARGEST, le=_LARGEST)]
Number = Annotated[float, BeforeValidator(_number)]
Stops = Annotated[
    list[str],
    BeforeValidator(_texts),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "items": _STOP, "minItems": 1, "maxItems": 64}]}),
]


class Parameters(BaseModel):
    """What a server is to run a model with. A request may say otherwise.

    https://github.com/ollama/ollama/blob/main/api/types.go (`Options`, `Runner`)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_ctx: Integer | None = Field(default=None, examples=[8192])
    """Tokens of context."""
    num_predict: Integer | None = None
    """Tokens that an answer may have at most; -1: no limit."""
    num_keep: Integer | None = None
    """Tokens at the beginning that stay when the context is full."""
    temperature: Number | None = Field(default=None, examples=[0.7])
    """How freely the next token is chosen; 0: always the likeliest."""
    top_k: Integer | None = None
    """Among how many tokens is chosen."""
    top_p: Number | None = None
    """Up to which share of the likelihood tokens are looked at."""
    min_p: Number | None = None
    """How likely, compared with the likeliest, a token must be."""
    seed: Integer | None = None
    """What chance begins with: the same seed gives the same answer."""
    stop: Stops | None = Field(default=None, examples=[["<|im_end|>"]])
    """Texts at which an answer ends."""
    repeat_penalty: Number | None = None
    """How much repetition costs."""
    repeat_last_n: Integer | None = None
    """How many tokens back repetition is looked for; -1: the whole context."""
    presence_penalty: Number | None = None
    """What a token costs that stood before."""
    frequency_penalty: Number | None = None
    """What a token costs for each time that it stood before."""
    num_gpu: Integer | None = None
    """How many layers go to the GPU; -1: as many as fit."""
    main_gpu: Integer | None = None
    """The GPU that takes what cannot be divided."""
    num_batch: Integer | None = None
    """Tokens that are read at a time."""
    num_thread: Integer | None = None
    """Threads of the CPU."""
    use_mmap: StrictBool | None = None
    """Whether weights are mapped rather than read."""
    draft_num_predict: Integer | None = None
    """Tokens that a draft model is ahead."""

    @model_validator(mode="before")
    @classmethod
    def _of_today(cls, value: Any) -> Any:
        old = sorted(modelfile.OBSOLETE & value.keys()) if isinstance(value, dict) else ()
        if old:
            raise ValueError(f"`{old[0]}` means nothing to Ollama any more (leave it out)")
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Parameters:
        if not self.said():
            raise ValueError("holds no parameter (say one, such as `num_ctx: 8192`, or leave `parameters` out)")
        return self

    def said(self) -> dict[str, Any]:
        """Return what is declared, as JSON values."""
        return {name: value for name, value in self if value is not None}
