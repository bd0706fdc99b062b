"""Commands of the command line that read folders: in this process, with their JSON as Python objects."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from . import _native


def command(*arguments: str | os.PathLike[str]) -> tuple[int, str, list[str]]:
    """Any command of ``podpace``, without a process of its own.

    Returns:
        Exit code (0; 3 and 4 where a check fails), what it prints to stdout, its notes for stderr.

    Raises:
        InputError: what the command line ends with code 2 for, with the same text.
    """
    return _native.command([os.fspath(argument) for argument in arguments])


def _json(*arguments: str | os.PathLike[str]) -> dict[str, Any]:
    _, text, _ = command(*arguments, "--format", "json")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _many(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def validate(
    folder: str | os.PathLike[str],
    *,
    seeds: int | None = None,
    models: str | os.PathLike[str] | None = None,
    fixed_costs: bool = False,
    sets: Sequence[str] = (),
) -> dict[str, Any]:
    """Predicts every measured run in a folder from its conditions, and compares with what was measured.

    Args:
        folder: of measured runs (``NAME.json``).
        seeds: a run is predicted with.
        models: folder of cost profiles that go before the built-in ones.
        fixed_costs: whether constants stay as they are; else each seed draws them from their intervals.
        sets: ``RUN:FIELD=VALUE``, conditions that a run's file lacks.

    Returns:
        What ``podpace validate --format json`` prints: ``runs`` with predicted and measured values, and ``summary`` by class.
    """
    words: list[str | os.PathLike[str]] = ["validate", folder, *_many("--set", sets)]
    if seeds is not None:
        words += ["--seeds", str(seeds)]
    if models is not None:
        words += ["--models", models]
    if fixed_costs:
        words.append("--fixed-costs")
    return _json(*words)


def check(
    *paths: str | os.PathLike[str],
    baseline: str | os.PathLike[str] | None = None,
    junit: str | os.PathLike[str] | None = None,
    models: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Judges every expectation and threshold of scenarios, experiments or folders of them.

    Returns:
        What ``podpace check --format json`` prints: ``files`` with their rows, and ``summary`` with how many failed.
    """
    words: list[str | os.PathLike[str]] = ["check", *paths]
    for option, value in (("--baseline", baseline), ("--junit", junit), ("--models", models)):
        if value is not None:
            words += [option, value]
    return _json(*words)


def diff(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    metrics: Sequence[str] = (),
    all: bool = False,
) -> list[dict[str, Any]]:
    """Compares two result folders of runs or sweeps, with significance over seeds."""
    words: list[str | os.PathLike[str]] = ["diff", before, after, *_many("--metric", metrics)]
    if all:
        words.append("--all")
    rows: list[dict[str, Any]] = _json(*words)["differences"]
    return rows


def explain(path: str | os.PathLike[str], *, models: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """What limits a scenario (file) or result (folder) over time, and what moving each limit would buy."""
    return _json("explain", path, *([] if models is None else ["--models", models]))


def report(
    *results: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    openmetrics: str | os.PathLike[str] | None = None,
    perfetto: str | os.PathLike[str] | None = None,
    run: str | None = None,
) -> None:
    """Shows result folders: an HTML page, metrics for Prometheus, a trace for Perfetto."""
    words: list[str | os.PathLike[str]] = ["report", *results]
    for option, value in (("--out", out), ("--openmetrics", openmetrics), ("--perfetto", perfetto), ("--run", run)):
        if value is not None:
            words += [option, value]
    command(*words)


def trace_import(
    format: str, *paths: str | os.PathLike[str], out: str | os.PathLike[str], options: Sequence[str] = ()
) -> str:
    """Imports a recording as a trace that scenarios may name; says what was read, kept, dropped and made up."""
    _, text, notes = command("trace", "import", format, *paths, "--out", out, *options)
    return text or "\n".join(notes)
