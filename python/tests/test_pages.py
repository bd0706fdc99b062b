"""The Python of README.md and docs/python.md runs as it stands there, on a smaller scenario."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import podpace


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = (repository / "scenarios" / "kubemark-2021.yaml").read_text()
    smaller = re.sub(r"replicas: \d+", "replicas: 20", text)
    assert smaller != text
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "kubemark-2021.yaml").write_text(smaller)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme(repository: Path, folder: Path) -> None:
    found = blocks(repository / "README.md")
    assert len(found) == 1 and 'executor="ray"' in found[0]
    exec(compile(found[0].replace('executor="ray"', 'executor="threads"'), "README.md", "exec"), {})


def test_the_guide(repository: Path, folder: Path) -> None:
    run, sweep, commands, scheduler = blocks(repository / "docs" / "python.md")
    names: dict[str, Any] = {}
    for block in (run, sweep, scheduler):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert (folder / "result" / "manifest.json").is_file() and (folder / "report.html").is_file()
    assert isinstance(names["sweep"], podpace.Sweep)
    # What it reads is not here; that it can be called so is checked.
    compile(commands, "docs/python.md", "exec")
    for name in re.findall(r"podpace\.(\w+)\(", commands):
        assert callable(getattr(podpace, name))
