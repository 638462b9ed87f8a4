"""Automated interpretation: sentences about latents, and how well they hold.

    family(text)                 every sentence of a written family that one could say of a token
    explain(active, family)      the sentence that fits a latent best (the local explainer)
    draw(acts, mask, ...)        examples to judge a sentence by: strong, weak, and silent ones
    detection, fuzzing, simulation      what a judge's answers are worth
    Endpoint(model, base_url)    any server that speaks OpenAI's protocol, as explainer and judge
    interpret(acts_of, latents, text)    all of it for many latents, with a progress bar

Nothing here needs a network except an `Endpoint`, and importing this package loads none of it.
"""

from utils.autointerp.endpoint import Endpoint, EndpointError, NoEndpoint, ReplyError
from utils.autointerp.examples import Examples, draw
from utils.autointerp.explain import Explanation, explain
from utils.autointerp.judges import EndpointJudge, LocalJudge
from utils.autointerp.predicates import Family, Predicate, Text, family
from utils.autointerp.run import Interpretation, interpret
from utils.autointerp.score import Score, detection, fuzzing, simulation

__all__ = [
    "Endpoint",
    "EndpointError",
    "EndpointJudge",
    "Examples",
    "Explanation",
    "Family",
    "Interpretation",
    "LocalJudge",
    "NoEndpoint",
    "Predicate",
    "ReplyError",
    "Score",
    "Text",
    "detection",
    "draw",
    "explain",
    "family",
    "fuzzing",
    "interpret",
    "simulation",
]
