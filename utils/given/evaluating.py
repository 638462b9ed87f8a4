"""Stories for 3.2.10: tokens with their truth, tasks in four regimes, SAEs that learned nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.autointerp import Family, Text, family
from utils.data.stories.lexicon import ALL_PLACES, GIRLS, PLACES, SCENES, VOCABULARY
from utils.data.stories.sample import Stories, sample_stories
from utils.data.stories.telling import ROLES
from utils.given.probe_splits import Flip, probes_on, split_of
from utils.given.steering import residuals
from utils.progress import track
from utils.saes.coder import SparseCoder, encode, init_coder
from utils.saes.config import SAEConfig

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

HOOK, LABELS = "blocks.2.hook_resid_post", ("role", "tense", "number", "depth", "where", "happy")
REGIMES = ("few data", "imbalance", "label noise", "shift")


@dataclass(frozen=True)
class Tokens:
    """Every token of some stories but the first of a row."""

    x: Float[Tensor, "item d_model"]
    pos: Int[Tensor, " item"]
    tasks: dict[str, Bool[Tensor, " item"]]  # questions with the answer yes or no
    said: Family  # sentences about words, and none about the grammar's labels
    truth: Bool[Tensor, "item predicate"]  # the grammar's labels
    names: list[str]

    @property
    def fit(self) -> Bool[Tensor, " item"]:
        """The first half, for choosing explanations."""
        return torch.arange(len(self.x)) < len(self.x) // 2


@cache
def plain_model() -> "Loaded":
    """The story model, loaded once."""
    return story_model()


def story_model(
    scramble: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None,
) -> "Loaded":
    """The four-layer story model, or the same with its weights passed through `scramble`."""
    from utils.course import ARTIFACTS
    from utils.models.loaded import Loaded
    from utils.models.tiny import load_tiny

    model = load_tiny(ARTIFACTS / "tiny_story_4l")
    if scramble is not None:
        model.load_state_dict(scramble(model.state_dict()))
    return Loaded(model, model.tokenizer, "tiny_story_4l")


def yes_or_no(stories: Stories) -> dict[str, Tensor]:
    """Questions about a token, by what the words so far tell: its tense, who acts, where.

    Inside a quotation subject and number are those of the clause around it.
    """
    labels = stories.labels
    scenes = torch.tensor([SCENES.index(scene) for scene in SCENES for _ in PLACES[scene]])
    where = labels["where"]
    scene = torch.where(where >= 0, scenes[where.clamp(min=0)], -1)
    found = {
        "the tense is present": labels["tense"] == 1,
        "the subject is plural": labels["number"] == 1,
        "inside a quotation": labels["depth"] > 0,
        "a girl acts": (labels["subject"] >= 0) & (labels["subject"] < len(GIRLS)),
        "the story is happy": labels["happy"] == 1,
    }
    return found | {f"the scene is {name}": scene == i for i, name in enumerate(SCENES)}


@torch.no_grad()
def story_tokens(n: int, seed: int, loaded: "Loaded | None" = None) -> Tokens:
    """Tokens of `n` rows of fresh stories, and the residual stream after block 2."""
    loaded = loaded or plain_model()
    n_ctx = int(loaded.model.cfg.n_ctx)
    stories = sample_stories(n, n_ctx, torch.Generator().manual_seed(seed))
    mask = torch.ones_like(stories.tokens, dtype=torch.bool)
    mask[:, 0] = False
    words = [[VOCABULARY[int(i)] for i in row] for row in stories.tokens]
    labels = {name: stories.labels[name] for name in LABELS}
    text = Text(words, mask, labels, {"role": ROLES, "where": ALL_PLACES})
    all_said = family(text, least=60)
    about_labels = [p.kind.startswith("label") for p in all_said.predicates]
    pairs = list(zip(all_said.predicates, about_labels, strict=True))
    plain = [i for i, label in enumerate(about_labels) if not label]
    said = Family([p for p, label in pairs if not label], text, all_said.holds[plain])
    tasks = {name: yes[mask] for name, yes in yes_or_no(stories).items()}
    pos = torch.arange(n_ctx).expand_as(mask)[mask]
    truth = all_said.holds[torch.tensor(about_labels)].T
    names = [str(p) for p, label in pairs if label]
    return Tokens(residuals(loaded, HOOK, stories.tokens, 50)[mask], pos, tasks, said, truth, names)


def frozen_sae(
    rows: Float[Tensor, "row d_in"], cfg: SAEConfig, seed: int, steps: int = 400, lr: float = 2e-3
) -> SparseCoder:
    """TopK whose decoder stays where it was drawn: encoder and biases are trained, for the error.

    The rows of the decoder have norm 1, the encoder starts as its transpose.
    """
    gen = torch.Generator().manual_seed(seed)
    params = init_coder(cfg, gen).params
    W_dec = params["W_dec"] / params["W_dec"].norm(dim=1, keepdim=True)
    encoder, b_enc = W_dec.clone().requires_grad_(), params["b_enc"].clone().requires_grad_()
    b_dec = rows.mean(dim=0).clone().requires_grad_()
    adam = torch.optim.Adam([encoder, b_enc, b_dec], lr=lr)
    with torch.enable_grad():
        for _ in track(range(steps), "SAE with a frozen decoder"):
            x = rows[torch.randint(len(rows), (512,), generator=gen)]
            pre = (x - b_dec) @ encoder.T + b_enc
            values, where = pre.topk(cfg.k, dim=1)
            f = torch.zeros_like(pre).scatter(1, where, values.relu())
            loss = (x - f @ W_dec - b_dec).square().sum(dim=1).mean()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
    learned = {"encoder": encoder.detach(), "b_enc": b_enc.detach(), "b_dec": b_dec.detach()}
    return SparseCoder(
        cfg, params | learned | {"W_dec": W_dec}, torch.zeros((), dtype=torch.double)
    )


def probe_regime(
    data: Tokens,
    f: Float[Tensor, "item latent"],
    regime: str,
    seeds: Sequence[int],
    flip: Flip,
    choose: Callable[..., Tensor],
    auc: Callable[..., float],
) -> tuple[Tensor, Tensor, Tensor]:
    """All tasks and seeds in one regime: AUC in validation and test; is_sae."""
    runs = [(task, seed) for seed in seeds for task in data.tasks]
    found: list[Any] = []
    for task, seed in track(runs, regime):
        split = split_of(data, task, regime, seed, flip)
        if not (split.y_train.any() and split.y_valid.any()):
            continue
        if split.y_train.all() or split.y_valid.all():
            continue
        found.append(probes_on(data, f, task, split, choose, auc))
    valid, test = (torch.tensor([one[i] for one in found], dtype=torch.float64) for i in (0, 1))
    return valid, test, torch.tensor(found[0][2])


def detector_quality(
    fires: Bool[Tensor, "item latent"],
    truth: Bool[Tensor, "item predicate"],
    best_detectors: Callable[..., tuple[Tensor, Tensor, Tensor]],
) -> float:
    """Mean F1 over the grammar's labels of the best latent of each: the truth of an SAE here."""
    _, precision, recall = best_detectors(fires, truth)
    return float((2 * precision * recall / (precision + recall).clamp(min=1e-12)).mean())


def explained_share(
    active: Bool[Tensor, "item latent"], data: Tokens, least: int = 25
) -> Float[Tensor, " latent"]:
    """Each live latent's explanation: the best sentence about words on the first half of the
    tokens, and its balanced accuracy on the second half. All latents and sentences at once.
    """
    fit, holds = data.fit, data.said.holds
    both = torch.minimum(active[fit].sum(dim=0), active[~fit].sum(dim=0))
    silent = torch.minimum((~active[fit]).sum(dim=0), (~active[~fit]).sum(dim=0))
    live = active[:, (both >= least) & (silent >= least)].float()
    scores = []
    for part in (fit, ~fit):
        a, h = live[part], holds[:, part].float()
        hits, n_on = h @ a, a.sum(dim=0)
        false = h.sum(dim=1, keepdim=True) - hits
        scores.append((hits / n_on + 1 - false / (len(a) - n_on)) / 2)
    return scores[1].gather(0, scores[0].argmax(dim=0)[None])[0]


def codes(coder: SparseCoder, x: Float[Tensor, "item d_in"]) -> Float[Tensor, "item latent"]:
    """All activations."""
    return torch.cat([encode(coder, part) for part in x.split(4096)])


@dataclass(frozen=True)
class Made:
    """An SAE built by hand: how it encodes rows, and what it writes."""

    encode: Callable[[Tensor], Tensor]
    W_dec: Float[Tensor, "latent d_in"]
    b_dec: Float[Tensor, " d_in"]
    hook_in: str = HOOK
    hook_out: str = HOOK

    def decode(
        self, latents: Float[Tensor, "*batch latent"], x: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction."""
        return latents @ self.W_dec + self.b_dec

    def l0(self, x: Float[Tensor, "item d_in"]) -> float:
        """Active latents per row."""
        return float((self.encode(x) > 0).double().sum(dim=1).mean())

    def explains(self, x: Float[Tensor, "item d_in"]) -> float:
        """Share of the variance explained."""
        left = (x - self.decode(self.encode(x), x)).square().sum()
        return 1 - float(left / (x - x.mean(dim=0)).square().sum())


def relu_made(
    W_enc: Float[Tensor, "d_in latent"],
    W_dec: Float[Tensor, "latent d_in"],
    b_dec: Float[Tensor, " d_in"],
) -> Made:
    """A ReLU SAE that subtracts its bias and adds it again."""
    return Made(lambda x: ((x - b_dec) @ W_enc).relu(), W_dec, b_dec)


def of_coder(coder: SparseCoder) -> Made:
    """A trained SAE as one of these."""
    W_dec, b_dec = (coder.params[name].detach() / coder.scale_out for name in ("W_dec", "b_dec"))
    return Made(partial(codes, coder), W_dec, b_dec)


def loss_recovered(sae: Made, n_rows: int, seed: int) -> float:
    """Share of the loss recovered in the story model on the stories of a seed (3.2.1)."""
    from utils.given.in_model import sample_rows
    from utils.sae_metrics.recovered import in_model

    loaded = plain_model()
    rows = sample_rows(loaded, n_rows, seed)
    return in_model(loaded.model, rows, sae, anchor="mean", batch_rows=n_rows).loss_recovered


def only_largest(z: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
    """TopK with k = 1."""
    value, where = z.max(dim=-1, keepdim=True)
    return torch.zeros_like(z).scatter(-1, where, value.relu())


def as_often_active(
    z: Float[Tensor, "item latent"], active: Bool[Tensor, "item latent"]
) -> Bool[Tensor, "item latent"]:
    """Where each column is among its largest, as often as the same column of `active` is true."""
    n = active.sum(dim=0)
    edge = z.sort(dim=0, descending=True).values.gather(0, (n - 1).clamp(min=0)[None])
    return (z >= edge) & (n > 0)
