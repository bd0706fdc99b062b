"""Cost profiles and schedulers, as the native module takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import _native

if TYPE_CHECKING:
    from ._scheduler import Scheduler


def environment(models: str | os.PathLike[str] | None, schedulers: Sequence[type[Scheduler]]) -> _native.Environment:
    """What all runs share."""
    return _native.Environment(models, [(s.kind, s._profile(), s) for s in schedulers])
