"""Runs the notebooks (or those that are named) and compares what they say with what is committed; ``--update`` writes it.

Text must be equal, and a picture must be where one was; its bytes depend on the version of matplotlib and are not compared. The notebook about
measured runs takes those that ship with the repository, or those of the folder that ``PODPACE_MEASURED`` names.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
MEASURED = Path(os.environ.get("PODPACE_MEASURED", HERE.parent / "experiments-measured" / "runs")).resolve()


def said(notebook: Any) -> list[list[tuple[str, str]]]:
    """What each cell shows: kind and text, or the kind alone for pictures."""
    cells = []
    for cell in notebook.cells:
        shown = []
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                # How a stream is cut into pieces is chance.
                if shown and shown[-1][0] == output.name:
                    shown[-1] = (output.name, shown[-1][1] + output.text)
                else:
                    shown.append((output.name, output.text))
            else:
                data = output.get("data", {})
                picture = any(kind.startswith("image/") for kind in data)
                shown.append(("picture", "") if picture else ("text", data.get("text/plain", "")))
        cells.append(shown)
    return cells


def main() -> int:
    update = "--update" in sys.argv[1:]
    only = [word for word in sys.argv[1:] if word != "--update"]
    failed = 0
    for path in sorted(HERE.glob("*.ipynb")):
        if only and path.stem not in only:
            continue
        if path.stem == "accuracy" and not MEASURED.is_dir():
            print(f"{path.name}: skipped: no folder {MEASURED.name}; PODPACE_MEASURED names that of the measured runs")
            continue
        began = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        before = said(notebook)
        os.environ["PODPACE_MEASURED"] = str(MEASURED)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(HERE)}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        after = said(notebook)
        seconds = time.monotonic() - began
        if update:
            nbformat.write(notebook, path)
            print(f"{path.name}: written, {seconds:.0f} s")
        elif before == after:
            print(f"{path.name}: same outputs, {seconds:.0f} s")
        else:
            failed += 1
            print(f"{path.name}: OTHER OUTPUTS, {seconds:.0f} s; if they are wanted: python notebooks/run.py --update")
            for number, (old, new) in enumerate(zip(before, after)):
                if old != new:
                    print(f"  cell {number}:\n    was {old}\n    is  {new}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
