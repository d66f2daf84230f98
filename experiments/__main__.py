"""``python -m finener.experiments``: see :mod:`finener.experiments.program`."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in the workers

from finener.experiments.program import main

if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"experiments: {error}")
