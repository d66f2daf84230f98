"""A virtual environment for each system that finener is measured beside, with pinned packages from PyPI."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from finener.paths import ROOT

# What is installed, and what of it differs from constraints.txt, which holds for the rest: torch and numpy are the same for all.
PINS: dict[str, tuple[str, ...]] = {
    "spanmarker": (
        "span-marker==1.8.1",
        "transformers==4.57.6",
        "tokenizers==0.22.2",
        "huggingface_hub==0.36.2",
        "datasets==5.0.1",
        "fsspec==2026.6.0",
        "aiohappyeyeballs==2.7.1",
        "aiohttp==3.14.5",
        "aiosignal==1.4.0",
        "frozenlist==1.8.0",
        "multidict==7.2.1",
        "propcache==0.5.4",
        "yarl==1.25.1",
    ),
    "gliner": ("gliner==0.2.29", "transformers==5.16.1", "huggingface_hub==1.33.0", "sentencepiece==0.2.3"),
    "spacy": ("spacy",),
}
MARKER = "installed.txt"  # in an environment that is whole: what it was made for


def package_name(requirement: str) -> str:
    """The name that a requirement pins, as pip compares names."""
    return requirement.partition("==")[0].strip().lower().replace("_", "-")


def constraints_of(name: str, shared: str) -> str:
    """The lines of an environment's constraints: its own pins, and those of ``shared`` for all other packages."""
    pins = [pin for pin in PINS[name] if "==" in pin]
    own = {package_name(pin) for pin in pins}
    lines = [line for line in shared.splitlines() if line and not line.startswith("#")]
    return "\n".join([*pins, *(line for line in lines if package_name(line) not in own)]) + "\n"


def kept_for(name: str, asked: str) -> str:
    """Of an environment's constraints those for which it is made anew: its own pins, and what times depend on."""
    own = {*map(package_name, PINS[name]), "torch", "numpy"}
    return "".join(f"{line}\n" for line in asked.splitlines() if package_name(line) in own)


def environment(name: str, folder: Path, pip_flags: Sequence[str] = ()) -> Path:
    """The Python of a system's environment, which is made where it is not there as it should be.

    Args:
        name: of ``PINS``. folder: of all environments. pip_flags: of ``pip install``, e.g. where else it finds packages.

    Raises:
        subprocess.CalledProcessError: when pip fails; what it says is printed.
    """
    home = folder / name
    python, marker = home / "bin" / "python", home / MARKER
    asked = constraints_of(name, (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    if marker.is_file() and marker.read_text(encoding="utf-8") == kept_for(name, asked):
        return python
    print(f"making an environment with {PINS[name][0]}, once", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    (home / "constraints.txt").write_text(asked, encoding="utf-8")
    quiet = ("--quiet", "--disable-pip-version-check", "--constraint", str(home / "constraints.txt"))
    subprocess.run([str(python), "-m", "pip", "install", *quiet, *pip_flags, PINS[name][0]], check=True)
    marker.write_text(kept_for(name, asked), encoding="utf-8")
    return python
