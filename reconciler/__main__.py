"""The command line: `reconciler`, and `python -m reconciler`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # Large manifests make a million small values that live to the end; looking for cycles among them is wasted time.
    gc.set_threshold(200_000, 20, 20)
    # Plug-ins of pydantic would be looked for in every installed package, at each start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from reconciler.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
