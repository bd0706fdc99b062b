"""The result of a run: metrics, tables, and the folder that the command line writes."""

from __future__ import annotations

import html
import json
import os
import tempfile
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import _native

if TYPE_CHECKING:
    import pandas
    import polars


class Result:
    """What a run left.

    Tables are Arrow's and share the memory in which the simulator made their columns: ``result.pods.to_pandas()``,
    ``polars.from_arrow(result.pods)``. A time that has not come is null.
    """

    def __init__(self, completed: _native.Completed) -> None:
        self._completed = completed

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Everything that ``summary.json`` holds."""
        summary: dict[str, Any] = json.loads(self._completed.summary())
        return summary

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric by name."""
        metrics: dict[str, float] = self.summary["metrics"]
        return metrics

    @property
    def limited_by(self) -> str:
        """What limited it, in one sentence."""
        sentence: str = self.summary["bottleneck"]["sentence"]
        return sentence

    @property
    def inputs(self) -> str:
        """SHA-256 over everything that it was made from: equal means an equal result."""
        inputs: str = self.summary["inputs"]["all"]
        return inputs

    @property
    def digest(self) -> str:
        """SHA-256 over summary, series and pods, as ``podpace run --verify-determinism`` prints it."""
        return self._completed.digest()

    @cached_property
    def pods(self) -> pa.Table:
        """One row a pod in order of creation, with the times of its stages in nanoseconds since t = 0."""
        return pa.table(self._completed.pods())

    @cached_property
    def series(self) -> pa.Table:
        """Cumulative counts and the rate of bindings over time: ``series.csv``."""
        return pa.table(self._completed.series())

    @cached_property
    def telemetry(self) -> pa.Table:
        """Gauges and counters of the control plane over time: ``telemetry.csv``."""
        return pa.table(self._completed.telemetry())

    @cached_property
    def node_fill(self) -> pa.Table:
        """How full the nodes are over time: ``node_fill.csv``."""
        return pa.table(self._completed.node_fill())

    @cached_property
    def queues(self) -> pa.Table | None:
        """What each queue holds and who waits in it over time: ``queues.csv``; ``None`` if there are no two queues."""
        table = self._completed.queues()
        return None if table is None else pa.table(table)

    def to_pandas(self) -> pandas.DataFrame:
        """The pods as a data frame of pandas; times that have not come are ``<NA>``."""
        import pandas as pd

        frame: pandas.DataFrame = self.pods.to_pandas(
            types_mapper={pa.uint64(): pd.UInt64Dtype()}.get  # a null must not turn nanoseconds into floats
        )
        return frame

    def to_polars(self) -> polars.DataFrame:
        """The pods as a data frame of polars, without a copy."""
        import polars as pl

        frame = pl.from_arrow(self.pods)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def save(self, out: str | os.PathLike[str], *, pods: str = "parquet") -> None:
        """Writes the folder that ``podpace run --out`` writes, with the same bytes (but no ``timing.json``).

        Args:
            out: the folder; one that holds an earlier result is replaced, anything else is an error.
            pods: ``parquet``, ``csv`` or ``none``.
        """
        self._completed.save(out, pods)

    def report(self, out: str | os.PathLike[str]) -> None:
        """Writes the HTML page that ``podpace report --out`` writes."""
        from ._commands import report

        with tempfile.TemporaryDirectory() as folder:
            saved = os.path.join(folder, str(self.summary["scenario"]))
            self.save(saved)
            report(saved, out=out)

    def __repr__(self) -> str:
        counts = self.summary["counts"]
        mean = self.metrics.get("throughput.bound.mean", 0.0)
        return (
            f"Result({self.summary['scenario']!r}, seed={self.summary['seed']}, "
            f"{counts['bound']:,} of {counts['total']:,} pods bound, {mean:.4g} pods/s)"
        )

    def _repr_html_(self) -> str:
        s, m = self.summary, self.metrics
        rows = [
            ("pods bound", f"{s['counts']['bound']:,} of {s['counts']['total']:,}"),
            ("pods/s", f"{m.get('throughput.bound.mean', 0.0):.4g}"),
            ("last bound", f"{m.get('bound.last_s', 0.0):.4g} s"),
            ("wait p50, p99", " s, ".join(f"{m.get(f'latency.created_to_bound.{q}_s', 0.0):.4g}" for q in ("p50", "p99")) + " s"),
            ("scheduler", f"{s['scheduler']['kind']} ({s['scheduler']['profile']})"),
            ("inputs", f"{self.inputs[:16]}"),
        ]
        body = "".join(f"<tr><th style='text-align:left'>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
        bars = _sparkline([float(x) for x in self.series.column("bound_per_s").to_pylist()])
        head = f"<b>{html.escape(s['scenario'])}</b>, seed {s['seed']}"
        return f"{head}<table>{body}</table>{bars}<p>{html.escape(self.limited_by)}</p>"


def _sparkline(values: list[float], buckets: int = 120) -> str:
    """Pods bound per second over time, as a small picture."""
    size = max(1, -(-len(values) // buckets))
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    most = max(means, default=0.0) or 1.0
    points = " ".join(f"{i * 300 / max(1, len(means) - 1):.1f},{40 - 38 * v / most:.1f}" for i, v in enumerate(means))
    return (
        "<svg width='300' height='40' role='img' aria-label='pods bound per second over time'>"
        f"<polyline points='{points}' fill='none' stroke='currentColor'/></svg>"
    )
