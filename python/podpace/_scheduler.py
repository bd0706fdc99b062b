"""Schedulers written in Python, for research.

A class says which node a pod gets, and declares what that would cost a real scheduler: the *virtual* CPU time of its
operations. What the Python code itself takes is *real* time and has no influence on a result, only on how long one waits
for it: a call into the interpreter a pod, some microseconds to milliseconds, and one at a time.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import linecache
import marshal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import CodeType
from typing import ClassVar, final

from ._native import Nodes, Pod


class Scheduler(ABC):
    """A scheduler with one pod a cycle.

    The pod with the smallest :meth:`order` is taken, :meth:`schedule` chooses its node, the operations that it
    :meth:`charge` d take virtual CPU time, then the pod is assumed and bound. A pod without a node is tried again when a
    pod leaves or a node comes or changes.

    It must be deterministic: no clock, no random numbers without a fixed seed, no iteration over sets.

    Example::

        class WorstFit(podpace.Scheduler):
            kind = "worst-fit"
            costs = {"cycle": "100us", "node": "500ns"}

            def schedule(self, pod, nodes):
                candidates = nodes.feasible()
                self.charge("cycle")
                self.charge("node", len(nodes))
                return max(candidates, key=nodes.cpu_free, default=None)

        podpace.run(scenario, {"scheduler.kind": "worst-fit"}, schedulers=[WorstFit])
    """

    #: Name by which ``scheduler.kind`` selects it.
    kind: ClassVar[str]
    #: Virtual CPU time of each operation, as Go writes durations down to picoseconds: ``{"node": "2.75us"}``.
    costs: ClassVar[Mapping[str, str]]

    def __init__(self) -> None:
        """A new instance for each run; overrides call ``super().__init__()``."""
        self._charged: dict[str, int] = {}

    @abstractmethod
    def schedule(self, pod: Pod, nodes: Nodes) -> int | None:
        """The node for a pod, or ``None``. A node that the pod does not fit on is an error."""

    def order(self, pod: Pod) -> float:
        """Pods with smaller keys go first; equal ones in order of arrival. Asked when the pod enters the queue."""
        raise NotImplementedError

    def placed(self, pod: Pod, node: int) -> None:
        """A pod was assumed on a node, or was found there."""

    def gone(self, pod: Pod, node: int) -> None:
        """A pod has left its node, or its binding has failed."""

    @final
    def charge(self, operation: str, count: int = 1) -> None:
        """Charges operations of this cycle; ``operation`` is one of :attr:`costs`."""
        self._charged[operation] = self._charged.get(operation, 0) + count

    @final
    def _cycle(self, pod: Pod, nodes: Nodes) -> tuple[int | None, dict[str, int]]:
        node = self.schedule(pod, nodes)
        charged, self._charged = self._charged, {}
        return None if node is None else int(node), charged

    @final
    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(Scheduler, name)

    @classmethod
    def _profile(cls) -> str:
        """Its cost profile. The version is a hash of its source: a sweep does not go on with results of another."""
        source = b"".join(_source(each) for each in cls.__mro__[: cls.__mro__.index(Scheduler)])
        version = hashlib.sha256(source).hexdigest()[:16]
        costs = {name: {"value": value, "source": f"declared by {cls.__qualname__}"} for name, value in cls.costs.items()}
        return json.dumps(
            {
                "apiVersion": "podpace/v1",
                "kind": "CostProfile",
                "name": cls.kind,
                "component": "scheduler",
                "version": version,
                "costs": costs,
            },
            indent=1,
        )


def _source(cls: type) -> bytes:
    """The text of a class; where there is none (at the prompt of some Pythons), the code that it was compiled to."""
    try:
        return inspect.getsource(cls).encode()
    except (OSError, TypeError):
        functions = [value for _, value in sorted(vars(cls).items()) if inspect.isfunction(value)]
    for function in functions:
        if text := _text_around(cls, function.__code__):
            return text.encode()
    return cls.__qualname__.encode() + b"".join(marshal.dumps(_placeless(each.__code__), 2) for each in functions)


def _text_around(cls: type, code: CodeType) -> str:
    """The class in the text that one of its functions came from: a notebook keeps its cells, but inspect finds no class in them."""
    lines = linecache.getlines(code.co_filename)
    try:
        nodes = list(ast.walk(ast.parse("".join(lines))))
    except SyntaxError:
        return ""
    for node in nodes:
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__ and node.end_lineno:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= code.co_firstlineno <= node.end_lineno:
                return "".join(lines[first - 1 : node.end_lineno])
    return ""


def _placeless(code: CodeType) -> CodeType:
    """The code without the name of its file, which may be another one each time: a cell's has the number of a process."""
    constants = (_placeless(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_filename="", co_consts=tuple(constants))
