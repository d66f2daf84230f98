"""Batch inference over a file: JSON Lines (or a text file, one text a line) in, records out, one line for each line.

    python predict_finener.py --model outputs/quickstart --input records.jsonl --output out.jsonl

The same as ``finener predict``.
"""

import sys
from importlib.util import find_spec

if find_spec("finener") is None:
    sys.exit("predict_finener: the package is not installed; in the repository's folder run: pip install -e .")

from finener.prediction.command import main

if __name__ == "__main__":
    sys.exit(main(prog="predict_finener.py"))
