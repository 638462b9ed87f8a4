"""Which SAEs there are, as rows: `sae_lens`' directory (it ships with the library), and ours."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

WIDTH = re.compile(r"width_(\d+)([km])(?![a-z0-9])")  # of an id
OF_RELEASE = re.compile(r"-(\d+)([km])$")  # …-v5-128k; in gemma-…-270m-… it is the model's size
POWER = re.compile(r"width-2pow(\d+)")
SPELT_OUT = re.compile(r"hook_resid_pre_(\d+)$")
HOOK = re.compile(r"blocks\.\d+\.(?:attn\.)?hook_(?:resid_(?:pre|mid|post)|attn_out|mlp_out|z)")


@dataclass(frozen=True)
class SaeRow:
    """One SAE as a directory describes it; None where the directory does not say."""

    release: str
    sae_id: str
    model: str
    hook: str | None  # where it reads, if its id names a hook
    width: int | None  # number of latents
    l0: float | None  # as its makers wrote it down
    neuronpedia: str | None  # its id there


def width_of(release: str, sae_id: str) -> int | None:
    """Number of latents, where the names tell it; their makers round: 65k is 2^16, 131k is 2^17."""
    if exact := SPELT_OUT.search(sae_id):
        return int(exact[1])
    if power := POWER.search(release):
        return 2 ** int(power[1])
    found = WIDTH.search(sae_id) or OF_RELEASE.search(release)
    if found is None:
        return None
    return 2 ** round(math.log2(int(found[1]) * (10**6 if found[2] == "m" else 10**3)))


def published_table() -> list[SaeRow]:
    """All SAEs in `sae_lens`' directory, which ships inside the library: no network."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    rows = []
    for release, entry in get_pretrained_saes_directory().items():
        for sae_id in entry.saes_map:
            width, hook = width_of(release, sae_id), HOOK.search(sae_id)
            l0, pedia = (entry.expected_l0 or {}).get(sae_id), (entry.neuronpedia_id or {})
            rows.append(
                SaeRow(
                    release, sae_id, entry.model, hook and hook[0], width,
                    l0 or None, pedia.get(sae_id),
                )
            )  # fmt: skip
    return rows


def course_table() -> list[SaeRow]:
    """The SAEs that ship with the course, from their cards and configurations."""
    from utils.models.profiles import artifacts

    rows = []
    for file in sorted(artifacts().rglob("cfg.json")):
        cfg = json.loads(file.read_text())
        hook, folder = cfg["metadata"]["hook_name"], file.parent
        row = SaeRow(
            folder.parent.name, folder.name, cfg["metadata"]["model_name"], hook,
            cfg["d_sae"], _measured_l0(folder), None,
        )  # fmt: skip
        rows.append(row)
    return rows


def _measured_l0(folder: Any) -> float | None:
    """L0 on held-out text, from an SAE's card."""
    card = folder / "card.json"
    if not card.exists():
        return None
    metrics = json.loads(card.read_text())["metrics"]
    return next(
        (m["l0"] for name in ("speeches", "held_out") if "l0" in (m := metrics.get(name, {}))), None
    )


def show_table(rows: Sequence[SaeRow], most: int = 12) -> None:
    """Print the first rows as a table."""
    names = [f.name for f in fields(SaeRow)]
    cells = [names, *([("-" if v is None else str(v)) for v in astuple(r)] for r in rows[:most])]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
    if len(rows) > most:
        print(f"… and {len(rows) - most} more")
