"""Scenarios from files, texts and dicts."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import podpace

DICT = {
    "apiVersion": "podpace/v1",
    "kind": "Scenario",
    "name": "small",
    "seed": 1,
    "cluster": {"nodes": [{"count": 20, "template": {"allocatable": {"cpu": 8, "memory": "32Gi", "pods": 110}}}]},
    "controlPlane": {"apiServer": {"profile": "apiserver-1.36"}, "etcd": {"profile": "etcd-3.6"}},
    "scheduler": {"kind": "kube-scheduler", "client": {"qps": 50, "burst": 100}},
    "workload": {
        "deployments": [{"count": 4, "replicas": 50, "requests": {"cpu": "100m", "memory": "128Mi"}}],
        "start": "backlog",
    },
}


def test_text_dict_and_file_are_the_same_scenario(scenario_text: str, scenario_file: Path) -> None:
    scenarios = [podpace.Scenario(source) for source in (scenario_text, scenario_file, str(scenario_file), DICT)]
    inputs = {scenario.run().inputs for scenario in scenarios}
    assert len(inputs) == 1
    assert {scenario.to_yaml() for scenario in scenarios} == {scenarios[0].to_yaml()}
    assert podpace.Scenario(scenarios[0].to_yaml()).run().inputs in inputs


def test_settings_make_a_copy(scenario_text: str) -> None:
    scenario = podpace.Scenario(scenario_text)
    faster = scenario.set({"scheduler.client": {"qps": 500, "burst": 500}}, seed=7)
    assert "qps: 500" in faster.to_yaml() and "qps: 500" not in scenario.to_yaml()
    assert faster.run().summary["seed"] == 7
    assert faster.run().metrics["throughput.bound.mean"] > 2 * scenario.run().metrics["throughput.bound.mean"]


def test_a_scenario_can_be_sent_elsewhere(scenario_file: Path) -> None:
    scenario = podpace.Scenario(scenario_file).set({"scheduler.client.qps": 70})
    again = pickle.loads(pickle.dumps(scenario))
    assert again.run().digest == scenario.run().digest


def test_errors_of_a_dict_name_the_field() -> None:
    wrong = {**DICT, "workload": {"deployments": [{"count": 1, "replicas": 1, "requests": {"memory": "5MB"}}]}}
    with pytest.raises(podpace.InputError, match=r"<dict>:\d+:\d+: workload.deployments\[0\].requests.memory"):
        podpace.Scenario(wrong).validate()
    with pytest.raises(TypeError, match="can't hold a PosixPath"):
        podpace.Scenario({**DICT, "name": Path("x")})


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(podpace.InputError("error: x", 2)))
    assert (str(error), error.code) == ("error: x", 2)


def test_it_shows_itself(scenario_text: str) -> None:
    html = podpace.Scenario(scenario_text)._repr_html_()
    assert "kube-scheduler" in html and "<pre>" in html
