"""Sweeps on Ray: the same runs as tasks of a cluster, with the same bytes.

What the scenario names (trace, manifests, configurations, its own text) goes into Ray's object store once; each node
lays it out on its disk once and reads it from there. A task runs some runs and gives back the files that a sweep keeps; the
driver writes them as they come. Ray runs a task again whose worker died (:data:`RETRIES` times). At the end the
driver takes the table over all runs as ``resume`` does: it checks the inputs' hash of each, and what should be missing all
the same it runs itself.

The package itself, and files named by an absolute path, are not shipped: they must be there on every node. What was laid out stays in the
node's folder for temporary files.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import _native
from ._environment import environment
from ._progress import Progress, shown
from ._scenario import Scenario
from ._scheduler import Scheduler

#: How often a task is run again whose worker died.
RETRIES = 5
#: Tasks a core: more would be smaller than their overhead, fewer would leave cores idle at the end.
TASKS_A_CORE = 8

#: A hash over all files; each file's path below the worker's folder, its permissions and its content.
Bundle = tuple[str, dict[str, tuple[int, bytes]]]


def _bundle(scenario: Scenario, models: str | os.PathLike[str] | None) -> Bundle:
    """Every file that workers need, by path below the root of the worker's folder, and a hash of all."""
    directory = Path(scenario._document.directory or ".").resolve()
    files: dict[str, tuple[int, bytes]] = {}

    def add(path: Path, below: Path) -> None:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                name = str(below / file.relative_to(path)) if path.is_dir() else str(below)
                files[name] = (file.stat().st_mode & 0o777, file.read_bytes())

    for name in scenario._document.references():
        if not os.path.isabs(name):
            path = Path(os.path.normpath(directory / name))
            add(path, Path("tree") / path.relative_to(path.anchor))
    if models is not None:
        add(Path(models), Path("models"))
    digest = hashlib.sha256()
    for name, (mode, content) in sorted(files.items()):
        digest.update(f"{name} {mode} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:32], files


def _lay_out(bundle: Bundle) -> Path:
    """The bundle's files on this node's disk; the first worker writes them."""
    name, files = bundle
    # Windows has a folder for temporary files a user, and no numbers of users.
    user = os.getuid() if hasattr(os, "getuid") else None
    root = Path(tempfile.gettempdir()) / (f"podpace-{name}" if user is None else f"podpace-{user}-{name}")
    if user is not None and root.exists() and root.stat().st_uid != user:
        raise PermissionError(f"{root} belongs to somebody else; remove it, or set TMPDIR")
    if not root.is_dir():
        partial = Path(tempfile.mkdtemp(prefix="podpace-", dir=tempfile.gettempdir()))
        try:
            for path, (mode, content) in files.items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_bytes(content)
                (partial / path).chmod(mode)
            partial.rename(root)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            if not root.is_dir():  # or another worker was faster
                raise
    return root


def _task(
    bundle: Bundle,
    recipe: tuple[str, str, str, list[str]],
    grid: list[str],
    seeds: int | None,
    has_models: bool,
    schedulers: Sequence[type[Scheduler]],
    runs: list[tuple[int, int]],
) -> dict[str, bytes]:
    """Some runs of the sweep: the files that they leave in ``runs/``."""
    root = _lay_out(bundle)
    name, text, directory, settings = recipe
    below = root / "tree" / Path(directory).relative_to(Path(directory).anchor)
    document = _native.Document.parse(name, text, below if below.is_dir() else directory).set(settings)
    around = environment(root / "models" if has_models else None, schedulers)
    with tempfile.TemporaryDirectory(prefix="podpace-") as folder:
        out = Path(folder) / "sweep"
        _native.sweep(document, around, grid, seeds, 1, out, False, runs, None)
        return {file.name: file.read_bytes() for file in (out / "runs").iterdir()}


def _keep(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def sweep_on_ray(
    scenario: Scenario,
    grid: list[str],
    seeds: int | None,
    jobs: int | None,
    out: str | os.PathLike[str] | None,
    resume: bool,
    models: str | os.PathLike[str] | None,
    schedulers: Sequence[type[Scheduler]],
    progress: Progress,
) -> str:
    """The rows of a sweep that ran on Ray. Connects to a running cluster, or starts one on this machine."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("executor='ray' needs Ray: pip install 'podpace[ray]'") from error
    runs = _native.sweep_runs(scenario._document, grid, seeds)
    around = environment(models, schedulers)
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="podpace-") as temporary, shown(progress, "runs") as report:
        folder = Path(out) if out is not None else Path(temporary) / "sweep"
        # Opens, or refuses, the folder as every sweep does.
        _native.sweep(scenario._document, around, grid, seeds, 1, folder, resume, [], None)
        kept = folder / "runs"
        have = {file.name for file in kept.iterdir()}
        todo = [(at, seed) for at, seed, file in runs if file not in have]
        done = len(runs) - len(todo)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call,unused-ignore]
        cores = max(1, int(resources.get("CPU", 1)))
        size = max(1, -(-len(todo) // (cores * TASKS_A_CORE)))
        chunks = [todo[i : i + size] for i in range(0, len(todo), size)]
        shared = ray.put(_bundle(scenario, models))
        remote = ray.remote(max_retries=RETRIES)(_task)
        start: Callable[[list[tuple[int, int]]], Any] = lambda chunk: remote.remote(  # noqa: E731
            shared, scenario._recipe(), grid, seeds, models is not None, list(schedulers), chunk
        )
        waiting = list(reversed(chunks))
        under_way: list[Any] = []
        try:
            while waiting or under_way:
                while waiting and len(under_way) < (jobs or 4 * cores):
                    under_way.append(start(waiting.pop()))
                finished, under_way = ray.wait(under_way, num_returns=1, timeout=0.5)
                for reference in finished:
                    for name, content in ray.get(reference).items():
                        _keep(kept / name, content)
                        done += 1
                if report is not None:
                    report(done, len(runs))
        except ray.exceptions.RayTaskError as error:
            for reference in under_way:
                ray.cancel(reference)
            raise error.cause from None
        except BaseException:
            for reference in under_way:
                ray.cancel(reference)
            raise
        return _native.sweep(scenario._document, around, grid, seeds, 0, folder, True, None, None)
