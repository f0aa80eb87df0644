"""The program as a user starts it, for tests of the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def reconciler(*arguments: str, temporary: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one command in a process of its own, which has `temporary` for its temporary files."""
    return subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments],
        env={**os.environ, "TMPDIR": str(temporary), **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
