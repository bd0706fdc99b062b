"""Times 1,000 small runs of the package beside the binary: `python -P speed.py BINARY`.

Both sweep 20 settings under 50 seeds each, in turn, `ROUNDS` times; the fastest of each counts. The binary's time has its
start in it, the package's has not. CPU seconds are of all threads, and say more than those of the clock where others compute, too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import podpace

ROUNDS = 5
SCENARIO = """\
apiVersion: podpace/v1
kind: Scenario
name: small
cluster: {nodes: [{count: 20, template: {allocatable: {cpu: 8, memory: 32Gi, pods: 110}}}]}
controlPlane: {apiServer: {profile: apiserver-1.36}, etcd: {profile: etcd-3.6}}
scheduler: {kind: kube-scheduler, client: {qps: 50, burst: 100}}
workload: {deployments: [{count: 4, replicas: 50, requests: {cpu: 100m, memory: 128Mi}}], start: backlog}
"""
VALUES = list(range(20, 220, 10))


def timed(call: Callable[[], str]) -> tuple[float, float, str]:
    """Seconds of the clock, of CPU (with those of processes that ended), and what was said."""

    def cpu() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    clock, before = time.perf_counter(), cpu()
    said = call()
    return time.perf_counter() - clock, cpu() - before, said


def main() -> None:
    binary = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.yaml"
        file.write_text(SCENARIO)
        vary = f"scheduler.client.qps={','.join(map(str, VALUES))}"
        words = [str(binary), "sweep", str(file), "--vary", vary, "--seeds", "50", "--format", "json"]

        def by_binary() -> str:
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout

        def by_package() -> str:
            return podpace.sweep(file, {"scheduler.client.qps": VALUES}, seeds=50).to_json()

        rounds = [(timed(by_binary), timed(by_package)) for _ in range(ROUNDS)]
    assert all(binary[2] == package[2] for binary, package in rounds), "the same bytes"
    for at, what in ((0, "clock"), (1, "CPU")):
        one, other = (min(side[at] for side in sides) for sides in zip(*rounds))
        print(f"{what}: binary {one:.2f} s, package {other:.2f} s, {one / other:.2f} times as fast as the binary")


if __name__ == "__main__":
    main()
