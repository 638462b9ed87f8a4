"""Text that the local language model writes itself: prompts from a seed, sampled in batches.

Batch i draws kind, prompts and samples from (seed, i) alone and is written to its own file, so a
run that was stopped continues where it was and ends with the same text. Same text means: same
weights, same torch, same number of threads; another order of additions can change a sampled word.
"""

import hashlib
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tools.corpus.prompts import KINDS, SLOTS, Kind, draw_prompts
from utils import files
from utils.data.corpus import Documents, join, load_documents, merge, save_documents
from utils.progress import track

PARTS = "parts"  # the folder of finished batches, beside the result


@dataclass(frozen=True)
class WritingConfig:
    """What is sampled and what is kept."""

    n_tokens: int = 200_000  # kept tokens at which to stop; the last batch is kept whole
    seed: int = 0
    batch: int = 64  # one thread: 8, 16, 32, 64 rows give 74, 107, 149, 180 tokens a second
    temperature: float = 0.8  # 1.0 wanders off in a model of this size
    top_p: float = 0.95  # nucleus sampling (Holtzman et al. 2020) cuts the unreliable tail
    top_k: int = 64  # sorting 64 candidates costs nothing, sorting 49,152 half of the time
    min_tokens: int = 40  # shorter documents are refusals and fragments
    n_gram: int = 4
    max_repeats: float = 0.25  # share of n-grams seen before in the document: see `repetition`
    max_share: float = 0.15  # of the commonest token; prose has about 0.06 (commas, "the")
    dtype: str = "float32"  # what the model computes in; bfloat16: 215 tokens a second, not 118


class Stale(RuntimeError):
    """The folder holds parts of another run."""


def repetition(ids: Int[Tensor, " token"], n: int) -> float:
    """1 - (distinct n-grams) / (n-grams): 0 if nothing repeats, near 1 in a loop."""
    grams = ids.unfold(0, n, 1)
    return 1 - len(torch.unique(grams, dim=0)) / len(grams)


def verdict(ids: Int[Tensor, " token"], cfg: WritingConfig) -> str:
    """Why a document is dropped: "short", "repeats", "one token", or "" if it is kept."""
    if len(ids) < max(cfg.min_tokens, cfg.n_gram):
        return "short"
    if repetition(ids, cfg.n_gram) > cfg.max_repeats:
        return "repeats"
    share = torch.bincount(ids).max().item() / len(ids)
    return "one token" if share > cfg.max_share else ""


def encode_prompts(kind: Kind, prompts: list[str], tokenizer: Any) -> list[list[int]]:
    """Token ids of prompts: in the chat template if the kind asks, after BOS if it begins."""
    if kind.mode == "begin":
        bos = [tokenizer.bos_token_id]
        return [bos + tokenizer(p, add_special_tokens=False).input_ids for p in prompts]
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]


def nucleus(
    logits: Float[Tensor, "batch vocab"], cfg: WritingConfig, gen: torch.Generator
) -> Int[Tensor, " batch"]:
    """Sample from the fewest of the top k tokens that hold `top_p` of the top k's probability."""
    top = (logits.float() / cfg.temperature).topk(cfg.top_k, dim=-1)  # in descending order
    probability = top.values.softmax(dim=-1)
    before = probability.cumsum(dim=-1) - probability
    choice = torch.multinomial(probability.where(before < cfg.top_p, 0.0), 1, generator=gen)
    return top.indices.gather(1, choice)[:, 0]


@torch.no_grad()
def sample(
    model: Any, prompts: list[list[int]], n_new: int, cfg: WritingConfig, gen: torch.Generator
) -> Int[Tensor, "batch pos"]:
    """Continue prompts by at most `n_new` tokens; -1 stands after the end of a document.

    Not `model.generate`: that sorts the whole vocabulary for a nucleus (half of the time on a
    CPU), draws from torch's global generator, and computes finished rows to the end.
    """
    from transformers import DynamicCache

    stops = torch.tensor([model.config.eos_token_id, 0])  # 0 is <|endoftext|>
    longest = max(len(p) for p in prompts)
    ids, mask = torch.zeros(2, len(prompts), longest, dtype=torch.int64)
    for row, prompt in enumerate(prompts):  # padded on the left, so that all continue at the right
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    out, live = torch.full((len(prompts), n_new), -1), torch.arange(len(prompts))
    cache, position = DynamicCache(config=model.config), (mask.cumsum(1) - 1).clamp(min=0)
    for t in range(n_new):
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        token = nucleus(logits, cfg, gen)
        goes_on = ~torch.isin(token, stops)
        out[live[goes_on], t] = token[goes_on]
        if not goes_on.any():
            break
        cache.batch_select_indices(goes_on.nonzero().flatten())
        live, ids, position = live[goes_on], token[goes_on, None], position[goes_on, -1:] + 1
        mask = torch.cat([mask[goes_on], mask.new_ones(len(live), 1)], dim=1)
    return out


def write_batch(
    i: int, model: Any, tokenizer: Any, cfg: WritingConfig, kinds: dict[str, Kind]
) -> tuple[Documents, dict]:
    """Batch i: its documents, and the count of each verdict."""
    name = sorted(kinds)[i % len(kinds)]
    kind, gen = kinds[name], torch.Generator().manual_seed(cfg.seed * 1_000_003 + i)
    prompts = encode_prompts(kind, draw_prompts(kind, cfg.batch, gen), tokenizer)
    new = sample(model, prompts, kind.n_new, cfg, gen)
    pieces, count = [], Counter[str]()
    for prompt, row in zip(prompts, new, strict=True):
        text = row[row >= 0]
        if kind.mode == "begin":
            text = torch.cat([torch.tensor(prompt[1:]), text])
        why = verdict(text, cfg)
        count[f"{name}: {why or 'kept'}"] += 1
        if not why:
            pieces.append((text, 0))
    return join(pieces, [f"written.{name}"]), dict(count)


def _claim(folder: Path, what: dict) -> None:
    """Write down what is made here, or raise Stale if something else was begun here."""
    note = folder / "run.json"
    if not note.exists():
        files.write(note, json.dumps(what, indent=1))
    elif (there := json.loads(note.read_text())) != what:
        differ = [k for k in {*what, *there} if what.get(k) != there.get(k)]
        raise Stale(f"{folder} was begun with other settings ({', '.join(sorted(differ))}): "
                    "take another folder or delete it")  # fmt: skip


def write(
    model: Any,
    tokenizer: Any,
    cfg: WritingConfig,
    out: Path,
    identity: dict[str, Any],
    kinds: dict[str, Kind] = KINDS,
) -> tuple[Documents, dict[str, Any]]:
    """Write `kinds` until `cfg.n_tokens` tokens are kept: the documents, and what happened.

    `identity` says which model this is (name, hash): a folder of another model is refused.
    """
    folder = out / PARTS
    prompts = hashlib.sha256(repr((kinds, SLOTS)).encode()).hexdigest()
    settings = {k: v for k, v in asdict(cfg).items() if k != "n_tokens"}  # only when to stop
    what = {"config": settings, "model": identity, "prompts": prompts}
    _claim(folder, {**what, "torch": torch.__version__})
    parts: list[Documents] = []
    counts, seconds, i, n = Counter[str](), 0.0, 0, 0
    bar = iter(track(range(cfg.n_tokens), "writing"))
    while n < cfg.n_tokens:
        path, report = folder / f"{i:05}.safetensors", folder / f"{i:05}.json"
        if not (path.exists() and report.exists()):
            begin = time.monotonic()
            docs, count = write_batch(i, model, tokenizer, cfg, kinds)
            save_documents(docs, path)
            spent = time.monotonic() - begin
            files.write(report, json.dumps({"count": count, "seconds": spent}))
        parts.append(load_documents(path))
        known = json.loads(report.read_text())
        counts.update(known["count"])
        seconds += known["seconds"]
        for _ in range(min(len(parts[-1].ids), cfg.n_tokens - n)):
            next(bar)
        n, i = n + len(parts[-1].ids), i + 1
    return merge(parts), {"batches": i, "seconds": round(seconds, 1), "documents": dict(counts)}
