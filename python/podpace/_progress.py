"""Progress of long calls: a bar where tqdm is, or a function of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Optional, Union

#: ``None`` or ``False``: none; ``True``: a bar of tqdm; else a function of (done, total).
Progress = Optional[Union[bool, Callable[[int, int], object]]]


@contextmanager
def shown(progress: Progress, what: str) -> Iterator[Callable[[int, int], object] | None]:
    """The function to be called with (done, total), while a bar is shown."""
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        yield progress
    else:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install 'podpace[progress]'") from error
        with tqdm(total=None, unit=f" {what}") as bar:

            def show(done: int, total: int) -> None:
                bar.total = total or None
                bar.n = done
                bar.refresh()

            yield show
