"""Kill a piece of work at every single thing that it asks of the disk."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

CALLS = (
    "write", "pwrite", "fsync", "ftruncate", "fchmod", "replace", "rename", "link", "unlink", "mkdir", "rmdir",
    "symlink", "copy_file_range",
)  # fmt: skip


def killed_at_every_call(work: Callable[[], object], prepare: Callable[[], object]) -> Iterator[int]:
    """Before every run call `prepare`; run `work` in a child that dies by SIGKILL at its 1st, 2nd, … call; yield after.

    A write that is hit has written half. The run in which the child survives is the last, and is yielded too.
    """
    for at in range(1, 1000):
        prepare()

        def dying(at: int = at) -> int:
            arm(at, ("open", *CALLS))
            work()
            return 0

        status = in_a_child(dying)
        assert status in (0, -signal.SIGKILL), f"the child failed by itself: {status}"
        yield at
        if status == 0:
            return
    raise AssertionError("it never came to an end")


def in_a_child(work: Callable[[], int]) -> int:
    """Run `work` in a process of its own and return its exit code, negative for the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def arm(at: int, calls: tuple[str, ...] = CALLS) -> Callable[[], int]:
    """Die by SIGKILL at the `at`th of these calls; a write that is hit has written half. Return how many were left."""
    from reconciler import placing

    left = [at]

    def armed(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in calls:
        if hasattr(os, name):
            setattr(os, name, armed(getattr(os, name), name))
    placing.rename_at = armed(placing.rename_at, "renameat2")  # type: ignore[assignment]
    return lambda: left[0]
