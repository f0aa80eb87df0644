"""Lend config and tokenizer files from a second repository to a variant whose own lacks them."""

from __future__ import annotations

from dataclasses import replace

from reconciler.errors import SourceError
from reconciler.globs import matches
from reconciler.sources import Request, World, huggingface, scheme_of
from reconciler.state import Pin, Support

NAMES = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt",
    "added_tokens.json", "*.model", "preprocessor_config.json", "processor_config.json", "chat_template.*",
)  # fmt: skip
"""What transformers and vLLM look for beside the weights (https://huggingface.co/docs/transformers/main_classes)."""

_LARGEST = 256 << 20
"""Bytes; what is larger is not a config or tokenizer file, whatever its name says."""


def lend(pin: Pin, request: Request, world: World) -> Pin:
    """Return `pin` with the files that its own source lacks and the request's support repository has at its top.

    Raise SourceError when the support repository cannot be asked.
    """
    if request.support is None:
        return pin
    if scheme_of(request.support) != "hf":
        raise SourceError(
            f"support: {request.support} cannot lend files", where=request.where, hint="expected hf:owner/repo"
        )
    listing = huggingface.listing(request.support, request.support_revision, world)
    own = {file.path for file in pin.files}
    lent = tuple(
        file._replace(support=True)
        for file in listing.files
        if file.path not in own and is_support(file.path, file.size)
    )
    files = tuple(sorted((*pin.files, *lent), key=lambda file: file.path))
    return replace(pin, files=files, support=Support(request.support, listing.revision))


def is_support(path: str, size: int) -> bool:
    """Whether a file at `path` is one that a support repository lends."""
    return "/" not in path and size <= _LARGEST and any(matches(name, path) for name in NAMES)
