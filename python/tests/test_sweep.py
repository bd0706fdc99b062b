"""Sweeps as tables, and on Ray."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import podpace

VARY: dict[str, list[podpace.Value]] = {"scheduler.client.qps": [50, 100], "scheduler.kind": ["kube-scheduler", "first-fit"]}


def test_rows_become_tables(scenario_text: str) -> None:
    sweep = podpace.sweep(scenario_text, VARY, seeds=2)
    frame = sweep.to_pandas("throughput.bound.mean", "pods.pending")
    assert list(frame.columns) == ["scheduler.client.qps", "scheduler.kind", "throughput.bound.mean", "pods.pending", "limited_by"]
    assert list(frame["scheduler.client.qps"]) == [50, 50, 100, 100]
    assert frame["throughput.bound.mean"][2] > frame["throughput.bound.mean"][0]
    assert sweep.to_polars("bound.last_s", statistic="max").height == 4 == len(sweep)
    assert "<table>" in sweep._repr_html_() and repr(sweep) == "Sweep(4 points, 8 runs)"
    with pytest.raises(KeyError, match="throughput.bound.maen"):
        sweep.table("throughput.bound.maen")


def test_it_goes_on_where_it_was(scenario_text: str, tmp_path: Path) -> None:
    whole = podpace.sweep(scenario_text, VARY, out=tmp_path / "whole")
    again = podpace.sweep(scenario_text, VARY, out=tmp_path / "whole", resume=True)
    assert whole.to_json() == again.to_json()
    with pytest.raises(podpace.InputError, match="holds a sweep already"):
        podpace.sweep(scenario_text, VARY, out=tmp_path / "whole")


try:
    import ray
except ImportError:  # it has no wheels for some versions of Python
    ray = None
needs_ray = pytest.mark.skipif(ray is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def cluster() -> object:
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")  # its half a minute is short on a busy machine
    ray.init(num_cpus=2, include_dashboard=False, logging_level=30)
    yield
    ray.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@needs_ray
def test_on_ray_the_same_bytes(cluster: object, scenario_text: str, tmp_path: Path) -> None:
    podpace.sweep(scenario_text, VARY, seeds=3, out=tmp_path / "here")
    seen: list[int] = []
    podpace.sweep(
        scenario_text, VARY, seeds=3, out=tmp_path / "there", executor="ray", progress=lambda done, _: seen.append(done)
    )
    assert files(tmp_path / "here") == files(tmp_path / "there")
    assert seen[-1] == 12


@needs_ray
def test_the_trace_goes_through_the_object_store(cluster: object, repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "study" / "trace"
    podpace.trace_import("k8s-list", repository / "traces" / "kubectl" / "kubectl_get_pods_jobs.json", out=trace)
    scenario = tmp_path / "study" / "week.yaml"
    scenario.write_text((repository / "scenarios" / "week.yaml").read_text())
    source = podpace.Scenario(scenario).set({"workload.trace": "trace"})
    podpace.sweep(source, {"scheduler.client.qps": [20, 50]}, out=tmp_path / "here")
    from podpace._ray import _bundle

    _, shipped = _bundle(source, None)
    assert any("trace/" in name for name in shipped)
    podpace.sweep(source, {"scheduler.client.qps": [20, 50]}, out=tmp_path / "there", executor="ray")
    assert files(tmp_path / "here") == files(tmp_path / "there")


@needs_ray
def test_errors_are_the_same_on_ray(cluster: object, scenario_text: str) -> None:
    wrong = podpace.Scenario(scenario_text).set({"scheduler.profile": "no-such-profile"})
    texts = []
    for executor in ("threads", "ray"):
        with pytest.raises(podpace.InputError) as raised:
            podpace.sweep(wrong, executor=executor)  # type: ignore[arg-type]
        texts.append(str(raised.value))
    assert texts[0] == texts[1]


def workers() -> list[int]:
    """Processes of Ray that run a task of ours."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue
            if title.startswith(b"ray::_task"):
                found.append(int(entry.name))
    return found


@needs_ray
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
def test_a_killed_worker_costs_nothing_but_time(cluster: object, scenario_text: str, tmp_path: Path) -> None:
    vary: dict[str, list[podpace.Value]] = {"workload.deployments[0].replicas": [400, 401]}
    podpace.sweep(scenario_text, vary, seeds=8, out=tmp_path / "here")
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.is_set() and len(killed) < 2:
            for worker in workers()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
                time.sleep(0.5)
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    podpace.sweep(scenario_text, vary, seeds=8, out=tmp_path / "there", executor="ray")
    over.set()
    thread.join()
    assert killed, "no worker was seen running a task"
    assert files(tmp_path / "here") == files(tmp_path / "there")
