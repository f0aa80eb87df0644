"""Ask for many things side by side; who is interrupted waits for no answer that is still under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


def abreast(
    function: Callable[[_Asked], _Answer], items: Iterable[_Asked], threads: int, name: str = "abreast"
) -> list[_Answer]:
    """Return what `function` answers to each item, in their order, with at most so many `threads`.

    The first exception goes up. When that is Ctrl-C, what has not begun is dropped, and what has is left to itself: a
    server that does not answer would hold the prompt for minutes.
    """
    asked = list(items)
    if len(asked) < 2 or threads < 2:
        return [function(item) for item in asked]
    from concurrent.futures import ThreadPoolExecutor  # it brings logging along; most plans ask nobody

    pool = ThreadPoolExecutor(min(threads, len(asked)), thread_name_prefix=name)
    try:
        answers = list(pool.map(function, asked))
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    return answers
