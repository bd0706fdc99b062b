"""podpace predicts what a Kubernetes control plane does to a workload.

A scenario says what the cluster, its control plane, its scheduler and its workload are. :func:`run` simulates it in
virtual time and says how many pods start per second, how long each waits and where, and what holds them up::

    import podpace

    scenario = podpace.Scenario("scenarios/kubemark-2021.yaml")
    result = scenario.run()
    result.metrics["throughput.bound.mean"]
    result.pods.to_pandas()
    podpace.sweep(scenario, {"scheduler.client.qps": [50, 100, 200]}, seeds=5)

Results have the bytes of the command line's: same version, scenario, settings, seed and profiles, same hashes.
"""

from ._commands import check, command, diff, explain, report, trace_import, validate
from ._errors import InputError, PodpaceError, RunError
from ._native import VERSION as __version__
from ._native import Nodes, Pod
from ._result import Result
from ._run import Plan, plan, run
from ._scenario import Scenario, Value
from ._scheduler import Scheduler
from ._sweep import Sweep, sweep

__all__ = [
    "InputError",
    "Nodes",
    "Plan",
    "Pod",
    "PodpaceError",
    "Result",
    "RunError",
    "Scenario",
    "Scheduler",
    "Sweep",
    "Value",
    "__version__",
    "check",
    "command",
    "diff",
    "explain",
    "plan",
    "report",
    "run",
    "sweep",
    "trace_import",
    "validate",
]
