"""Sums over the text: counts, histograms, co-activation, tokens. Constant memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAIRS = 2**21  # taken at once: 50 MB
PENDING = 2**20  # tokens that wait to be counted
LOWEST = -126  # exponent of the histogram of a latent that has never been active


class Histogram:
    """Counts of positive numbers in equal bins from 0 to 2^exponent, one row per latent.

    Where a number does not fit, neighbouring bins are merged and the range doubles: the counts
    are always those of all numbers at once.
    """

    def __init__(self, n: int, bins: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(n, bins, dtype=torch.int64, device=device)
        self.exponent = torch.full((n,), LOWEST, device=device)

    def grow(self, largest: Float[Tensor, " latent"]) -> list[Int[Tensor, " n"]]:
        """Double ranges until they hold `largest`; returns the latents of each doubling."""
        need = torch.frexp(largest)[1].long()  # x < 2^need
        need = torch.where(largest > 0, need, self.exponent).clamp(min=LOWEST)
        fresh = self.exponent == LOWEST
        self.exponent = torch.where(fresh, need, self.exponent)
        merged, bins = [], self.counts.shape[1]
        while len(small := (self.exponent < need).nonzero().flatten()):
            halves = self.counts[small].view(-1, bins // 2, 2).sum(dim=2)
            self.counts[small] = torch.nn.functional.pad(halves, (0, bins // 2))
            self.exponent[small] += 1
            merged.append(small)
        return merged

    def bin(self, latent: Int[Tensor, " n"], value: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The bin of each number."""
        bins = self.counts.shape[1]
        return (torch.ldexp(value, -self.exponent[latent]) * bins).long().clamp(0, bins - 1)

    def add(self, latent: Int[Tensor, " n"], bin: Int[Tensor, " n"]) -> None:
        """Count."""
        n, bins = self.counts.shape
        self.counts += (latent * bins + bin).bincount(minlength=n * bins).view(n, bins)


class Moments:
    """What Pearson's correlation of chosen columns with all columns needs, in float64."""

    def __init__(self, n: int, n_all: int, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self.total, self.square = zeros(n_all), zeros(n_all)
        self.product = zeros(n, n_all)

    def add(
        self,
        chosen: tuple[Tensor, Tensor, Tensor],
        every: tuple[Tensor, Tensor, Tensor],
        n_tokens: int,
    ) -> None:
        """Two sparse matrices as (token, column, value), sorted by token: sums over tokens."""
        token, column, value = every[0], every[1], every[2].double()
        self.total.index_add_(0, column, value)
        self.square.index_add_(0, column, value.square())
        per_token = token.bincount(minlength=n_tokens)
        first = per_token.cumsum(0) - per_token
        times = per_token[chosen[0]]
        cuts = (times.cumsum(0) // PAIRS).unique_consecutive(return_counts=True)[1].tolist()
        flat, n_all = self.product.view(-1), self.product.shape[1]
        start = 0
        for size in cuts:
            part = slice(start, start + size)
            n, where = times[part], chosen[0][part]
            inside = torch.arange(int(n.sum()), device=n.device)
            inside = inside - (n.cumsum(0) - n - first[where]).repeat_interleave(n)
            to = chosen[1][part].repeat_interleave(n) * n_all + column[inside]
            products = chosen[2][part].double().repeat_interleave(n) * value[inside]
            flat.index_add_(0, to, products)
            start += size

    def add_dense(self, chosen: tuple[Tensor, Tensor, Tensor], x: Float[Tensor, "token d"]) -> None:
        """The same where every column of the second matrix has a value."""
        wide = x.double()
        self.total += wide.sum(dim=0)
        self.square += wide.square().sum(dim=0)
        token, column, value = chosen
        size = (len(self.product), len(x))
        place = torch.stack([column, token])
        sparse = torch.sparse_coo_tensor(place, value.double(), size, check_invariants=False)
        self.product += torch.sparse.mm(sparse, wide)


class TokenCounts:
    """How often each token occurs, and on how many of them each latent is active.

    Pairs (latent, token) are kept as sorted keys latent × vocabulary + token: their number is
    bounded by the vocabulary, and far smaller in practice.
    """

    def __init__(self, vocabulary: int, device: torch.device | str = "cpu") -> None:
        self.seen = torch.zeros(vocabulary, dtype=torch.int64, device=device)
        self.key = torch.zeros(0, dtype=torch.int64, device=device)
        self.count = torch.zeros(0, dtype=torch.int64, device=device)
        self._pending: list[Tensor] = []

    def add(
        self, ids: Int[Tensor, " n"], latent: Int[Tensor, " m"], token: Int[Tensor, " m"]
    ) -> None:
        """`ids` are all tokens of a batch; `latent` is active on `token`."""
        self.seen += ids.bincount(minlength=len(self.seen))
        self._pending.append(latent * len(self.seen) + token)
        if sum(map(len, self._pending)) > PENDING:
            self.settle()

    def settle(self) -> None:
        """Count what waits."""
        if self._pending:
            new, times = torch.cat(self._pending).unique(return_counts=True)
            self.key, where = torch.cat([self.key, new]).unique(return_inverse=True)
            both = torch.cat([self.count, times])
            self.count = both.new_zeros(len(self.key)).index_add_(0, where, both)
            self._pending = []


def pearson(
    product: Float[Tensor, "latent n"],
    total: tuple[Float[Tensor, " latent"], Float[Tensor, " n"]],
    square: tuple[Float[Tensor, " latent"], Float[Tensor, " n"]],
    n_tokens: int,
) -> Float[Tensor, "latent n"]:
    """r = (n Σxy − Σx Σy) / √((n Σx² − (Σx)²) (n Σy² − (Σy)²)); 0 where one does not vary."""
    x, y = (n_tokens * sq - t.square() for sq, t in zip(square, total, strict=True))
    above = n_tokens * product - total[0][:, None] * total[1]
    below = (x.clamp(min=0)[:, None] * y.clamp(min=0)).sqrt()
    return torch.where(below > 0, above / below, 0.0)


def cosines(
    product: Float[Tensor, "latent n"],
    square: tuple[Float[Tensor, " latent"], Float[Tensor, " n"]],
) -> Float[Tensor, "latent n"]:
    """Σxy / √(Σx² Σy²): of activations, nothing subtracted; 0 where one is always 0."""
    below = (square[0][:, None] * square[1]).sqrt()
    return torch.where(below > 0, product / below, 0.0)
