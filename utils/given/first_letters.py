"""Words by their first letter: activations, probes with words held out, SAEs to be tried."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.given.steering import residuals
from utils.models.sae import Sae, load_sae

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

PROMPT = "The word is"
PAIR = ("plain", "matryoshka")  # in artifacts/smollm2/absorption: they differ in nothing else


@dataclass(frozen=True)
class Words:
    """Words in one token each, a neutral text before them, and what the model holds at them."""

    text: list[str]
    letter: Int[Tensor, " item"]  # 0 is a
    x: Float[Tensor, "item d_model"]  # the residual stream, less its mean over the first half
    raw: Float[Tensor, "item d_model"]
    train: Bool[Tensor, " item"]


def letter_words(loaded: "Loaded", hook: str, n: int, gen: torch.Generator) -> Words:
    """`n` random words of the vocabulary (all, if there are fewer), half of them for training."""
    tokenizer, size = loaded.tokenizer, int(loaded.model.cfg.d_vocab)
    texts = [tokenizer.decode([i]) for i in range(size)]
    spaced = any(text[:1] == " " for text in texts)
    fits = [
        i
        for i, text in enumerate(texts)
        if text.strip().isascii() and text.strip().isalpha() and len(text.strip()) >= 4
        and (text == f" {text.strip().lower()}" or not spaced)
    ]  # fmt: skip
    order = torch.randperm(len(fits), generator=gen)[:n].tolist()
    chosen = [fits[i] for i in order]
    before = tokenizer.encode(PROMPT, add_special_tokens=False) if spaced else []
    ids = torch.tensor([[tokenizer.bos_token_id, *before, i] for i in chosen])
    raw = residuals(loaded, hook, ids, batch_rows=200)[:, -1]
    train = torch.arange(len(chosen)) < len(chosen) // 2
    words = [texts[i].strip() for i in chosen]
    letter = torch.tensor([ord(word[0].lower()) - ord("a") for word in words])
    return Words(words, letter, raw - raw[train].mean(dim=0), raw, train)


@dataclass(frozen=True)
class Probes:
    """A linear probe for every letter with enough words."""

    letters: list[int]
    directions: Float[Tensor, "row d_model"]  # one row per letter
    sees: Bool[Tensor, "row item"]  # whether the probe says that letter
    accuracy: float  # on the words held out


def letter_probes(words: Words, least: int = 40) -> Probes:
    """Trained on the first half (multinomial logistic regression), for frequent letters."""
    from sklearn.linear_model import LogisticRegression

    scale = float(words.x[words.train].std())
    z, train = (words.x / scale).numpy(), words.train.numpy()
    fitted = LogisticRegression(C=0.05, max_iter=300).fit(z[train], words.letter[words.train])
    said = torch.tensor(fitted.predict(z))
    right = (said == words.letter)[~words.train]
    known = [int(c) for c in fitted.classes_]
    letters = [c for c in known if int((words.letter == c).sum()) >= least]
    rows = torch.tensor(fitted.coef_[[known.index(c) for c in letters]], dtype=torch.float32)
    sees = torch.stack([said == c for c in letters])
    return Probes(letters, rows, sees, float(right.double().mean()))


@dataclass(frozen=True)
class Holes:
    """Words held out that have a letter which the probe sees; and one line per letter."""

    silent: Float[Tensor, " item"]  # 1 where all main latents of the letter are 0
    taken: Float[Tensor, " item"]  # 1 where another latent writes the letter instead
    names: list[str]
    cosine: list[float]  # of the latent nearest to the probe
    f1: list[float]  # of the best latent, on the training words
    silent_of: list[float]  # share of `silent`, by letter


def find_holes(
    words: Words,
    probes: Probes,
    sae: Sae,
    f1_scores: Callable[..., Tensor],
    absorbed: Callable[..., Tensor],
    least: float = 0.4,
) -> Holes:
    """Where the letters' main latents are silent, and what stands in for them.

    Main are the best latent by F1 on training words, and up to two that are at least half as good.
    The two functions are the learner's.
    """
    f, W = sae.encode(words.raw), sae.sae.W_dec.detach()
    silent, taken = [], []
    lines: dict[str, list[float]] = {"cosine": [], "f1": [], "silent_of": []}
    for letter, p, sees in zip(probes.letters, probes.directions, probes.sees, strict=True):
        has = words.letter == letter
        f1 = f1_scores((f > 0)[words.train], has[words.train])
        main = f1.topk(3).indices
        main = main[f1[main] >= 0.5 * f1.max()]
        test = ~words.train & has & sees & (words.x @ p > 0)
        silent.append((f[test][:, main] == 0).all(dim=1).float())
        taken.append(absorbed(words.x[test], f[test], main, W, p, least).float())
        lines["cosine"].append(float(torch.cosine_similarity(W, p[None], dim=1).max()))
        lines["f1"].append(float(f1.max()))
        lines["silent_of"].append(float(silent[-1].mean()) if len(silent[-1]) else 0.0)
    names = [chr(ord("a") + letter) for letter in probes.letters]
    return Holes(torch.cat(silent), torch.cat(taken), names, **lines)


def saes_to_try(ours: Sae) -> dict[str, Sae]:
    """The course's SAE, and a plain and a Matryoshka one of equal width and k where they are."""
    from utils.models.profiles import artifacts

    found = {"the course's SAE": ours}
    if ours.d_in == 576:
        for name in PAIR:
            folder = artifacts() / "smollm2" / "absorption" / name
            if (folder / "cfg.json").is_file():
                found[f"{name}, 2,304 latents"] = load_sae(folder)
    return found
