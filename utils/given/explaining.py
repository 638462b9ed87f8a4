"""Many explanations at once, each beside its controls; and stories with what the model holds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.autointerp import Family, Text, family
from utils.data.stories.lexicon import VOCABULARY
from utils.data.stories.sample import Stories, sample_stories
from utils.data.stories.telling import ROLES
from utils.given.families import story_saes
from utils.given.steering import residuals, told
from utils.models.loaded import Loaded
from utils.models.sae import Sae
from utils.progress import track

FEWEST = 25  # active tokens of a latent in each part
LABELS = ("role", "tense", "number", "depth", "happy")


@dataclass(frozen=True)
class Scored:
    """Held-out scores, and what the latents' explanations are: (score, latent, sentence)."""

    scores: dict[str, Float[Tensor, " item"]]
    best: list[tuple[float, int, str]]

    def show(self, gen: torch.Generator, n: int = 5) -> None:
        """Print medians and means, and every so many of the explanations, best first."""
        for name, values in self.scores.items():
            print(f"{name:22} median {values.median():.2f}, mean {told(values, gen)}")
        for score, number, sentence in sorted(self.best)[:: -max(len(self.best) // n, 1)]:
            print(f"   {score:.2f} latent {number}: {sentence}")


def score_many(
    active: Bool[Tensor, "token latent"],
    x: Float[Tensor, "token d_model"],
    said: Family,
    fit: Bool[Tensor, " token"],
    most: int,
    gen: torch.Generator,
    best_predicate: Callable[..., tuple[int, float]],
    balanced_accuracy: Callable[..., Tensor],
    random_like: Callable[..., Tensor],
) -> Scored:
    """Explain `most` latents, random directions as often active, and score swapped explanations.

    The functions are the learner's. A random direction is active where its projection is largest.
    """
    both = torch.minimum(active[fit].sum(dim=0), active[~fit].sum(dim=0))
    live = (both >= FEWEST).nonzero()[:, 0]
    found: dict[str, list[float]] = {n: [] for n in ("latents", "random directions", "shuffled")}
    best: list[tuple[float, int, str]] = []
    drawn = live[torch.randperm(len(live), generator=gen)[:most]].tolist()
    last = None
    for number in track(drawn, "latents"):
        truth = active[:, number]
        index, score = best_predicate(truth, said.holds, fit)
        z = (x - x.mean(dim=0)) @ random_like(x[0], 1, gen)[0]
        as_often = z >= z.topk(int(truth.sum())).values[-1]
        if min(int(as_often[fit].sum()), int(as_often[~fit].sum())) > 0:
            found["random directions"].append(best_predicate(as_often, said.holds, fit)[1])
        if last is not None:  # the explanation of the latent before
            swapped = balanced_accuracy(said.holds[last, ~fit], truth[~fit])
            found["shuffled"].append(float(swapped))
        found["latents"].append(score)
        best.append((score, number, str(said.predicates[index])))
        last = index
    return Scored({name: torch.tensor(values) for name, values in found.items()}, best)


@dataclass(frozen=True)
class Told:
    """Stories, the residual stream of the four-layer story model after block 2, its SAEs."""

    stories: Stories
    model: Loaded
    saes: dict[int, Sae]  # by width
    x: Float[Tensor, "token d_model"]
    active: dict[int, Bool[Tensor, "token latent"]]
    said: Family
    fit: Bool[Tensor, " token"]  # the first half


@torch.no_grad()
def told_stories(n: int, seed: int) -> Told:
    """`n` rows of stories; the first token of a row does not count."""
    from utils.course import ARTIFACTS
    from utils.models.tiny import load_tiny

    model = load_tiny(ARTIFACTS / "tiny_story_4l")
    loaded, saes = Loaded(model, model.tokenizer, "tiny_story_4l"), story_saes()
    stories = sample_stories(n, int(model.cfg.n_ctx), torch.Generator().manual_seed(seed))
    mask = torch.ones_like(stories.tokens, dtype=torch.bool)
    mask[:, 0] = False
    words = [[VOCABULARY[int(i)] for i in row] for row in stories.tokens]
    labels = {name: stories.labels[name] for name in LABELS}
    said = family(Text(words, mask, labels, {"role": ROLES}), least=40)
    x = residuals(loaded, next(iter(saes.values())).hook_in, stories.tokens, 50)[mask]
    active = {width: sae.encode(x) > 0 for width, sae in saes.items()}
    return Told(stories, loaded, saes, x, active, said, torch.arange(len(x)) < len(x) // 2)


def labels_found(
    story: Told, gen: torch.Generator, best_predicate: Callable[..., tuple[int, float]]
) -> tuple[int, int]:
    """(how many, of how many) latents made from the grammar's labels are explained by their label.

    Such a latent is active on 80 % of the label's tokens, and on 0.5 % of the others.
    """
    n_found = n_labels = 0
    for predicate, holds in zip(story.said.predicates, story.said.holds, strict=True):
        if predicate.kind.startswith("label"):
            noise = torch.rand(len(holds), generator=gen)
            made = torch.where(holds, noise < 0.8, noise < 0.005)
            index, _ = best_predicate(made, story.said.holds, story.fit)
            n_labels += 1
            n_found += int((story.said.holds[index] == holds).all())
    return n_found, n_labels


def enrichment_sizes(
    vectors: Float[Tensor, "item d_model"],
    members: Bool[Tensor, " vocab"],
    gain: Float[Tensor, " d_model"],
    W_U: Float[Tensor, "d_model vocab"],
    enrichment_score: Callable[..., float],
) -> Float[Tensor, " item"]:
    """Sizes of the scores of one set of tokens, one per direction."""
    return torch.tensor([abs(enrichment_score((v * gain) @ W_U, members)) for v in vectors])
