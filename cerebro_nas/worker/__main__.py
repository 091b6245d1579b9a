"""`python -m cerebro_nas.worker`: the worker program. Backends start it; there is nothing in it for a user."""

from __future__ import annotations

import sys

from cerebro_nas.worker._program import main

if __name__ == "__main__":
    sys.exit(main())
