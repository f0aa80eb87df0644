"""Names of licences: the Hub's, and how they stand to those of SPDX. Pure.

The Hub's: https://huggingface.co/docs/hub/repositories-licenses. SPDX's: https://spdx.org/licenses/.
"""

from __future__ import annotations

import re
from functools import lru_cache

UNKNOWN = "unknown"
"""The licence that nobody states."""

_NAMES = """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research
    intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit
    mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense
    wtfpl zlib
"""
HUB = frozenset(_NAMES.split())
_OTHER_NAMES = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "gfdl-1.3": "gfdl"}
"""SPDX's names, in lower case, of what the Hub calls otherwise."""
_NOBODY = ("none", "null", "missing", "unset", "n/a", "no-license", "unspecified")
"""What people write for the licence that nobody states."""
_GNU = re.compile(r"((?:a|l)?gpl|gfdl)-[0-9.]+")
_WHICH = ("-only", "-or-later", "+")
"""Which versions a licence of GNU means besides; the Hub never says."""
_NEAR = 0.82
"""How alike two names are of which one is the other misspelt; `qwen-research` is not `h-research`."""


def spellings(name: str) -> tuple[str, ...]:
    """Return a licence as it is written, and as the Hub and SPDX write what is, or may be, the same one."""
    low = name.lower()
    found = [name, *(hub for spdx, hub in _OTHER_NAMES.items() if low == spdx)]
    found += [spdx for spdx, hub in _OTHER_NAMES.items() if low == hub]
    plain = next((low.removesuffix(end) for end in _WHICH if low.endswith(end)), None)
    if plain is not None and _GNU.fullmatch(plain):
        found.append(plain)
    elif _GNU.fullmatch(low):
        found += [low + end for end in _WHICH]
    return tuple(found)


@lru_cache(maxsize=256)
def meant(pattern: str) -> str | None:
    """Return what a pattern over licences that means none of those we know was probably meant to be, or None.

    A name that is near none may well be a licence that somebody made up; a glob may be for such names, too.
    """
    from difflib import get_close_matches

    if any(each in pattern for each in "*?[") or any(each.lower() in HUB for each in spellings(pattern)):
        return None
    low = pattern.lower().strip()
    if low in _NOBODY:
        return UNKNOWN
    if any(known.startswith(low) for known in HUB):
        return f"{low}*"
    bare = _bare(low)
    same = [known for known in sorted(HUB) if _bare(known) in (bare, f"{bare}0")]
    return same[0] if same else next(iter(get_close_matches(low, sorted(HUB), 1, _NEAR)), None)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"licen[cs]e|version|v(?=\d)", "", name))
