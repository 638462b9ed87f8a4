"""Cards of the language model's SAEs: what is theirs beside `tools.saes.cards`."""

from collections.abc import Mapping
from typing import Any

from tools.local.evaluate import BARS, FEWEST_TOKENS, Numbers
from tools.saes.cards import Card, facts, rounded, verdicts
from tools.saes.cost import Run
from tools.saes.recipe import Recipe

LICENCE = (
    "MIT. The activations come from SmolLM2-135M-Instruct (Apache-2.0). No text that it was "
    "trained on ships with it."
)
EVALUATED_ON = (
    "speeches: state_union and inaugural, a source that was not trained on; same: held-out "
    "documents of the sources trained on; written: the course's corpus sample; sample: a few rows "
    "of speeches that ship with the course; held_out: speeches and same together; indirect: "
    "prompts of tools/local/names. The first position (BOS) is neither replaced nor counted. "
    "`tools/local/evaluate.py` and `utils/sae_metrics` define each metric; losses in nats, the "
    "anchor of what is recovered is an output of zeros, _se is a standard error (rows are drawn)"
)


def data_text(n_tokens: int, whole: bool, counts: Mapping[str, int]) -> str:
    """How many tokens of which sources; says so where it is not all that the recipe asks for."""
    sources = ", ".join(f"{name} {n // 1000}k" for name, n in counts.items())
    text = f"{n_tokens:,} tokens"
    if not whole:
        text += " (NOT FINAL: a random sample of the rows that are to be trained on)"
    return f"{text}, in rows of one document each, BOS first, from {sources}."


def make_card(
    recipe: Recipe,
    run: Run,
    model: str,
    data: dict[str, Any],
    metrics: dict[str, Numbers],
    density: dict[str, Any],
) -> Card:
    """Everything that a reader needs to judge an SAE and to make it again.

    `data` has `command`, `data` (a sentence), `segments`, `text` (their digests), `sources`,
    `tuned_on` (a segment, or None) and `examples` (see `tools.saes.examples`; None where there is
    no text that may be shown).
    """
    metrics = {"training": {"tokens": float(run.tokens)}, **metrics}
    return {
        **facts(recipe, run),
        "model": model,
        "licence": LICENCE,
        "evaluated_on": EVALUATED_ON,
        **data,
        "metrics": rounded(metrics),
        "density": density,
        "bars": verdicts(BARS, rounded(metrics)),
    }


def is_final(card: Card) -> bool:
    """Trained on all that was asked for."""
    return card["tokens"] >= FEWEST_TOKENS
