"""The package gives the bytes and the words of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import podpace

import podpace as pp


def test_a_saved_result_has_the_binary_s_manifest(binary: Path, scenario_file: Path, tmp_path: Path) -> None:
    done = podpace(binary, "run", scenario_file, "--set", "scheduler.client.qps=80", "--out", tmp_path / "binary")
    assert done.returncode == 0, done.stderr
    pp.Scenario(scenario_file).run({"scheduler.client.qps": 80}).save(tmp_path / "package")
    manifests = [(tmp_path / side / "manifest.json").read_text() for side in ("binary", "package")]
    assert manifests[0] == manifests[1]
    assert json.loads(manifests[0])["files"].keys() >= {"summary.json", "pods.parquet", "series.csv"}


def test_a_sweep_has_the_binary_s_folder(binary: Path, scenario_file: Path, tmp_path: Path) -> None:
    arguments = ["--vary", "scheduler.client.qps=50,100", "--seeds", "2", "--out", tmp_path / "binary"]
    assert podpace(binary, "sweep", scenario_file, *arguments).returncode == 0
    sweep = pp.sweep(scenario_file, {"scheduler.client.qps": [50, 100]}, seeds=2, out=tmp_path / "package")
    for name in ("manifest.json", "sweep.json", "sweep.csv"):
        assert (tmp_path / "binary" / name).read_bytes() == (tmp_path / "package" / name).read_bytes()
    assert sweep.to_json() == (tmp_path / "binary" / "sweep.json").read_text()


def test_plan_prints_the_same(binary: Path, scenario_file: Path) -> None:
    goal, vary = "throughput.bound.mean>=60", "scheduler.client.qps=20..100:20"
    settings = ["--set", "workload.deployments[0].replicas=40", "--seeds", "2", "--format", "json"]
    done = podpace(binary, "plan", scenario_file, "--goal", goal, "--vary", vary, *settings)
    scenario = pp.Scenario(scenario_file).set({"workload.deployments[0].replicas": 40})
    found = pp.plan(scenario, goal, {"scheduler.client.qps": "20..100:20"}, seeds=2)
    # Everything, the commands that repeat its runs among it.
    assert found.to_json() == done.stdout
    assert f"podpace run {scenario_file} --set 'workload.deployments[0].replicas=40' --set " in done.stdout
    assert found.best == {"scheduler.client.qps": "60"} or found.best == {"scheduler.client.qps": "40"}
    assert found.table.num_rows == len(found.found["points"])


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("replicas: 50", "replicas: many"),
        ("kind: kube-scheduler", "kind: kube-sheduler"),
        ("memory: 128Mi", "memory: 128MB"),
        ("seed: 1", "sede: 1"),
    ],
)
def test_errors_have_the_binary_s_text(binary: Path, scenario_file: Path, text: str, settings: str) -> None:
    scenario_file.write_text(scenario_file.read_text().replace(text, settings))
    done = podpace(binary, "run", scenario_file)
    with pytest.raises(pp.InputError) as raised:
        pp.Scenario(scenario_file).run()
    assert done.returncode == raised.value.code == 2
    assert str(raised.value) == done.stderr.rstrip("\n")
    assert isinstance(raised.value, ValueError)


def test_a_setting_that_is_none_is_told_as_by_set(binary: Path, scenario_file: Path) -> None:
    done = podpace(binary, "run", scenario_file, "--set", "scheduler.client.qsp=80")
    with pytest.raises(pp.InputError) as raised:
        pp.Scenario(scenario_file).run({"scheduler.client.qsp": 80})
    assert str(raised.value) == done.stderr.rstrip("\n")


def test_a_goal_that_is_none_is_told_as_by_plan(binary: Path, scenario_file: Path) -> None:
    for goal, seeds in (("throughput.bound.mean", 5), ("throughput.bound.maen>=1", 5), ("throughput.bound.mean>=1", 0)):
        words = ["--goal", goal, "--vary", "scheduler.client.qps=1,2", "--seeds", str(seeds)]
        done = podpace(binary, "plan", scenario_file, *words)
        with pytest.raises(pp.InputError) as raised:
            pp.plan(scenario_file, goal, {"scheduler.client.qps": [1, 2]}, seeds=seeds)
        assert done.returncode == raised.value.code == 2
        assert str(raised.value) == done.stderr.rstrip("\n")


def test_commands_are_the_binary_s(binary: Path, repository: Path, tmp_path: Path) -> None:
    gate = repository / "ci" / "example" / "node-sort-gate.yaml"
    done = podpace(binary, "check", gate, "--format", "json")
    checked = pp.check(gate)
    assert checked == json.loads(done.stdout)
    with pytest.raises(pp.InputError) as raised:
        pp.diff(tmp_path / "a", tmp_path / "b")
    assert str(raised.value) == podpace(binary, "diff", tmp_path / "a", tmp_path / "b").stderr.rstrip("\n")
    with pytest.raises(pp.InputError, match="unexpected argument '--nothing'"):
        pp.command("run", "--nothing")
