"""Load local files without asking the hub about them."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def offline() -> Iterator[None]:
    """Refuse the hub inside: a slow, absent or watched network then costs nothing.

    The switch is the library's own, set where it is read at run time, so that a model of the hub
    can still be loaded afterwards in the same process (HF_HUB_OFFLINE acts once, at import).
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
