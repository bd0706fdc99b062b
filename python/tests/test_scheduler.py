"""Schedulers written in Python."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest
from conftest import SCENARIO

import podpace


class FirstFit(podpace.Scheduler):
    """As the built-in one: nodes in order of creation, the first that fits; the same costs."""

    kind = "first-fit-in-python"
    costs = {"cycle": "20us", "node_visited": "1us"}

    def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
        self.charge("cycle")
        visited = 0
        for node in nodes.ids():
            visited += 1
            if nodes.fits(node):
                self.charge("node_visited", visited)
                return node
        self.charge("node_visited", visited)
        return None


class WorstFit(podpace.Scheduler):
    kind = "worst-fit"
    costs = {"cycle": "100us"}

    def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
        self.charge("cycle")
        return max(nodes.feasible(), key=nodes.cpu_free, default=None)


def run(scheduler: type[podpace.Scheduler], **settings: podpace.Value) -> podpace.Result:
    return podpace.run(SCENARIO, {"scheduler.kind": scheduler.kind, **settings}, schedulers=[scheduler])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The built-in first-fit with the costs of the one in Python."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "first-fit.yaml").write_text(
        "apiVersion: podpace/v1\nkind: CostProfile\nname: first-fit\ncomponent: scheduler\nversion: '1'\n"
        "costs: {cycle: {value: 20us, source: as in Python}, node_visited: {value: 1us, source: as in Python}}\n"
    )
    return folder


def test_first_fit_in_python_is_the_built_in_one(models: Path) -> None:
    built_in = podpace.run(SCENARIO, {"scheduler.kind": "first-fit"}, models=models)
    ours = run(FirstFit)
    assert ours.pods.equals(built_in.pods)
    assert ours.metrics["ops.scheduler.node_visited"] == built_in.metrics["ops.scheduler.node_visited"]


def test_pods_that_are_deleted_while_they_wait_are_forgotten(models: Path) -> None:
    # One pod of three fits. It fails, the Job gives up and deletes the others, which wait.
    scenario = (
        "apiVersion: podpace/v1\nkind: Scenario\nname: deleted\n"
        "cluster: {nodes: [{count: 1, template: {allocatable: {cpu: 1, memory: 4Gi, pods: 10}}}]}\n"
        "controlPlane: {nodeLifecycle: {kind: kubelet, startLatency: 1s}}\nscheduler: {kind: first-fit}\n"
        "workload: {jobs: [{name: j, completions: 3, parallelism: 3, backoffLimit: 0, requests: {cpu: 1}, runTime: 30s}]}\n"
        "faults: [{kind: podFailure, at: 10s, pods: {count: 1}}]\nstop: {when: time, limit: 5m}\n"
    )
    built_in = podpace.run(scenario, models=models)
    ours = podpace.run(scenario, {"scheduler.kind": FirstFit.kind}, schedulers=[FirstFit])
    # The second one is bound into the room of the first before its deletion is asked for.
    assert built_in.metrics["pods.bound"] == 2
    assert ours.pods.equals(built_in.pods)


def test_it_decides_and_its_declared_cost_is_virtual_time() -> None:
    result = run(WorstFit, **{"scheduler.client": {"qps": 100_000, "burst": 100_000}})
    per_node = result.to_pandas().groupby("node").size()
    assert set(per_node) == {10} and len(per_node) == 20
    assert result.metrics["ops.scheduler.cycle"] == 200
    # 200 cycles of 100 us, one after the other.
    assert result.metrics["assumed.last_s"] >= 0.02
    assert result.summary["scheduler"] == {"kind": "worst-fit", "profile": "worst-fit"}


def test_it_is_deterministic_and_its_source_is_an_input() -> None:
    assert run(WorstFit).digest == run(WorstFit).digest

    class Other(WorstFit):
        costs = {"cycle": "200us"}

    assert run(Other).inputs != run(WorstFit).inputs


def test_code_without_a_text_is_an_input_too() -> None:
    def at_the_prompt(choice: str) -> type[podpace.Scheduler]:
        names: dict[str, type[podpace.Scheduler]] = {"WorstFit": WorstFit}
        code = f"class Typed(WorstFit):\n    def schedule(self, pod, nodes):\n        self.charge('cycle')\n        return {choice}\n"
        exec(compile(code, "<stdin>", "exec"), names)
        return names["Typed"]

    first, last = at_the_prompt("nodes.feasible()[0]"), at_the_prompt("nodes.feasible()[-1]")
    assert run(first).inputs == run(at_the_prompt("nodes.feasible()[0]")).inputs
    assert run(first).inputs != run(last).inputs


def test_the_file_of_a_cell_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel names the file of a cell by the number of its process, and keeps the text for tracebacks."""

    def in_a_cell(file: str, weight: int) -> type[podpace.Scheduler]:
        names: dict[str, type[podpace.Scheduler]] = {"WorstFit": WorstFit}
        text = f"class Cell(WorstFit):\n    weight = {weight}\n\n    def schedule(self, pod, nodes):\n        return min(nodes.feasible())\n"
        monkeypatch.setitem(linecache.cache, file, (len(text), None, text.splitlines(keepends=True), file))
        exec(compile(text, file, "exec"), names)
        return names["Cell"]

    first = run(in_a_cell("/tmp/ipykernel_1/1.py", 1)).inputs
    assert run(in_a_cell("/tmp/ipykernel_2/1.py", 1)).inputs == first
    assert run(in_a_cell("/tmp/ipykernel_1/1.py", 2)).inputs != first


def test_order_and_hooks() -> None:
    class LargestFirst(podpace.Scheduler):
        kind = "largest-first"
        costs = {"cycle": "1ms"}
        seen: list[str] = []

        def order(self, pod: podpace.Pod) -> float:
            return -pod.cpu_millicores

        def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
            self.charge("cycle")
            return next(iter(nodes.feasible(start=pod.id, limit=1)), None)

        def placed(self, pod: podpace.Pod, node: int) -> None:
            self.seen.append(f"{pod.app} {pod.cpu_millicores}")

    text = SCENARIO.replace(
        "[{count: 4, replicas: 50, requests: {cpu: 100m, memory: 128Mi}}]",
        "[{count: 1, replicas: 5, requests: {cpu: 100m}}, {count: 1, replicas: 5, requests: {cpu: 2}}]",
    )
    podpace.run(text, {"scheduler.kind": "largest-first"}, schedulers=[LargestFirst])
    sizes = [line.split(" ")[-1] for line in LargestFirst.seen]
    assert sizes.count("2000") == 5 and sizes[1:6].count("2000") >= 4


def test_exceptions_and_wrong_answers_end_the_run() -> None:
    class Raises(WorstFit):
        def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
            raise LookupError(f"no idea about {pod}")

    class Uncharged(WorstFit):
        def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
            self.charge("score")
            return None

    class Full(WorstFit):
        def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
            return 999

    with pytest.raises(LookupError, match=r"no idea about Pod\("):
        run(Raises)
    with pytest.raises(ValueError, match="charged `score`, which its `costs` do not name; they name: cycle"):
        run(Uncharged)
    with pytest.raises(ValueError, match="chose node 999 for pod .*, which does not fit there"):
        run(Full)
    with pytest.raises(podpace.InputError, match="worst-fit"):
        podpace.run(SCENARIO, {"scheduler.kind": "worst-fit"})


def test_a_pod_without_a_node_is_pending_and_says_why() -> None:
    class Never(WorstFit):
        def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
            self.charge("cycle")
            return None

    result = run(Never)
    assert result.summary["counts"]["pending"] == 200
    assert result.summary["pending_reasons" if "pending_reasons" in result.summary else "pendingReasons"] == {
        "worst-fit found no node": 200
    }


def test_nodes_as_columns() -> None:
    class ByTable(WorstFit):
        def schedule(self, pod: podpace.Pod, nodes: podpace.Nodes) -> int | None:
            import pyarrow as pa

            self.charge("cycle")
            table = pa.table(nodes.table())
            rows = [row for row in table.to_pylist() if row["fits"]]
            best = max(rows, key=lambda row: row["cpu"] - row["cpu_used"], default=None)
            return None if best is None else int(best["node"])

    assert run(ByTable).pods.equals(run(WorstFit).pods)
