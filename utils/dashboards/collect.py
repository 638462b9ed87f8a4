"""One pass over the text for all latents, then the effects at their strongest examples."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from utils.activations.write import capture
from utils.dashboards import checkpoint as disk
from utils.dashboards.assemble import assemble
from utils.dashboards.effects import Effects, Meter, order
from utils.dashboards.result import Dashboards
from utils.dashboards.select import strongest
from utils.dashboards.settings import MOST_PARTNERS, DashboardError, Settings
from utils.dashboards.state import Batch, Sizes, State
from utils.dashboards.text import Text
from utils.dashboards.weights import encoder
from utils.data.corpus import Rows
from utils.models.loaded import Loaded, check_edits, check_hooks
from utils.models.sae import Sae
from utils.progress import track

Element = TypeVar("Element")
LOGITS = 8 * 128 * 49152  # kept of a forward pass: 200 MB
MOST_ROWS = 64


@dataclass
class Job:
    """What is asked for."""

    loaded: Loaded
    sae: Sae
    rows: Rows
    latents: list[int]
    settings: Settings
    checkpoint: Path | None
    seconds: float  # between checkpoints
    progress: bool

    @property
    def text(self) -> Text:
        """The rows, with what counts in them."""
        bos = getattr(self.loaded.tokenizer, "bos_token_id", None)
        return Text(self.rows, self.settings, bos)

    def track(self, items: Sequence[Element], label: str) -> Iterable[Element]:
        """With a progress bar, where one is wanted."""
        return track(items, label) if self.progress else items


def collect(
    loaded: Loaded,
    sae: Sae,
    rows: Rows,
    latents: Sequence[int] | None = None,
    settings: Settings | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    checkpoint_seconds: float = 60.0,
) -> Dashboards:
    """Dashboards of some latents (default: all) of an SAE, attention SAE or transcoder.

    The text is read once for all latents; memory does not grow with it. With a `checkpoint` file
    a run that was stopped goes on where it was (at most `checkpoint_seconds` are lost), with the
    same result. Raises DashboardError for an empty text, latents that do not exist, a tokenizer
    or text of another model, and a checkpoint of another run; HookMissing and HookInert where the
    SAE's hooks are not the model's.
    """
    chosen = list(range(sae.n_latents)) if latents is None else [int(i) for i in latents]
    path, cfg = None if checkpoint is None else Path(checkpoint), settings or Settings()
    job = Job(loaded, sae, rows, chosen, cfg, path, checkpoint_seconds, progress)
    check(job)
    partners = which_partners(job)
    # only the chosen latents are encoded, in their order, where the others are not needed
    few = partners == "chosen" and len(chosen) < sae.n_latents
    n_codes = len(chosen) if few else sae.n_latents
    columns = list(range(len(chosen))) if few else chosen
    vocabulary = int(loaded.model.cfg.d_vocab)
    sizes = Sizes(tuple(chosen), tuple(columns), n_codes, sae.d_in, vocabulary)
    home = "cpu" if loaded.device.type == "mps" else loaded.device  # which has no float64
    state = State(sizes, cfg, home)
    n_heads = int(loaded.model.cfg.n_heads) if sae.kind == "attention" else 0
    effects = Effects(len(chosen), cfg, n_heads)
    log = Log(job, state, effects)
    log.resume()
    seconds = {"model": 0.0, "pass": 0.0, "effects": 0.0}
    start = time.perf_counter()
    _pass(job, state, log, seconds)
    seconds["pass"] = time.perf_counter() - start
    _effects(job, state, effects, log)
    seconds["effects"] = time.perf_counter() - start - seconds["pass"]
    return assemble(loaded, sae, job.text, state, effects, partners, seconds)


def check(job: Job) -> None:
    """Everything that can be known to be wrong before the text is read."""
    model, n = job.loaded.model, job.sae.n_latents
    check_hooks(model, [job.sae.hook_in])
    if job.settings.n_loss:
        check_edits(model, [job.sae.hook_out])
    if not job.latents:
        raise DashboardError("no latents are asked for: name some, or leave `latents` out for all")
    if wrong := [i for i in job.latents if not 0 <= i < n]:
        raise DashboardError(f"there is no latent {wrong[0]}: this SAE has latents 0 to {n - 1}")
    if len(set(job.latents)) < len(job.latents):
        raise DashboardError("a latent is asked for twice: name each once")
    if not len(job.rows) or not job.text.keep(job.rows.ids, job.rows.mask).any():
        raise DashboardError(
            f"the text is empty: {len(job.rows)} rows without a token beyond the first"
            f" {job.settings.skip_first} of each, which do not count"
        )
    vocabulary, tokenizer = int(model.cfg.d_vocab), job.loaded.tokenizer
    name, largest = job.loaded.name, int(job.rows.ids.max())
    if largest >= vocabulary or int(job.rows.ids.min()) < 0:
        raise DashboardError(
            f"the text has token {largest}, and {name} knows 0 to {vocabulary - 1}: encode the text"
            " with the model's own tokenizer"
        )
    if tokenizer is not None and len(tokenizer) > vocabulary:
        raise DashboardError(
            f"the tokenizer has {len(tokenizer)} tokens, and {name} knows {vocabulary}: it belongs"
            " to another model"
        )


def which_partners(job: Job) -> str:
    """`all` or `chosen`; `auto` takes all where their sums are small."""
    if job.settings.partners != "auto":
        return job.settings.partners
    return "all" if len(job.latents) * job.sae.n_latents <= MOST_PARTNERS else "chosen"


class Log:
    """Saves the run now and then, and finds it again."""

    def __init__(self, job: Job, state: State, effects: Effects) -> None:
        self.job, self.state, self.effects = job, state, effects
        self.last = time.monotonic()
        arguments = (job.loaded, job.sae, job.rows, job.latents, job.settings)
        self.identity = disk.identity(*arguments) if job.checkpoint else {}

    def resume(self) -> None:
        """Take up what a stopped run has left."""
        if self.job.checkpoint is None:
            return
        found = disk.load(self.job.checkpoint, self.identity)
        if found is not None:
            mine = {k: v for k, v in found.items() if k.startswith("effects.")}
            for name, value in mine.items():
                setattr(self.effects, name.removeprefix("effects."), value)
            self.state.load({k: v for k, v in found.items() if k not in mine})

    def note(self, last: bool = False) -> None:
        """Save, if it is time."""
        due = last or time.monotonic() - self.last >= self.job.seconds
        if self.job.checkpoint is None or not due:
            return
        effects = {f"effects.{name}": value for name, value in vars(self.effects).items()}
        disk.save(self.job.checkpoint, self.state.tensors() | effects, self.identity)
        self.last = time.monotonic()


@torch.no_grad()
def _pass(job: Job, state: State, log: Log, seconds: dict[str, float]) -> None:
    """Read the text, batch by batch."""
    sizes, text = state.sizes, job.text
    device, home = job.loaded.device, state.latents.device
    few = sizes.n_codes < job.sae.n_latents
    encode = encoder(job.sae, state.latents.to(device) if few else None)
    size = job.settings.batch_rows
    todo = range(int(state.done[0]), len(job.rows), size)
    for first in job.track(todo, "text"):
        part = job.rows[first : first + size]
        start = time.perf_counter()
        x = capture(job.loaded.model, part.ids, [job.sae.hook_in])[job.sae.hook_in]
        _wait(device)
        seconds["model"] += time.perf_counter() - start
        keep = text.keep(part.ids, part.mask)
        x = job.sae.flatten(x)
        ids, keep, x, codes = (v.to(home) for v in (part.ids, keep, x, encode(x)))
        state.update(Batch(ids, keep, x, codes, first))
        log.note()
    log.note(last=bool(len(todo)))


def _wait(device: torch.device) -> None:
    """A GPU works on while its time is taken."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _effects(job: Job, state: State, effects: Effects, log: Log) -> None:
    """Measure what removing latents does, at their strongest examples."""
    text = job.text
    items = order(strongest(state, job.settings.n_loss), job.latents, text)
    todo = items[int(effects.done) :]
    if not todo:
        return
    meter = Meter(job.loaded.model, job.sae, text)
    per_row = job.rows.ids.shape[1] * int(job.loaded.model.cfg.d_vocab)
    size = max(1, min(MOST_ROWS, LOGITS // per_row))
    batches = [todo[i : i + size] for i in range(0, len(todo), size)]
    for batch in job.track(batches, "effect on the loss"):
        effects.put(batch, meter(batch))
        log.note()
    log.note(last=True)
