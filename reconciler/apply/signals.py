"""Hold an interruption back until what is under way has come to its end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no signal raise in the block; one that came comes after it.

    For work of milliseconds: a step whose names are changing is finished rather than torn. Only the main thread is
    ever interrupted, elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    kept = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        # None: somebody outside Python handles it. Ignored and default ones do not raise in the block anyhow.
        if number is not None and callable(signal.getsignal(number)):
            kept[number] = signal.signal(number, lambda found, _: came.append(found))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    for number in dict.fromkeys(came):
        signal.raise_signal(number)  # to whoever handles it: Ctrl-C raises here, a program's own handler does its own
