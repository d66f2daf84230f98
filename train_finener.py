"""Trains a finener model from a YAML file: pre-training on source types, fine-tuning to target types, or both in a row.

    accelerate launch train_finener.py --config configs/quickstart.yaml
    python train_finener.py --config configs/quickstart.yaml --phases finetune --learning_rate 1e-3

The same as ``finener train``; docs/training.md explains the keys.
"""

import sys
from importlib.util import find_spec

if find_spec("finener") is None:
    sys.exit("train_finener: the package is not installed; in the repository's folder run: pip install -e .")

from finener.training.phases import main

if __name__ == "__main__":
    main()
