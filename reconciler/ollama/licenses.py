"""Name a licence from the beginning of its text, in the Hub's words (`mit`, `apache-2.0`, `llama3.2`, `gemma`). Pure.

The words: https://huggingface.co/docs/hub/repositories-licenses. Only what a title says without doubt is named.
"""

from __future__ import annotations

import re

LARGEST = 64 << 10
"""Bytes of a licence that are worth being asked for; the longest in use has about 35 KiB."""

_TITLE = 240
"""Characters of the text, blanks folded, in which its title must stand."""

_TITLES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"llama (\d(?:\.\d)?) community license", r"llama\1"),
        (r"apache license,? version 2\.0", "apache-2.0"),
        (r"mit license", "mit"),
        (r"bsd 2-clause", "bsd-2-clause"),
        (r"bsd 3-clause", "bsd-3-clause"),
        (r"gemma terms of use", "gemma"),
        (r"gnu affero general public license version 3", "agpl-3.0"),
        (r"gnu general public license version ([23])", r"gpl-\1.0"),
        (r"mozilla public license,? (?:version )?2\.0", "mpl-2.0"),
        (r"attribution-noncommercial 4\.0", "cc-by-nc-4.0"),
        (r"attribution-sharealike 4\.0", "cc-by-sa-4.0"),
        (r"attribution 4\.0", "cc-by-4.0"),
        (r"cc0 1\.0 universal", "cc0-1.0"),
        (r"creativeml open rail(?:\+\+)?-m", "creativeml-openrail-m"),
        (r"bigscience (?:open )?rail", "bigscience-bloom-rail-1.0"),
    )
)


def license_of(text: str) -> str | None:
    """Return the licence that a text is, None when its beginning does not say so in a way that we know."""
    title = " ".join(text[: 8 * _TITLE].lower().split())[:_TITLE]
    found = ((pattern.search(title), name) for pattern, name in _TITLES)
    matches = [(match.start(), match.expand(name)) for match, name in found if match]
    return min(matches)[1] if matches else None
