"""Models with a transcoder at every layer, loaded once for tests and claims of 3.2.6 and 3.2.7."""

import functools

from utils.models import language_model, transcoders


@functools.lru_cache
def story():
    """The story model and its transcoders."""
    loaded = language_model("tiny")
    return loaded, transcoders(range(loaded.n_layers), "tiny")


@functools.lru_cache
def smollm2():
    """SmolLM2 and its thirty transcoders."""
    loaded = language_model("local")
    return loaded, transcoders(range(loaded.n_layers), "local")
