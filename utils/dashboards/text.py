"""Which tokens count, and where a window of context ends."""

from dataclasses import dataclass, field

from jaxtyping import Bool, Int
from torch import Tensor

from utils.dashboards.settings import Settings
from utils.data.corpus import Rows, counted


@dataclass
class Text:
    """Rows of tokens; a row may hold several documents, each after a BOS token."""

    rows: Rows
    settings: Settings
    bos: int | None
    length: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.length = self.rows.mask.sum(dim=1).tolist()

    def keep(
        self, ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"]
    ) -> Bool[Tensor, "row pos"]:
        """Neither padding, nor the first positions of a row, nor BOS within a row."""
        keep = counted(mask, self.settings.skip_first)
        return keep if self.bos is None else keep & (ids != self.bos)

    def span(self, row: int, pos: int) -> tuple[int, int]:
        """Where the window of a place begins and ends: within its row and its document."""
        cfg = self.settings
        start = max(cfg.skip_first, pos - cfg.before)
        end = min(self.length[row], pos + cfg.after + 1)
        breaks = [i for i in range(start, end) if int(self.rows.ids[row, i]) == self.bos]
        start = max([start, *(i + 1 for i in breaks if i < pos)])
        return start, min([end, *(i for i in breaks if i > pos)])
