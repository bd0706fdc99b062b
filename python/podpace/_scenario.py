"""Scenarios: from a file, a text or a dict; settings make a copy."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from . import _native
from ._errors import InputError

if TYPE_CHECKING:
    from ._result import Result
    from ._scheduler import Scheduler

#: What a field may be set to: whatever YAML can say.
Value = Union[str, int, float, bool, None, Sequence["Value"], Mapping[str, "Value"]]


def setting(path: str, value: Value) -> str:
    """``path=value`` as the command line takes it. A string is taken as YAML, as on the command line."""
    return f"{path}={value if isinstance(value, str) else json.dumps(value)}"


class Scenario:
    """What is simulated: a scenario, or an experiment or sweep as files hold them. Never changed.

    Args:
        source: a path (``os.PathLike``, or a string of one line), the text of a YAML file, or a dict of the same shape.
        directory: where files that it names (traces, manifests, configurations) are looked for; of a path: its own
            folder, else the working directory.
        name: what errors call a text or a dict.

    Fields are checked when it is used, or by :meth:`validate`: settings may still change them.

    Raises:
        InputError: the file can't be read, or is no YAML.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any],
        *,
        directory: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(source, Mapping):
            text = json.dumps(source, indent=2, default=_refuse)
            self._document = _native.Document.parse(name or "<dict>", text, directory or ".")
        elif isinstance(source, str) and "\n" in source:
            self._document = _native.Document.parse(name or "<text>", source, directory or ".")
        else:
            if directory is not None:
                raise TypeError("a file's directory is its own; leave `directory` out")
            self._document = _native.Document.load(source)

    @classmethod
    def _of(cls, document: _native.Document) -> Scenario:
        scenario = cls.__new__(cls)
        scenario._document = document
        return scenario

    def _recipe(self) -> tuple[str, str, str, list[str]]:
        """From which the same document can be made elsewhere: name, text, directory, settings."""
        document = self._document
        return document.file, document.source(), os.path.abspath(document.directory or "."), document.settings()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, self._recipe()

    def set(self, settings: Mapping[str, Value] | None = None, *, seed: int | None = None) -> Scenario:
        """A copy with fields set, by path, as ``--set`` does: ``{"scheduler.client.qps": 500}``.

        Raises:
            InputError: a path or value is none.
        """
        assignments = [setting(path, value) for path, value in (settings or {}).items()]
        if seed is not None:
            assignments.append(f"seed={seed}")
        return self._of(self._document.set(assignments))

    def validate(self) -> Scenario:
        """Itself, if nothing is wrong with it that can be seen without running it.

        Raises:
            InputError: with file, line, field, value, and what was expected; every error at once.
        """
        self._document.decode()
        return self

    def run(
        self,
        settings: Mapping[str, Value] | None = None,
        *,
        seed: int | None = None,
        models: str | os.PathLike[str] | None = None,
        schedulers: Sequence[type[Scheduler]] = (),
    ) -> Result:
        """Simulates it; see :func:`podpace.run`."""
        from ._run import run

        return run(self, settings, seed=seed, models=models, schedulers=schedulers)

    def runs(self) -> dict[str, Scenario]:
        """The runs of an experiment, or the points of a sweep, by name, each as a scenario; of a scenario none."""
        directory = self._document.directory or "."
        return {
            name: Scenario(text, directory=directory, name=f"{self.name}: {name}")
            for name, _, text in self._document.runs()
        }

    @property
    def kind(self) -> str:
        """``Scenario``, ``Experiment``, ``Sweep`` or ``MeasuredStudy``."""
        return self._document.kind

    @property
    def name(self) -> str:
        """The file's name, as errors show it."""
        return self._document.file

    def to_yaml(self) -> str:
        """The scenario with its settings, as YAML that reads back as the same scenario."""
        return self._document.to_yaml()

    def __repr__(self) -> str:
        return f"Scenario({self.name!r})"

    def _repr_html_(self) -> str:
        try:
            text = self.to_yaml()
        except InputError:  # no scenario, or not yet one that can run
            text = self._document.source()
        return f"<b>{html.escape(self.name)}</b><pre>{html.escape(text)}</pre>"


def _rebuild(name: str, text: str, directory: str, settings: list[str]) -> Scenario:
    return Scenario._of(_native.Document.parse(name, text, directory).set(settings))


def _refuse(value: object) -> object:
    raise TypeError(f"a scenario can't hold a {type(value).__name__}: {value!r}; use str, int, float, bool, list, dict")
