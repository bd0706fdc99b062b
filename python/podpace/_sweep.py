"""Sweeps: a grid of settings, each under several seeds, on threads or on Ray."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from . import _native
from ._environment import environment
from ._progress import Progress, shown
from ._run import as_scenario, axes
from ._scenario import Scenario, Value
from ._scheduler import Scheduler

if TYPE_CHECKING:
    import pandas
    import polars

USUAL = (
    "throughput.bound.mean",
    "bound.last_s",
    "latency.created_to_bound.p50_s",
    "latency.created_to_bound.p99_s",
    "pods.pending",
)


class Sweep:
    """The rows of a sweep, in grid order, the last axis fastest.

    Attributes:
        rows: as ``podpace sweep --format json`` prints them: ``point``, ``settings``, ``seeds``, ``metrics`` with mean,
            median, smallest, largest, 5th and 95th percentile over seeds, ``limitedBy``.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.rows: list[dict[str, Any]] = json.loads(text)

    def table(self, *metrics: str, statistic: str = "median") -> pa.Table:
        """One row a point: its settings, a column a metric (all of them, if none is named), ``limited_by``.

        Args:
            metrics: names of metrics.
            statistic: ``median``, ``mean``, ``min``, ``max``, ``p5`` or ``p95`` over seeds.
        """
        names = list(metrics) or sorted({name for row in self.rows for name in row["metrics"]})
        known = {name for row in self.rows for name in row["metrics"]}
        for name in names:
            if name not in known:
                raise KeyError(f"no run has a metric {name!r}; `Sweep.rows[0]['metrics']` has all names")
        return pa.Table.from_pylist(
            [
                {
                    **{path: _number(value) for path, value in row["settings"]},
                    **{name: row["metrics"].get(name, {}).get(statistic) for name in names},
                    "limited_by": row["limitedBy"],
                }
                for row in self.rows
            ]
        )

    def to_pandas(self, *metrics: str, statistic: str = "median") -> pandas.DataFrame:
        """:meth:`table` as a data frame of pandas."""
        frame: pandas.DataFrame = self.table(*metrics, statistic=statistic).to_pandas()
        return frame

    def to_polars(self, *metrics: str, statistic: str = "median") -> polars.DataFrame:
        """:meth:`table` as a data frame of polars."""
        import polars as pl

        frame = pl.from_arrow(self.table(*metrics, statistic=statistic))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_json(self) -> str:
        """The bytes of ``sweep.json``."""
        return self._text

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Sweep({len(self.rows)} points, {sum(len(row['seeds']) for row in self.rows)} runs)"

    def _repr_html_(self) -> str:
        shown_metrics = [name for name in USUAL if any(name in row["metrics"] for row in self.rows)]
        heads = [path for path, _ in self.rows[0]["settings"]] if self.rows else []
        head = "".join(f"<th>{html.escape(text)}</th>" for text in [*heads, *shown_metrics, "limited by"])
        body = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(text)}</td>"
                for text in [
                    *(value for _, value in row["settings"]),
                    *(f"{row['metrics'].get(name, {}).get('median', float('nan')):.4g}" for name in shown_metrics),
                    row["limitedBy"],
                ]
            )
            + "</tr>"
            for row in self.rows
        )
        return f"<table><tr>{head}</tr>{body}</table><p>medians over seeds</p>"


def _number(text: str) -> str | float | int:
    """A setting as a number, if it is one: data frames sort and plot numbers."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def sweep(
    scenario: Scenario | str | os.PathLike[str] | Mapping[str, Any],
    vary: Mapping[str, str | Sequence[Value]] | None = None,
    *,
    seeds: int | None = None,
    jobs: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    models: str | os.PathLike[str] | None = None,
    schedulers: Sequence[type[Scheduler]] = (),
    progress: Progress = None,
    executor: Literal["threads", "ray"] = "threads",
) -> Sweep:
    """Runs a grid of settings, each under several seeds. Same rows, and with ``out`` the same bytes, with every executor.

    Args:
        scenario: a :class:`Scenario`, or what one is made of; or a sweep document, which has axes of its own.
        vary: values by path; the last varies fastest.
        seeds: of each point: the scenario's and those after it.
        jobs: runs at once; one a core if ``None``. With Ray: tasks under way at once.
        out: keeps every finished run in a folder, and the table at the end.
        resume: goes on with the folder of ``out``: runs whose inputs have not changed are not run again.
        models: folder of cost profiles that go before the built-in ones.
        schedulers: classes that ``scheduler.kind`` may name.
        progress: ``True`` for a bar (tqdm), or a function of runs done and their number.
        executor: ``threads`` of this process, or tasks on ``ray``; see :mod:`podpace._ray`.
    """
    chosen = as_scenario(scenario)
    grid = axes(vary or {})
    if executor == "ray":
        from ._ray import sweep_on_ray

        return Sweep(sweep_on_ray(chosen, grid, seeds, jobs, out, resume, models, schedulers, progress))
    if executor != "threads":
        raise ValueError(f"executor={executor!r}: expected 'threads' or 'ray'")
    with shown(progress, "runs") as report:
        text = _native.sweep(
            chosen._document, environment(models, schedulers), grid, seeds, jobs or 0, out, resume, None, report
        )
    return Sweep(text)
