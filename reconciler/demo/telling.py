"""Tell the demo to people: headings, narration, commands, checks. What the commands print is theirs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

_BOLD, _TALE, _GREEN, _RED = "1", "36", "32", "31"
_WIDEST = 80


@dataclass(frozen=True, slots=True)
class Teller:
    """Where the demo speaks; without a stream it is silent, and what commands print is kept instead of shown."""

    stream: TextIO | None = None
    colour: bool = False
    width: int | None = None
    """Columns of the terminal; None where there is none."""

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches on a terminal."""
        return self.stream is not None and self.stream.isatty()

    def heading(self, number: int, count: int, title: str) -> None:
        """Begin a chapter."""
        text = f"{number}/{count}  {title}"
        self._write("", "", self._in(_BOLD, text), self._in(_BOLD, "-" * len(text)))

    def says(self, text: str) -> None:
        """Narrate: one paragraph."""
        width = min(self.width or _WIDEST, _WIDEST) - 1
        lines = textwrap.wrap(" ".join(text.split()), max(20, width), break_on_hyphens=False, break_long_words=False)
        self._write(*(self._in(_TALE, line) for line in lines))

    def command(self, command: str) -> None:
        """Show the command that runs next, as it is typed."""
        self._write("", self._in(_BOLD, f"$ {command}"))

    def shows(self, lines: Iterable[str]) -> None:
        """Show text as it is, lines of a difference in its colours."""
        colours = {"+": _GREEN, "-": _RED}
        self._write(*(self._in(colours.get(line[:1], ""), line) for line in lines))

    def check(self, claim: str, ok: bool) -> None:
        """Say whether a promise was kept."""
        mark = ("✓" if ok else "✗") if self._can("✓✗") else ("ok" if ok else "NOT OK")
        self._write(self._in(_GREEN if ok else _RED, f"{mark} {claim}"))

    def gap(self) -> None:
        """Leave a line empty."""
        self._write("")

    def raw(self, text: str) -> None:
        """Write as it is, at once."""
        if self.stream is not None:
            self.stream.write(text)
            self.stream.flush()

    def _write(self, *lines: str) -> None:
        self.raw("".join(f"{line}\n" for line in lines))

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text

    def _can(self, text: str) -> bool:
        try:
            text.encode(getattr(self.stream, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return False
        return True
