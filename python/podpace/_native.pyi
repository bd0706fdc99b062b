"""Types of the native module; use the package instead."""

from collections.abc import Callable
from os import PathLike
from typing import final

__all__ = [
    "Completed",
    "Document",
    "Environment",
    "Nodes",
    "Pod",
    "Table",
    "VERSION",
    "command",
    "plan",
    "run",
    "sweep",
    "sweep_runs",
]

VERSION: str

@final
class Document:
    @staticmethod
    def load(path: str | PathLike[str]) -> Document: ...
    @staticmethod
    def parse(name: str, text: str, directory: str | PathLike[str]) -> Document: ...
    def set(self, assignments: list[str]) -> Document: ...
    def decode(self) -> None: ...
    def to_yaml(self) -> str: ...
    def runs(self) -> list[tuple[str, int, str]]: ...
    def source(self) -> str: ...
    def settings(self) -> list[str]: ...
    def references(self) -> list[str]: ...
    @property
    def file(self) -> str: ...
    @property
    def directory(self) -> str | PathLike[str] | None: ...
    @property
    def kind(self) -> str: ...

@final
class Environment:
    def __new__(
        cls,
        models: str | PathLike[str] | None = None,
        schedulers: list[tuple[str, str, Callable[[], object]]] = ...,
    ) -> Environment: ...

@final
class Table:
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __len__(self) -> int: ...

@final
class Completed:
    def summary(self) -> str: ...
    def digest(self) -> str: ...
    def pods(self) -> Table: ...
    def series(self) -> Table: ...
    def telemetry(self) -> Table: ...
    def node_fill(self) -> Table: ...
    def queues(self) -> Table | None: ...
    def save(self, out: str | PathLike[str], pods: str) -> None: ...

@final
class Pod:
    """A pod as a scheduler sees it."""

    @property
    def id(self) -> int:
        """Number, in order of creation."""
    @property
    def app(self) -> str:
        """Application."""
    @property
    def queue(self) -> str:
        """Queue that the application asks for; empty: none."""
    @property
    def user(self) -> str:
        """Who submitted it; empty: nobody in particular."""
    @property
    def priority(self) -> int:
        """``spec.priority``."""
    @property
    def cpu_millicores(self) -> int:
        """CPU requests, millicores."""
    @property
    def memory_bytes(self) -> int:
        """Memory requests, bytes."""
    @property
    def extended(self) -> dict[str, int]:
        """Other requests by name."""
    @property
    def labels(self) -> dict[str, str]:
        """Labels."""

@final
class Nodes:
    """The scheduler's view of the nodes: what is allocatable, and what its own placements use."""

    def __len__(self) -> int: ...
    def ids(self) -> list[int]:
        """Numbers of all nodes, ascending."""
    def fits(self, node: int) -> bool:
        """Whether the pod of this cycle fits: resources, node name, selectors, required node affinity, taints."""
    def feasible(self, start: int = 0, limit: int | None = None) -> list[int]:
        """Nodes that the pod of this cycle fits on, from ``start`` on and around, at most ``limit`` of them."""
    def cpu_free(self, node: int) -> int:
        """CPU that nobody uses, millicores."""
    def memory_free(self, node: int) -> int:
        """Memory that nobody uses, bytes."""
    def cpu(self, node: int) -> int:
        """Allocatable CPU, millicores."""
    def memory(self, node: int) -> int:
        """Allocatable memory, bytes."""
    def pods(self, node: int) -> int:
        """Pods on it."""
    def name(self, node: int) -> str:
        """Its name."""
    def labels(self, node: int) -> dict[str, str]:
        """Its labels."""
    def table(self) -> Table:
        """All nodes as Arrow columns: node, name, cpu, cpu_used, memory, memory_used, pods_used, fits."""

def run(document: Document, environment: Environment) -> Completed: ...
def sweep(
    document: Document,
    environment: Environment,
    vary: list[str],
    seeds: int | None = None,
    jobs: int = 0,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    only: list[tuple[int, int]] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> str: ...
def sweep_runs(document: Document, vary: list[str], seeds: int | None = None) -> list[tuple[int, int, str]]: ...
def plan(
    document: Document,
    environment: Environment,
    arguments: list[str],
    jobs: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> str: ...
def command(arguments: list[str]) -> tuple[int, str, list[str]]: ...
