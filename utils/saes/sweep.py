"""A grid of SAEs on the same rows: which there are, trained in stacks, measured on held-out rows.

    sweep = Sweep(SAEConfig(128, 256), SAETrainConfig(2000), k=(4, 8, 16), latent=(256, 512))
    results = run(sweep, rows, held_out, Path("sweeps/mine"))     # goes on where it was stopped

One device trains one stack after the other (stack.py). utils/saes/on_ray.py gives stacks to the
workers of a Ray cluster, with the same results.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from utils import files
from utils.activations.read import generator
from utils.progress import track
from utils.sae_metrics.reconstruction import Reconstruction
from utils.saes.checkpoint import COSMETIC
from utils.saes.coder import encode, init_coder, reconstruct
from utils.saes.config import TOPK_FAMILY, Architecture, SAEConfig, SAETrainConfig
from utils.saes.export import save_coder
from utils.saes.records import RecordConfig
from utils.saes.stack import STACKABLE, train_stack
from utils.saes.train import TrainedCoder, train_coder

Result = dict[str, Any]
# Measured on a CPU (tools/bench/sweeps.py): 16 coders of 64 latents on 128 rows are 3 to 6 times as
# fast in a stack, of 256 latents on 256 rows they are slower, for the products are dense there
SMALL, MOST = 128 * 256, 16  # rows times latents up to which stacks pay; coders in a stack
BATCH = 512


@dataclass(frozen=True)
class Point:
    """One SAE of a sweep."""

    cfg: SAEConfig
    seed: int

    @property
    def name(self) -> str:
        """`topk-256-k8-s0`, `relu-256-l0.1-s0`: also its folder."""
        cfg = self.cfg
        knob = f"k{cfg.k}" if cfg.architecture in TOPK_FAMILY else f"l{cfg.sparsity:g}"
        return f"{cfg.architecture}-{cfg.latent}-{knob}-s{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """A base and what to vary; an empty axis is the base's own value.

    `k` belongs to topk, batchtopk and matryoshka, `sparsity` to the others: an architecture
    ignores the axis of the other kind, and no SAE is there twice.
    """

    base: SAEConfig
    train: SAETrainConfig
    architecture: tuple[Architecture, ...] = ()
    latent: tuple[int, ...] = ()
    k: tuple[int, ...] = ()
    sparsity: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)
    batch: int = BATCH
    together: int | None = None  # coders in a stack; None: as many as pay on a CPU
    metadata: dict[str, str] = field(default_factory=dict)  # of the data; saved with each SAE

    def points(self) -> list[Point]:
        """All SAEs, in the order architecture, width, knob, seed."""
        base, found = self.base, list[Point]()
        shapes = product(self.architecture or (base.architecture,), self.latent or (base.latent,))
        nested = base.widths or (base.latent // 4, base.latent // 2, base.latent)
        for architecture, latent in shapes:
            widths = tuple(w * latent // base.latent for w in nested)
            widths = widths if architecture == "matryoshka" else ()
            one = replace(base, architecture=architecture, latent=latent, widths=widths)
            if architecture in TOPK_FAMILY:
                configs = [replace(one, k=k) for k in self.k or (base.k,)]
            else:
                configs = [replace(one, sparsity=s) for s in self.sparsity or (base.sparsity,)]
            found += [Point(cfg, seed) for cfg, seed in product(configs, self.seeds)]
        return list(dict.fromkeys(found))

    def stacks(self) -> list[list[Point]]:
        """The same SAEs in groups that can be trained at once; what cannot is alone."""
        groups: dict[Any, list[Point]] = {}
        for point in self.points():
            groups.setdefault((point.cfg.architecture, point.cfg.latent), []).append(point)
        found = []
        for (architecture, latent), group in groups.items():
            pays = self.batch * latent <= SMALL
            most = (MOST if pays else 1) if self.together is None else self.together
            most = most if architecture in STACKABLE else 1
            found += [group[i : i + most] for i in range(0, len(group), most)]
        return found

    def settings(self) -> Result:
        """What makes results the same, for the sweep's folder."""
        train = {k: v for k, v in asdict(self.train).items() if k not in COSMETIC}
        points = [asdict(point) for point in self.points()]
        told = {"train": train, "batch": self.batch, "points": points, "metadata": self.metadata}
        return json.loads(json.dumps(told))


class Shuffled:
    """Batches of rows, every epoch in another order; its position is a number."""

    def __init__(self, rows: Float[Tensor, "row d"], batch: int, seed: int = 0) -> None:
        if len(rows) < batch:
            raise ValueError(f"{len(rows)} rows are fewer than one batch of {batch}")
        self.rows, self.batch, self.seed, self.n_drawn = rows, batch, seed, 0

    def __iter__(self) -> Iterator[Float[Tensor, "batch d"]]:
        """Endless, from where it stands."""
        per_epoch = len(self.rows) // self.batch
        while True:
            epoch, first = divmod(self.n_drawn, per_epoch)
            order = torch.randperm(len(self.rows), generator=generator(self.seed, epoch))
            for i in range(first, per_epoch):
                self.n_drawn += 1
                yield self.rows[order[i * self.batch : (i + 1) * self.batch]]

    def state_dict(self) -> dict[str, int]:
        """The position after the last batch that came out."""
        return {"n_drawn": self.n_drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position."""
        self.n_drawn = state["n_drawn"]


def measure(trained: TrainedCoder, rows: Float[Tensor, "row d"]) -> Result:
    """L0, explained variance, error per row and dead latents on rows not trained on."""
    metrics = Reconstruction()
    for piece in rows.split(1024):
        piece = piece.to(trained.coder.device)
        metrics.update(piece, reconstruct(trained.coder, piece), encode(trained.coder, piece))
    scores = metrics.result()
    return {
        "l0": scores.l0,
        "explained_variance": scores.explained_variance,
        "mse": scores.mse,
        "dead": scores.dead,
    }


def group_name(points: list[Point]) -> str:
    """Of a stack's files: another one where `together` was changed in between."""
    more = f"-and-{len(points) - 1}-more" if len(points) > 1 else ""
    return f"{points[0].name}{more}"


def train_group(
    points: list[Point],
    sweep: Sweep,
    rows: Float[Tensor, "row d"],
    held_out: Float[Tensor, "row d"],
    folder: Path,
    records: Callable[[Point], RecordConfig] | None = None,
    device: torch.device | str = "cpu",
) -> list[Result]:
    """Train one stack, or go on with it; save its SAEs and results. Done ones are only read."""
    file = folder / f"{group_name(points)}.json"
    if file.exists():
        return json.loads(file.read_text())
    starts = [init_coder(p.cfg, torch.Generator().manual_seed(p.seed), device) for p in points]
    named = records or (lambda point: RecordConfig(jsonl=folder / point.name / "log.jsonl"))
    logs = [named(point) for point in points]
    checkpoint = folder / f"{group_name(points)}.checkpoint.pt"
    data = Shuffled(rows, sweep.batch)
    for point in points:
        (folder / point.name).mkdir(parents=True, exist_ok=True)
    if len(points) > 1:
        trained = train_stack(starts, data, sweep.train, logs, checkpoint)
    else:
        trained = [train_coder(starts[0], data, sweep.train, logs[0], checkpoint)]
    found = []
    for point, one in zip(points, trained, strict=True):
        save_coder(one.coder, folder / point.name, sweep.metadata)
        cfg = point.cfg
        knob = {"k": cfg.k} if cfg.architecture in TOPK_FAMILY else {"sparsity": cfg.sparsity}
        about = {"name": point.name, "architecture": cfg.architecture, "latent": cfg.latent}
        found.append(about | knob | {"seed": point.seed} | measure(one, held_out))
    files.write(file, json.dumps(found))
    checkpoint.unlink(missing_ok=True)
    return found


def require_folder(
    sweep: Sweep, folder: Path, rows: Float[Tensor, "row d"], held_out: Float[Tensor, "row d"]
) -> None:
    """Note whose folder this is; ValueError if it is of a sweep with other settings or data."""
    if not len(held_out):
        raise ValueError("no row is held out to compare the SAEs on: give more rows")
    file = folder / "sweep.json"
    told = sweep.settings() | {"data": [digest(part) for part in (rows, held_out)]}
    if file.exists() and json.loads(file.read_text()) != told:
        raise ValueError(
            f"{folder} holds a sweep with other settings or data: give another folder, or remove it"
        )
    files.write(file, json.dumps(told))


def digest(rows: Float[Tensor, "row d"]) -> str:
    """A hash of numbers, in any dtype."""
    plain = rows.detach().cpu().contiguous().view(torch.uint8)
    return hashlib.sha256(plain.numpy().tobytes()).hexdigest()[:16]


def in_order(sweep: Sweep, found: list[Result], folder: Path) -> list[Result]:
    """The results in the order of the points, written to results.json."""
    by_name = {result["name"]: result for result in found}
    results = [by_name[point.name] for point in sweep.points()]
    files.write(folder / "results.json", json.dumps(results, indent=1) + "\n")
    return results


def run(
    sweep: Sweep,
    rows: Float[Tensor, "row d"],
    held_out: Float[Tensor, "row d"],
    folder: Path,
    records: Callable[[Point], RecordConfig] | None = None,
    device: torch.device | str = "cpu",
) -> list[Result]:
    """Train all SAEs here, stack by stack; a second call goes on where the first was stopped."""
    require_folder(sweep, folder, rows, held_out)
    found: list[Result] = []
    for points in track(sweep.stacks(), "stacks of SAEs"):
        found += train_group(points, sweep, rows, held_out, folder, records, device)
    return in_order(sweep, found, folder)


def pareto(results: list[Result], less: str = "l0", more: str = "explained_variance") -> list[str]:
    """Names of the SAEs that no other beats on both (at most as large `less`, larger `more`).

    Of equals the first.
    """
    front, best = [], -float("inf")
    for result in sorted(results, key=lambda r: (r[less], -r[more])):
        if result[more] > best:
            best = result[more]
            front.append(result["name"])
    return front
