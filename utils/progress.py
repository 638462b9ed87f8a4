"""A progress bar for long loops, in notebooks and terminals alike."""

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")


def track(iterable: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of `iterable` under a progress bar called `label`.

    `total` is needed where `iterable` has no length. `COURSE_PROGRESS=0` in the environment
    switches every bar off (tests, CI, executed notebooks).
    """
    disable = os.environ.get("COURSE_PROGRESS") == "0"
    # a redraw every 0.2 s: the widget's message would otherwise cost more than a toy model's step
    return iter(tqdm(iterable, desc=label, total=total, disable=disable, mininterval=0.2))
