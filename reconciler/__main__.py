"""The command line: `reconciler`, and `python -m reconciler`."""

from __future__ import annotations

import gc
import io
import os
import sys


def main() -> None:
    """Run the command line and end the process with its code."""
    # Large manifests make a million small values that live to the end; looking for cycles among them is wasted time.
    gc.set_threshold(200_000, 20, 20)
    # Plug-ins of pydantic would be looked for in every installed package, at each start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _speak_utf8()
    from reconciler.cli import run

    code = run(sys.argv[1:])
    # All that was opened is closed, and told. Python would take a million small values apart now, one by one, and after
    # Ctrl-C wait for threads whose questions nobody answers.
    os._exit(code)


def _speak_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale has file names in another encoding; let output never fail.

    Names in manifests, locks and records are UTF-8. Read in another encoding, a file that lies in its place would count
    as missing (https://peps.python.org/pep-0540/). What a terminal of another encoding cannot show is shown escaped.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
