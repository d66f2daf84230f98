"""``python -m finener.release``: see :mod:`finener.release.program`."""

import sys

from finener.release.program import main

if __name__ == "__main__":
    sys.exit(main())
