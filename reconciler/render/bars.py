"""Progress as bars on a terminal: one a file under way, one for everything. Imported only where bars are drawn."""

from __future__ import annotations

from threading import RLock
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from reconciler.inert import human_bytes
from reconciler.plan import Step
from reconciler.receipt import Outcome
from reconciler.render.lines import name, pad, shorten

if TYPE_CHECKING:
    from reconciler.render.progress import FileProgress

_BARS = 8
"""Bars drawn at the same time; small files beyond them are in the bar over everything."""
_WIDEST, _NARROWEST = 44, 12
_NUMBERS = 37
"""Columns for share, size, speed and time left."""
_BAR = 12
"""Columns that a bar has at least."""
_ENDED = frozenset({"done", "failed"})


class _Numbers(ProgressColumn):
    """Share, size, speed and time left, in units of 1024 and columns that do not jump."""

    def render(self, task: Task) -> Text:
        """Return the numbers of one bar."""
        share = f"{int(task.percentage):>3}%"
        speed = f"{human_bytes(int(task.speed))}/s" if task.speed else ""
        left = "" if task.time_remaining is None or task.finished else _clock(task.time_remaining)
        return Text(f"{share} {human_bytes(int(task.total or 0)):>10} {speed:>12} {left:>8}", no_wrap=True)


class Bars:
    """The display with bars; it may be called from any thread."""

    def __init__(self, stream: IO[str], colour: bool) -> None:
        console = Console(file=stream, no_color=not colour, highlight=False, markup=False, emoji=False)
        self._label = max(min(console.width - _NUMBERS - _BAR - 2, _WIDEST), _NARROWEST)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=max(console.width - self._label - _NUMBERS - 2, 4)),
            _Numbers(table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
        )
        self._lock = RLock()
        self._total = 0
        self._came: dict[str, int] = {}
        """Bytes that came now, by file; what an earlier run left there is not counted as speed."""
        self._sum = 0
        self._resumed: dict[str, int] = {}
        self._bars: dict[str, TaskID] = {}
        self._all = self._progress.add_task(pad("everything", self._label), total=0, visible=False)
        self._progress.start()

    def plan_started(self, steps: int, size: int) -> None:
        """Show the bar over everything when bytes will come."""
        del steps
        with self._lock:
            self._total = size
            self._progress.update(self._all, total=size, visible=size > 0)

    def step_started(self, step: Step) -> None:
        """Say nothing: the files speak."""

    def file(self, progress: FileProgress) -> None:
        """Move a file's bar, or take it away when the file ended."""
        with self._lock:
            self._count(progress)
            if progress.phase in _ENDED:
                if (bar := self._bars.pop(progress.key, None)) is not None:
                    self._progress.remove_task(bar)
            elif progress.phase != "waiting":
                self._draw(progress)

    def step_done(self, outcome: Outcome) -> None:
        """Say at once that a step failed; the rest is in the closing account."""
        if outcome.result == "failed":
            self.message(f"failed: {outcome.address}: {outcome.error}")

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(Text(name(text)), soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()

    def overall(self) -> tuple[int, int]:
        """Return (bytes that came, bytes that are to come in all) as the bar over everything shows them."""
        with self._lock:
            return self._sum, max(self._total, self._sum)

    def _count(self, progress: FileProgress) -> None:
        key = progress.key
        if key not in self._resumed:
            self._resumed[key] = max(progress.done - progress.received, 0)
            self._total -= self._resumed[key]
        came = max(progress.done - self._resumed[key], 0)
        self._sum += came - self._came.get(key, 0)
        self._came[key] = came
        if progress.phase == "failed":
            self._total -= max(progress.size - progress.done, 0)
        completed, total = self.overall()
        self._progress.update(self._all, completed=completed, total=total)

    def _draw(self, progress: FileProgress) -> None:
        said = "verifying " if progress.phase == "verifying" else ""
        label = pad(said + shorten(name(progress.key), self._label - len(said)), self._label)
        if (bar := self._bars.get(progress.key)) is not None:
            self._progress.update(bar, completed=progress.done, description=label)
        elif len(self._bars) < _BARS:
            self._bars[progress.key] = self._progress.add_task(label, total=progress.size, completed=progress.done)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
