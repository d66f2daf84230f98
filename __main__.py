"""``python -m finener`` is the command ``finener``."""

import sys

from finener.cli import main

if __name__ == "__main__":
    sys.exit(main())
