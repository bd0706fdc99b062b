"""Tables as pyarrow, pandas and polars see them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import podpace

STAGES = ["created_ns", "queued_ns", "cycle_ns", "assumed_ns", "bind_sent_ns", "bound_ns", "running_ns", "finished_ns"]


@pytest.fixture(scope="module")
def result() -> podpace.Result:
    from conftest import SCENARIO

    return podpace.run(SCENARIO)


def test_pods_are_those_of_the_file(result: podpace.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "saved")
    assert result.pods.equals(pq.read_table(tmp_path / "saved" / "pods.parquet").cast(result.pods.schema))
    assert result.pods.column_names == ["pod", "app", "node", *STAGES]
    assert result.pods.column("finished_ns").null_count == result.pods.num_rows == 200
    assert len(result.series.column_names) == 7 and result.telemetry.num_rows > 1 and result.node_fill.num_rows > 1


def test_queues_are_those_of_the_file(result: podpace.Result, tmp_path: Path) -> None:
    assert result.queues is None
    from conftest import SCENARIO

    apps = [
        {"count": 4, "replicas": 50, "queue": "root.a", "requests": {"cpu": "100m"}},
        {"count": 1, "replicas": 20, "queue": "root.b", "requests": {"cpu": "100m"}},
    ]
    settings = {"scheduler.kind": "yunikorn", "scheduler.queues": [{"name": "root.a"}, {"name": "root.b"}]}
    queued = podpace.run(SCENARIO, {**settings, "workload.deployments": apps})
    assert queued.queues is not None
    queued.save(tmp_path / "saved")
    written = pd.read_csv(tmp_path / "saved" / "queues.csv")
    assert list(written.columns) == queued.queues.column_names and len(written) == queued.queues.num_rows
    assert written["root.b.holding"].iloc[-1] == queued.queues.column("root.b.holding")[-1].as_py() == 20


def test_columns_are_handed_over_without_a_copy(result: podpace.Result) -> None:
    # Two takers of one native table see the same memory.
    native = result._completed.pods()
    one, two = pa.table(native), pa.table(native)
    for name in ("pod", "app", "bound_ns"):
        a, b = one.column(name).chunk(0).buffers(), two.column(name).chunk(0).buffers()
        assert [x and x.address for x in a] == [x and x.address for x in b]
    # And polars takes the same object.
    frame = pl.DataFrame(native)
    assert frame.height == one.num_rows


def test_data_frames_keep_nanoseconds_and_nulls(result: podpace.Result) -> None:
    frame = result.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert str(frame["bound_ns"].dtype) == "UInt64" and bool(frame["finished_ns"].isna().all())
    latency = (frame["bound_ns"] - frame["created_ns"]).astype("int64").sort_values().reset_index(drop=True)
    # Nearest rank, as the metric is.
    assert latency[99] / 1e9 == pytest.approx(result.metrics["latency.created_to_bound.p50_s"])
    polar = result.to_polars()
    assert polar["bound_ns"].max() == frame["bound_ns"].max()
    assert polar["finished_ns"].null_count() == 200


def test_it_shows_itself(result: podpace.Result) -> None:
    html = result._repr_html_()
    assert "200 of 200" in html and "<svg" in html and result.limited_by.split(" ")[0] in html
    assert repr(result).startswith("Result('small', seed=1, 200 of 200 pods bound")


def test_the_page_is_the_report_s(result: podpace.Result, tmp_path: Path) -> None:
    result.report(tmp_path / "page.html")
    assert "<title>" in (tmp_path / "page.html").read_text()


def test_a_folder_that_is_no_result_is_not_replaced(result: podpace.Result, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(podpace.InputError, match="exists and is no result of podpace"):
        result.save(tmp_path / "mine")
    with pytest.raises(podpace.InputError, match="expected 'parquet', 'csv' or 'none'"):
        result.save(tmp_path / "other", pods="json")
