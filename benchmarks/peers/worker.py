"""A process that runs one system for the benchmark beside it, and tells the processor's seconds of each run.

It is started as ``python worker.py MODULE``, by the Python of the environment that the system is installed in, and imports nothing but the
standard library and MODULE of this folder. A MODULE has ``PACKAGES``, whose versions are told, and ``prepare(settings)``, which gives its
functions by name. Both sides speak JSON, one object a line: first the settings, answered by the versions and the ``seconds`` of
``prepare``; then ``{"way": NAME, "asked": {…}}`` for each run, answered by what the function returned, with the ``seconds`` that it
took unless it tells its own. ``memory`` is always there: the ``megabytes`` that the process held at most. What libraries print goes to
the standard error.
"""

import importlib
import json
import os
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TextIO


def tell(answers: TextIO, told: dict) -> None:
    """Writes one line of the protocol."""
    answers.write(json.dumps(told) + "\n")
    answers.flush()


def memory() -> dict:
    """What this process held at most (Linux tells it)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return {"megabytes": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6}


def main() -> None:
    """Command line: see the module's docstring."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    module = importlib.import_module(sys.argv[1])
    settings = json.loads(sys.stdin.readline())
    start = time.process_time()
    ways = {"memory": memory, **module.prepare(settings)}
    seconds = time.process_time() - start
    tell(answers, {"versions": {name: version(name) for name in module.PACKAGES}, "seconds": seconds})
    for line in sys.stdin:
        question = json.loads(line)
        start = time.process_time()
        told = ways[question["way"]](**question["asked"])
        tell(answers, {"seconds": time.process_time() - start, **told})


if __name__ == "__main__":
    main()
