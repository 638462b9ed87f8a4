"""Prompts with an indirect object (Wang et al. 2022), in two halves, and what can be asked of them.

Half `form` is for finding hypotheses, half `test` for testing them: other templates, other names.
All prompts of a model have the same number of tokens, so that no padding is needed.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from utils.models.loaded import Loaded
    from utils.models.sae import Sae

Half = Literal["form", "test"]
# {1}, {2}: the two names in order; {S}: the one that is repeated. All have 16 tokens with BOS.
TEMPLATES: dict[Half, tuple[str, ...]] = {
    "form": (
        "When{1} and{2} went to the big store,{S} gave a drink to",
        "While{1} and{2} were at the office,{S} showed a long letter to",
        "Yesterday{1} and{2} met at the station,{S} offered a seat to",
        "Then{1} and{2} had a long lunch, and{S} brought a cake to",
        "When{1} and{2} got home from school,{S} passed the old book to",
    ),
    "test": (
        "After{1} and{2} walked to the park,{S} handed a red ball to",
        "Because{1} and{2} were working in the garden,{S} threw a rope to",
        "Last week{1} and{2} had dinner together, and{S} told a story to",
        "Before{1} and{2} left the old house,{S} sent a long message to",
        "As{1} and{2} sat in the small kitchen,{S} lent a pencil to",
    ),
}
NAMES: dict[Half, tuple[str, ...]] = {
    "form": (
        *("Mary", "John", "Tom", "Anna", "James", "Sarah", "Michael", "Lisa", "Robert", "Emma"),
        *("Peter", "Paul", "Kevin", "Laura", "Alice", "Jack", "Susan", "Adam", "Lucy", "Brian"),
    ),
    "test": (
        *("David", "Kate", "George", "Mark", "Jane", "Bob", "Amy", "Henry", "Helen", "Maria"),
        *("Daniel", "Simon", "Rachel", "Julia", "Sam", "Emily", "Richard", "Steve", "Linda"),
        *("Karen", "Martin"),
    ),
}
STORY_TEMPLATES: dict[Half, tuple[int, ...]] = {"form": (0, 2), "test": (1,)}


@dataclass(frozen=True)
class Prompts:
    """Prompts of equal length; the last token is "to", and the next one should be `io`."""

    tokens: Int[Tensor, "prompt pos"]
    io: Int[Tensor, " prompt"]  # the right name
    s: Int[Tensor, " prompt"]  # the repeated one
    io_at: Int[Tensor, " prompt"]  # where the right name stands
    s1_at: Int[Tensor, " prompt"]  # where the other stands first
    s2_at: Int[Tensor, " prompt"]  # and where it stands again
    abba: Bool[Tensor, " prompt"]  # the right name comes first
    template: Int[Tensor, " prompt"]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def end_at(self) -> Int[Tensor, " prompt"]:
        """The last position of each."""
        return torch.full_like(self.io, self.tokens.shape[1] - 1)

    def some(self, which: Tensor | slice) -> "Prompts":
        """Some of the prompts."""
        return Prompts(**{name: value[which] for name, value in vars(self).items()})

    def with_second(self, names: Int[Tensor, " prompt"]) -> "Prompts":
        """The same with another name in the place of the repeated one; the answers stay."""
        tokens = self.tokens.clone()
        tokens[torch.arange(len(self)), self.s2_at] = names
        return replace(self, tokens=tokens)

    def with_third_name(self, gen: torch.Generator) -> "Prompts":
        """The same with a name that is not in the prompt: nobody is repeated."""
        everybody = torch.cat([self.io, self.s]).unique()
        drawn = everybody[torch.randint(len(everybody), (16, len(self)), generator=gen)]
        free = (drawn != self.io) & (drawn != self.s)
        if not free.any(dim=0).all():
            raise ValueError("no third name was drawn: take prompts with more names")
        return self.with_second(drawn.gather(0, free.int().argmax(dim=0, keepdim=True))[0])


def ioi_prompts(loaded: "Loaded", half: Half, n_pairs: int, seed: int) -> Prompts:
    """`n_pairs` ordered pairs of names for each template, in both orders (ABBA and BABA)."""
    gen = torch.Generator().manual_seed(seed)
    if loaded.name.startswith("tiny_"):
        return _story_prompts(half, n_pairs, gen)
    tokenized = [loaded.tokenizer.encode(f" {n}", add_special_tokens=False) for n in NAMES[half]]
    ids = [found[0] for found in tokenized if len(found) == 1]
    rows = []
    for number, template in enumerate(TEMPLATES[half]):
        text = template.replace("{1}", " Mary").replace("{2}", " John").replace("{S}", " Mary")
        base = loaded.model.to_tokens(text)[0].cpu()
        mary, john = (int(loaded.model.to_single_token(n)) for n in (" Mary", " John"))
        (first, again), (second,) = ((base == name).nonzero()[:, 0] for name in (mary, john))
        for _ in range(n_pairs):
            one, two = (ids[int(i)] for i in torch.randperm(len(ids), generator=gen)[:2])
            for abba in (True, False):
                io, s = (one, two) if abba else (two, one)
                row = base.clone()
                row[first], row[second], row[again] = one, two, s
                places = (first, second) if abba else (second, first)
                rows.append((row, io, s, *places, again, abba, number))
    lengths = [len(row) for row, *_ in rows]
    usual = max(lengths, key=lengths.count)  # another tokenizer may cut a template differently
    return _prompts([row for row in rows if len(row[0]) == usual])


def _story_prompts(half: Half, n_pairs: int, gen: torch.Generator) -> Prompts:
    """The same in the words of the story models."""
    from utils.data.stories.indirect import indirect_object_prompts

    rows = []
    for template in STORY_TEMPLATES[half]:
        drawn = indirect_object_prompts(n_pairs, template, "ABBA", gen)
        for row, io, s in zip(drawn.tokens, drawn.receiver, drawn.giver, strict=True):
            (first,), (second, again) = ((row == name).nonzero()[:, 0] for name in (io, s))
            other = row.clone()
            other[again] = io
            rows.append((row, io, s, first, second, again, True, template))
            rows.append((other, s, io, second, first, again, False, template))
    return _prompts(rows)


def _prompts(rows: list[tuple]) -> Prompts:
    """Columns as tensors."""
    tokens, *rest = zip(*rows, strict=True)
    columns = [torch.tensor([v.item() if isinstance(v, Tensor) else v for v in c]) for c in rest]
    return Prompts(torch.stack(tokens), *columns)


@dataclass(frozen=True)
class Parts:
    """What every component writes to the residual stream at the last position of a clean run."""

    z: Float[Tensor, "prompt layer head d_head"]
    writes: dict[str, Float[Tensor, "prompt d_model"]]  # embed, attn 0, mlp 0, …
    scale: Float[Tensor, " prompt"]  # of the final norm
    final: Float[Tensor, "prompt d_model"]  # the stream before the final norm
    logits: Float[Tensor, "prompt vocab"]


@torch.no_grad()
def parts_of(loaded: "Loaded", tokens: Int[Tensor, "prompt pos"], batch: int = 50) -> Parts:
    """One clean run, kept at the last position."""
    from utils.progress import track

    model, n = loaded.model, loaded.n_layers
    names = {"embed": "blocks.0.hook_resid_pre", "final": loaded.hook("resid_post", n - 1)}
    for i in range(n):
        names |= {f"attn {i}": loaded.hook("attn_out", i), f"z {i}": loaded.hook("z", i)}
        if f"blocks.{i}.hook_mlp_out" in model.hook_dict:
            names[f"mlp {i}"] = loaded.hook("mlp_out", i)
    names["scale"] = "ln_final.hook_scale"
    found: dict[str, list[Tensor]] = {name: [] for name in (*names, "logits")}
    for rows in track(tokens.split(batch), "prompts through the model"):
        logits, cache = model.run_with_cache(rows, names_filter=list(names.values()))
        found["logits"].append(logits[:, -1].float())
        for name, hook in names.items():
            found[name].append(cache[hook][:, -1].float())
    joined = {name: torch.cat(values) for name, values in found.items()}
    z = torch.stack([joined.pop(f"z {i}") for i in range(n)], dim=1)
    scale, final, logits = (joined.pop(name) for name in ("scale", "final", "logits"))
    return Parts(z, joined, scale.flatten(), final, logits)


@torch.no_grad()
def latents_at(
    loaded: "Loaded", sae: "Sae", tokens: Int[Tensor, "row pos"]
) -> Float[Tensor, "row pos latent"]:
    """The latents on rows of tokens; blocks above the SAE do not run."""
    from utils.models.splice import latents_of

    stop = sae.layer + 1
    parts = [latents_of(loaded.model, ids, sae, stop_at_layer=stop) for ids in tokens.split(8)]
    return torch.cat([part[sae.hook_out] for part in parts])


def read_out_constant(loaded: "Loaded") -> Float[Tensor, " vocab"]:
    """Logits that no component writes: the final norm's bias, and the unembedding's."""
    model, found = loaded.model, torch.zeros(loaded.model.W_U.shape[1])
    bias = getattr(model.ln_final, "bias", None)
    for part in (None if bias is None else bias @ model.W_U, model.b_U):
        found = found if part is None else found + part.detach().cpu()
    return found
