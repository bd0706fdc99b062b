"""One run, and the search for the cheapest setting."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from . import _native
from ._environment import environment
from ._progress import Progress, shown
from ._result import Result
from ._scenario import Scenario, Value
from ._scheduler import Scheduler


def as_scenario(source: Scenario | str | os.PathLike[str] | Mapping[str, Any]) -> Scenario:
    """A scenario of whatever one can be made of."""
    return source if isinstance(source, Scenario) else Scenario(source)


def run(
    scenario: Scenario | str | os.PathLike[str] | Mapping[str, Any],
    settings: Mapping[str, Value] | None = None,
    *,
    seed: int | None = None,
    models: str | os.PathLike[str] | None = None,
    schedulers: Sequence[type[Scheduler]] = (),
) -> Result:
    """Simulates a scenario. The interpreter's lock is free meanwhile; Ctrl-C ends it.

    Args:
        scenario: a :class:`Scenario`, or what one is made of.
        settings: fields to set, by path.
        seed: of all random streams, instead of the scenario's.
        models: folder of cost profiles that go before the built-in ones.
        schedulers: classes that ``scheduler.kind`` may name; see :class:`Scheduler`.

    Raises:
        InputError: the scenario, or something that it names, is wrong.
    """
    varied = as_scenario(scenario)
    if settings or seed is not None:
        varied = varied.set(settings, seed=seed)
    return Result(_native.run(varied._document, environment(models, schedulers)))


class Plan:
    """What a search found.

    Attributes:
        found: everything, as ``podpace plan --format json`` prints it.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.found: dict[str, Any] = json.loads(text)

    @property
    def best(self) -> dict[str, str] | None:
        """The cheapest setting that meets the goals, by path; ``None`` if no setting of the grid does."""
        best = self.found["best"]
        return None if best is None else dict(self.found["points"][best]["settings"])

    @property
    def table(self) -> pa.Table:
        """Every point that was tried: its settings, its cost, and whether it meets the goals."""
        points = self.found["points"]
        rows = [{**dict(p["settings"]), "cost": p["cost"], "met": p["met"], "seeds": len(p["runs"])} for p in points]
        return pa.Table.from_pylist(rows)

    def to_json(self) -> str:
        """The bytes that ``podpace plan --format json`` prints."""
        return self._text

    def __repr__(self) -> str:
        return f"Plan(best={self.best!r}, runs={self.found['runs']} instead of {self.found['gridRuns']})"

    def _repr_html_(self) -> str:
        best = self.best
        head = (
            "No setting of the grid meets the goals."
            if best is None
            else "<b>" + html.escape(" ".join(f"{path}={value}" for path, value in best.items())) + "</b>"
        )
        return f"<p>{head} ({self.found['runs']} runs instead of the grid's {self.found['gridRuns']})</p>"


def plan(
    scenario: Scenario | str | os.PathLike[str] | Mapping[str, Any],
    goals: str | Sequence[str],
    vary: Mapping[str, str | Sequence[Value]],
    *,
    costs: Mapping[str, float] | None = None,
    seeds: int = 5,
    confidence: float = 0.9,
    max_runs: int = 2000,
    fixed_costs: bool = False,
    jobs: int | None = None,
    models: str | os.PathLike[str] | None = None,
    schedulers: Sequence[type[Scheduler]] = (),
    progress: Progress = None,
) -> Plan:
    """Finds the cheapest setting that meets goals in a fraction of the grid's runs.

    Args:
        scenario: a :class:`Scenario`, or what one is made of.
        goals: ``METRIC >= NUMBER`` or ``METRIC >= 0.95*METRIC``; all must hold.
        vary: values by path, or a range as ``LO..HI``, ``LO..HI:STEP`` or ``LO..HI:xFACTOR``.
        costs: weight of each varied field.
        seeds: of each setting that is tried to the end.
        confidence: share of the seeds that has to meet the goals.
        max_runs: the search ends there.
        fixed_costs: whether unit costs stay as they are; else each seed draws them from their intervals.
        jobs: runs at once; one a core if ``None``.
        models: folder of cost profiles that go before the built-in ones.
        schedulers: classes that ``scheduler.kind`` may name.
        progress: ``True`` for a bar (tqdm), or a function of runs done and runs known of.
    """
    document = as_scenario(scenario)._document
    options: list[tuple[str, Sequence[object]]] = [
        ("goal", [goals] if isinstance(goals, str) else goals),
        ("vary", axes(vary)),
        ("cost", [f"{path}={weight}" for path, weight in (costs or {}).items()]),
        ("set", document.settings()),
        ("models", [] if models is None else [os.fspath(models)]),
        ("seeds", [seeds]),
        ("confidence", [confidence]),
        ("max-runs", [max_runs]),
    ]
    words = [f"--{option}={value}" for option, values in options for value in values]
    if fixed_costs:
        words.append("--fixed-costs")
    with shown(progress, "runs") as report:
        text = _native.plan(document, environment(models, schedulers), [*words, "--", document.file], jobs or 0, report)
    return Plan(text)


def axes(vary: Mapping[str, str | Sequence[Value]]) -> list[str]:
    """``path=v1,v2,..`` for each varied field."""
    return [f"{path}={_list(values)}" for path, values in vary.items()]


def _list(values: str | Sequence[Value]) -> str:
    if isinstance(values, str):
        return values
    return ",".join(value if isinstance(value, str) else json.dumps(value) for value in values)
