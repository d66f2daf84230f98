"""The benchmark's side of a worker's protocol."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORKER = Path(__file__).parent / "worker.py"
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}
LONGEST = 900.0  # seconds that an answer may take


class PeerError(RuntimeError):
    """A worker ended, or did not answer in time. The message names it and the end of its log."""


class Peer:
    """A worker process of one system; to be used in a ``with`` statement. ``seconds``: of the processor, until it was ready."""

    def __init__(
        self, python: str | Path, module: str, settings: Mapping[str, Any], log: Path, folder: Path = WORKER.parent
    ):
        """Starts it, and waits until it is ready.

        Args:
            python: that of the system's environment. module: of ``folder``. settings: for its ``prepare``. log: where it may print.
            folder: where ``worker.py`` finds the module.

        Raises:
            PeerError: when it does not get ready.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.module, self.log = module, log
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        with log.open("w", encoding="utf-8") as printed:
            self.process = subprocess.Popen(
                [str(python), str(WORKER), module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
                encoding="utf-8",
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(paths)},
            )
        ready = self._exchange(settings)
        self.versions, self.seconds = ready["versions"], ready["seconds"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, way: str, /, **asked: Any) -> dict[str, Any]:
        """What a function of the module returned, with the ``seconds`` of the processor that it took."""
        return self._exchange({"way": way, "asked": asked})

    def _exchange(self, question: Mapping[str, Any]) -> dict[str, Any]:
        timer = threading.Timer(LONGEST, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if not answer:
            self.process.wait()
            last = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise PeerError(f"{self.module} ended without an answer; {self.log} ends with: {' | '.join(last)}")
        return json.loads(answer)
