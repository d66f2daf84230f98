"""Runs a notebook and writes it with what it printed and showed.

    python scripts/notebook.py examples/tour.ipynb

Progress bars, and whatever else goes to stderr, are not kept. Neither is anything about the machine: no times, versions or paths.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

SECONDS = 600  # for a cell, on a busy machine


def executed(path: Path) -> NotebookNode:
    """A notebook after a run in its own folder. Raises ``nbclient.exceptions.CellExecutionError`` when a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=SECONDS, resources=resources, record_timing=False, coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path, help=".ipynb to run")
    parser.add_argument("--output", type=Path, help="where to write it; by default over the notebook itself")
    args = parser.parse_args()
    nbformat.write(executed(args.notebook), args.output or args.notebook)


if __name__ == "__main__":
    main()
