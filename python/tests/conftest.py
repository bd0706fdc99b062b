"""The repository around the package, and the binary to compare with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

SCENARIO = """\
apiVersion: podpace/v1
kind: Scenario
name: small
seed: 1
cluster:
  nodes: [{count: 20, template: {allocatable: {cpu: 8, memory: 32Gi, pods: 110}}}]
controlPlane: {apiServer: {profile: apiserver-1.36}, etcd: {profile: etcd-3.6}}
scheduler: {kind: kube-scheduler, client: {qps: 50, burst: 100}}
workload: {deployments: [{count: 4, replicas: 50, requests: {cpu: 100m, memory: 128Mi}}], start: backlog}
"""


@pytest.fixture
def scenario_text() -> str:
    return SCENARIO


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def binary() -> Path:
    """`PODPACE` names it; else the newest build of this repository."""
    named = os.environ.get("PODPACE")
    candidates = [Path(named)] if named else [REPOSITORY / "target" / p / "podpace" for p in ("debug", "release")]
    found = [path.resolve() for path in candidates if path.is_file()]
    if not found:
        pytest.skip("no binary to compare with: build it, or name it by PODPACE")
    return max(found, key=lambda path: path.stat().st_mtime)


def podpace(binary: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(argument) for argument in arguments]
    return subprocess.run([str(binary), *words], capture_output=True, text=True, check=False)
