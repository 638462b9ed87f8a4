"""One pass of a model over text, kept so that every latent can be asked for: 3.2.2's data."""

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from utils.data.corpus import Rows, counted
from utils.models.sae import Sae
from utils.progress import track

if TYPE_CHECKING:
    from utils.models.loaded import Loaded

BATCH_ROWS = 16


@dataclass(frozen=True)
class Batch:
    """Some rows: what the streaming exercises get, one after the other."""

    first: int  # number of the first row
    ids: Int[Tensor, "row pos"]
    mask: Bool[Tensor, "row pos"]
    f: Float[Tensor, "row pos latent"]  # 0 where the mask is false
    neurons: Float[Tensor, "row pos hidden"]


@dataclass(frozen=True)
class LatentData:
    """The activations of all latents on the counted tokens; only what is not 0 is stored."""

    ids: Int[Tensor, "row pos"]
    mask: Bool[Tensor, "row pos"]  # without padding and without the first position
    neurons: Float[Tensor, "row pos hidden"]  # of the MLP of the SAE's own block, in half precision
    place: Int[Tensor, " entry"]  # row · n_pos + pos of an activation, in order
    number: Int[Tensor, " entry"]  # its latent
    value: Float[Tensor, " entry"]
    n_latents: int

    def latent(self, number: int) -> Float[Tensor, "row pos"]:
        """The activations of one latent on all rows."""
        numbers, order = self._by_latent
        low, high = torch.searchsorted(numbers, torch.tensor([number, number + 1])).tolist()
        mine, flat = order[low:high], torch.zeros(self.ids.numel())
        flat[self.place[mine]] = self.value[mine]
        return flat.reshape(self.ids.shape)

    @cached_property
    def _by_latent(self) -> tuple[Tensor, Tensor]:
        """The entries' latents in increasing order, and the entries in that order."""
        return self.number.sort(stable=True)

    def batches(self, size: int = BATCH_ROWS) -> Iterator[Batch]:
        """The rows in order, `size` at a time, as if they came fresh from the model."""
        n_pos = self.ids.shape[1]
        for i in range(0, len(self.ids), size):
            ids = self.ids[i : i + size]
            low, high = i * n_pos, i * n_pos + ids.numel()
            a, b = torch.searchsorted(self.place, torch.tensor([low, high])).tolist()
            f = torch.zeros(ids.numel(), self.n_latents)
            f[self.place[a:b] - low, self.number[a:b]] = self.value[a:b]
            neurons = self.neurons[i : i + size].float()
            yield Batch(i, ids, self.mask[i : i + size], f.reshape(*ids.shape, -1), neurons)


@torch.no_grad()
def latent_data(loaded: "Loaded", sae: Sae, rows: Rows) -> LatentData:
    """Run the clean model over the rows once. The first position of a row does not count."""
    from utils.activations.write import capture

    keep, hook = counted(rows.mask), loaded.hook("mlp_post", sae.layer)
    place, number, value, neurons = [], [], [], []
    for i in track(range(0, len(rows), BATCH_ROWS), "rows through the model"):
        part = slice(i, i + BATCH_ROWS)
        found = capture(loaded.model, rows.ids[part].to(loaded.device), [sae.hook_in, hook])
        f = sae.encode(found[sae.hook_in]).cpu() * keep[part, :, None]
        where = f.flatten(0, 1).nonzero()
        place.append(where[:, 0] + i * rows.ids.shape[1])
        number.append(where[:, 1])
        value.append(f.flatten(0, 1)[where[:, 0], where[:, 1]])
        neurons.append(found[hook].to("cpu", torch.float16))
    return LatentData(
        rows.ids, keep, torch.cat(neurons), torch.cat(place), torch.cat(number),
        torch.cat(value), sae.n_latents,
    )  # fmt: skip


def final_read_out(loaded: "Loaded") -> tuple[Float[Tensor, " d_model"], Tensor, float, bool]:
    """(gain of the final norm, W_U, its epsilon, whether it subtracts the mean): the last step."""
    model = loaded.model
    norm = model.ln_final
    weight = getattr(norm, "weight", None)
    gain = torch.ones(model.cfg.d_model) if weight is None else weight.detach().cpu()
    return gain, model.W_U.detach().cpu(), float(model.cfg.eps), "RMS" not in type(norm).__name__


def example_lines(
    data: LatentData,
    acts: Float[Tensor, "row pos"],
    chosen: Int[Tensor, " chosen"],
    tokenizer: Any,
    window: Callable[..., tuple[int, int]],
    title: str,
) -> str:
    """HTML: one line per place with its activation and context; `window` is the learner's."""
    lines = []
    for place in chosen.tolist():
        row, at = divmod(place, data.ids.shape[1])
        start, stop = window(data.ids[row], data.mask[row], tokenizer.bos_token_id, at, 9, 5)
        words = [html.escape(tokenizer.decode([int(i)])) for i in data.ids[row, start:stop]]
        words = [word.replace("\n", "⏎") for word in words]
        words[at - start] = f"<b><u>{words[at - start]}</u></b>"
        lines.append(f"{float(acts[row, at]):.2f} &nbsp; {''.join(words)}")
    return f"<p><b>{html.escape(title)}</b><br>{'<br>'.join(lines)}</p>"
