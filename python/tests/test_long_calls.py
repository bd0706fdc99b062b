"""The interpreter's lock, Ctrl-C, progress."""

from __future__ import annotations

import _thread
import threading
import time

import pytest

import podpace

LONG = """\
apiVersion: podpace/v1
kind: Scenario
name: long
cluster: {nodes: [{count: 5000, template: {allocatable: {cpu: 32, memory: 256Gi, pods: 1000}}}]}
controlPlane: {apiServer: {profile: apiserver-1.36}, etcd: {profile: etcd-3.6}}
scheduler: {kind: kube-scheduler, client: {qps: 5000, burst: 5000}}
workload: {deployments: [{count: 100, replicas: 20000, requests: {cpu: 10m, memory: 10Mi}}], start: backlog}
"""


#: Within a second, on a machine that does nothing else.
PATIENCE = 5.0


def interrupted(call: object) -> float:
    """Presses Ctrl-C a second after the call has begun, and says how long it took to end."""
    pressed = [0.0]

    def press() -> None:
        pressed[0] = time.monotonic()
        _thread.interrupt_main()

    timer = threading.Timer(1.0, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()  # type: ignore[operator]
    return time.monotonic() - pressed[0]


def test_ctrl_c_ends_a_run() -> None:
    scenario = podpace.Scenario(LONG)
    assert interrupted(scenario.run) < PATIENCE


def test_ctrl_c_ends_a_sweep_and_what_is_finished_stays(tmp_path: object) -> None:
    from conftest import SCENARIO

    scenario = podpace.Scenario(SCENARIO)
    assert interrupted(lambda: podpace.sweep(scenario, seeds=100_000, out=f"{tmp_path}/sweep")) < PATIENCE
    import pathlib

    kept = list((pathlib.Path(f"{tmp_path}") / "sweep" / "runs").glob("*.json"))
    assert kept and not (pathlib.Path(f"{tmp_path}") / "sweep" / "sweep.json").exists()


def test_other_threads_go_on_meanwhile() -> None:
    ticks = [0]
    running = threading.Event()

    def count() -> None:
        while not running.is_set():
            ticks[0] += 1
            time.sleep(0.005)

    thread = threading.Thread(target=count)
    thread.start()
    podpace.run(LONG, {"workload.deployments[0].replicas": 200})
    running.set()
    thread.join()
    assert ticks[0] > 10


def test_progress_is_told_and_its_exception_ends_the_sweep(scenario_text: str) -> None:
    seen: list[tuple[int, int]] = []
    podpace.sweep(scenario_text, {"scheduler.client.qps": [40, 50]}, seeds=5, progress=lambda *x: seen.append(x))
    assert seen[-1] == (10, 10) and seen == sorted(seen)

    def fail(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        podpace.sweep(scenario_text, seeds=100_000, progress=fail)
