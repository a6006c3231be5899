"""`python -m plait`: the commands, for whatever starts modules (torchrun -m plait train ...)."""

from __future__ import annotations

import sys

from plait.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
