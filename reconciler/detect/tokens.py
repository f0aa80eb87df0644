"""Words that names use for quantisation and size, anchored on word borders. Pure.

A border is anything that is neither letter nor digit, so that `FAQ3-bot` holds no `q3`; `_` separates words and stands
inside quant names too, therefore the longest reading wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple


class _Word(NamedTuple):
    """A family of tokens: the pattern, and how a match is written by us. Earlier families win over later ones."""

    pattern: re.Pattern[str]
    write: Callable[[re.Match[str]], str]


def _word(pattern: str, write: Callable[[re.Match[str]], str] | str | None = None) -> _Word:
    compiled = re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])")
    if isinstance(write, str):
        return _Word(compiled, lambda _, text=write: text)  # type: ignore[misc]
    return _Word(compiled, write or (lambda found: re.sub(r"[-.]", "_", found[0])))


def _ggml(found: re.Match[str]) -> str:
    text = re.sub(r"[-.]", "_", found["quant"])
    return f"ud-{text}" if found["ud"] else text


def _bits(method: str) -> Callable[[re.Match[str]], str]:
    def write(found: re.Match[str]) -> str:
        bits = next((text for text in found.groups() if text), None)
        return f"{method}-int{bits}" if bits else method

    return write


_S = "[-_.]"
_GGML = rf"""(?P<ud>ud{_S})?(?P<quant>
    q[1-8]{_S}k{_S}(?:xxl|xl|l|m|s|xs|xxs|p)(?:{_S}r[48])?
  | q4{_S}0{_S}(?:4{_S}4|4{_S}8|8{_S}8)
  | iq[1-6]{_S}(?:xxs|xs|nl|s|m|l|xl|kss|kss|ks|kt|kl|k)(?:{_S}r[48])?
  | q[1-8]{_S}[01](?:{_S}r[48]|{_S}l|{_S}xl)?
  | q[1-8]{_S}k(?:{_S}r[48])?
  | tq[12]{_S}0
)"""
_BIT = rf"(?:{_S}?int{_S}?([2-8])|{_S}?([2-8]){_S}?bits?)?"

# Most telling first: a file is `…-fp16-Q4_K_M`, a repository `…-FP8-bf16-vision`; plain precisions come last.
_WORDS: tuple[_Word, ...] = (
    _word(re.sub(r"\s", "", _GGML), _ggml),
    _word(r"(?:q[48][-_.])?nv[-_]?fp4", "nvfp4"),
    _word(r"mx[-_]?fp4(?:[-_]moe)?", "mxfp4"),
    _word(r"mx[-_]?fp8", "mxfp8"),
    _word(rf"(?:int)?([2-8])(?:bits?)?{_S}gptq(?:v2)?|gptq(?:v2)?{_BIT}", _bits("gptq")),
    _word(rf"awq(?:v2)?{_S}w([2-8])g(\d+)", lambda found: f"awq-w{found[1]}g{found[2]}"),
    _word(r"awq(?:v2)?(?:[-_](?:int4|4bits?))?", "awq"),
    _word(rf"(?:bnb|bitsandbytes){_S}?(?:nf4|fp4|4bits?|int4)", "bitsandbytes-4bit"),
    _word(rf"(?:bnb|bitsandbytes){_S}?(?:8bits?|int8)", "bitsandbytes-8bit"),
    _word(r"bnb|bitsandbytes", "bitsandbytes"),
    _word(r"exl([23])", lambda found: f"exl{found[1]}"),
    _word(rf"svdq(?:uant)?{_S}(int4|fp4)(?:{_S}r\d+)?", lambda found: f"svdq-{found[1]}"),
    _word(rf"mlx{_S}([2-8])bits?", lambda found: f"mlx-{found[1]}bit"),
    _word(r"w([1-8])a(4|8|16)", lambda found: f"w{found[1]}a{found[2]}"),
    _word(rf"aut?oround{_BIT}|auto[-_]round{_BIT}", _bits("auto-round")),
    _word(r"hqq|aqlm|eetq|vptq|squeezellm|quip|higgs|nf4|bitnet"),
    _word(r"(?:fp8|f8|float8)(?:[-_]?(?:e4m3|e5m2|e4m3fn))?(?:[-_]?scaled)?(?:[-_]?dynamic)?", "fp8"),
    _word(r"fp4", "fp4"),
    _word(r"int([248])", lambda found: f"int{found[1]}"),
    _word(r"bf16|bfloat16", "bf16"),
    _word(r"fp?16|float16", "fp16"),
    _word(r"fp?32|float32", "fp32"),
)


@lru_cache(maxsize=8192)
def quant_from_name(name: str) -> str | None:
    """Return the quantisation that a file or directory name tells, in our spelling, or None.

    Within one family of words the last one counts: people append what they made of a model to its name.
    """
    text = name.lower()
    for word in _WORDS:
        if hits := list(word.pattern.finditer(text)):
            return word.write(hits[-1])
    return None


def without_quant(name: str) -> str:
    """Return a name up to the first word that tells how a model was quantised (`Tiny-7B.Q4_K_M` -> `Tiny-7B`).

    Where the name begins with such a word, it is what follows.
    """
    text = name.lower()
    whole = name if len(text) == len(name) else text  # a letter whose lower case is two moves all places behind it
    spans = [hit.span() for word in _WORDS for hit in word.pattern.finditer(text)]
    if not spans:
        return whole.strip(_BETWEEN)
    first = min(start for start, _ in spans)
    rest = whole[max(end for start, end in spans if start == first) :]
    return whole[:first].strip(_BETWEEN) or without_quant(rest)


_BETWEEN = "-_. "
_SIZE = re.compile(r"(?<![^\W_])(?<!\d\.)(?:(\d{1,3})x)?[ea]?(\d{1,4}(?:\.\d{1,3})?)([bmt])(?![^\W_])")
_ACTIVE = re.compile(r"(?<![^\W_])a\d{1,3}(?:\.\d{1,2})?b(?![^\W_])")
_UNITS = {"b": 10**9, "t": 10**12, "m": 10**6}


def parameters_from_name(name: str) -> int | None:
    """Return the number of parameters that a name tells (`…-7b-…`, `8x7B`, `135M`, `1.5B`), or None.

    Active parameters of a mixture (`30B-A3B`) and context lengths (`-1M`, `128k`) are not sizes.
    """
    text = _ACTIVE.sub("", name.lower())
    found = [(match[3], int(match[1] or 1), match[2]) for match in _SIZE.finditer(text)]
    for unit in "btm":
        for letter, times, digits in found:
            if letter != unit or (unit == "m" and float(digits) < 2) or float(digits) == 0:
                continue
            whole, _, fraction = digits.partition(".")
            return times * int(whole + fraction) * int(_UNITS[unit] // 10 ** len(fraction))
    return None


def size_label(parameters: int | None) -> str | None:
    """Return a number of parameters as people write it (`8.0B`, `494M`); None for fewer than a million."""
    if parameters is None or parameters < 1_000_000:
        return None
    if parameters < 1_000_000_000:
        return f"{parameters / 1e6:.0f}M"
    return f"{parameters / 1e9:.1f}B"
