"""Where a code is not zero, and the four products that only need those entries.

A code is a (batch, latent) matrix. `Dense` keeps all of it, `Ragged` keeps the active entries row
by row. Both decode it, sample a product at its entries, form weight gradients and sum by latent,
so that an architecture writes its gradient once.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

# An entry costs 0.23 us gathered, 0.046 us in dense products (512 wide, one thread): even at 0.2,
# and a lower bound leaves room for machines with faster products.
RAGGED_BELOW = 0.12


class Support(Protocol):
    """The entries of a code that may be nonzero."""

    @property
    def shape(self) -> tuple[int, int]:
        """Batch and latents."""
        ...

    def scatter(self, code: Tensor) -> Float[Tensor, "batch latent"]:
        """The whole matrix, zeros included."""
        ...

    def take(self, matrix: Float[Tensor, "batch latent"]) -> Tensor:
        """The matrix at the entries."""
        ...

    def per_latent(self, vector: Float[Tensor, " latent"]) -> Tensor:
        """One number per latent, in a form that broadcasts with the entries."""
        ...

    def decode(
        self, code: Tensor, W: Float[Tensor, "latent d_out"]
    ) -> Float[Tensor, "batch d_out"]:
        """Code @ W."""
        ...

    def sample(
        self,
        rows: Float[Tensor, "batch d"],
        W: Float[Tensor, "latent d"],
        bias: Float[Tensor, " latent"] | None = None,
        out: Float[Tensor, "batch latent"] | None = None,
    ) -> Tensor:
        """Rows @ W^T (+ bias) at the entries, in `out` if all of it is needed."""
        ...

    def outer(self, code: Tensor, rows: Float[Tensor, "batch d"]) -> Float[Tensor, "latent d"]:
        """Code^T @ rows."""
        ...

    def latent_sum(self, code: Tensor) -> Float[Tensor, " latent"]:
        """Sum of the code over the batch."""
        ...


@dataclass(frozen=True)
class Dense:
    """Every entry: right for codes that are not sparse (yet), and on a GPU."""

    shape: tuple[int, int]

    def scatter(self, code: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """The matrix itself."""
        return code

    def take(self, matrix: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """The matrix itself."""
        return matrix

    def per_latent(self, vector: Float[Tensor, " latent"]) -> Float[Tensor, " latent"]:
        """The vector itself: it broadcasts over rows."""
        return vector

    def decode(
        self, code: Float[Tensor, "batch latent"], W: Float[Tensor, "latent d_out"]
    ) -> Float[Tensor, "batch d_out"]:
        """Code @ W."""
        return code @ W

    def sample(
        self,
        rows: Float[Tensor, "batch d"],
        W: Float[Tensor, "latent d"],
        bias: Float[Tensor, " latent"] | None = None,
        out: Float[Tensor, "batch latent"] | None = None,
    ) -> Float[Tensor, "batch latent"]:
        """Rows @ W^T (+ bias)."""
        if bias is None:
            return torch.mm(rows, W.T, out=out)
        return torch.addmm(bias, rows, W.T, out=out)

    def outer(
        self, code: Float[Tensor, "batch latent"], rows: Float[Tensor, "batch d"]
    ) -> Float[Tensor, "latent d"]:
        """Code^T @ rows."""
        return code.T @ rows

    def latent_sum(self, code: Float[Tensor, "batch latent"]) -> Float[Tensor, " latent"]:
        """Column sums."""
        return code.sum(0)


@dataclass(frozen=True)
class Ragged:
    """Some entries, in order of rows. Products are gathers: nothing that is zero is touched."""

    rows: Int[Tensor, " entry"]  # ascending
    latents: Int[Tensor, " entry"]
    shape: tuple[int, int]

    @cached_property
    def row_starts(self) -> Int[Tensor, " batch+1"]:
        """Where each row's entries begin, and the number of entries."""
        return _starts(self.rows, self.shape[0])

    @cached_property
    def order(self) -> Int[Tensor, " entry"]:
        """Entries in order of latents, rows ascending within each."""
        if self.latents.is_cuda:
            return torch.argsort(self.latents, stable=True)
        narrow = np.uint16 if self.shape[1] <= 2**16 else np.int64  # 16 bits: a radix sort
        return torch.from_numpy(np.argsort(self.latents.numpy().astype(narrow), kind="stable"))

    @cached_property
    def latent_starts(self) -> Int[Tensor, " latent+1"]:
        """Where each latent's entries begin in `order`."""
        return _starts(self.latents, self.shape[1])

    def scatter(self, code: Float[Tensor, " entry"]) -> Float[Tensor, "batch latent"]:
        """The whole matrix, zeros included."""
        return code.new_zeros(self.shape).index_put((self.rows, self.latents), code)

    def take(self, matrix: Float[Tensor, "batch latent"]) -> Float[Tensor, " entry"]:
        """The matrix at the entries."""
        return matrix.reshape(-1)[self.rows * self.shape[1] + self.latents]

    def per_latent(self, vector: Float[Tensor, " latent"]) -> Float[Tensor, " entry"]:
        """The vector at each entry's latent."""
        return vector[self.latents]

    def decode(
        self, code: Float[Tensor, " entry"], W: Float[Tensor, "latent d_out"]
    ) -> Float[Tensor, "batch d_out"]:
        """Code @ W: each row sums its latents' directions."""
        return _bags(self.latents, W, self.row_starts, code)

    def sample(
        self,
        rows: Float[Tensor, "batch d"],
        W: Float[Tensor, "latent d"],
        bias: Float[Tensor, " latent"] | None = None,
        out: Float[Tensor, "batch latent"] | None = None,  # not needed: entries are few
    ) -> Float[Tensor, " entry"]:
        """Rows @ W^T (+ bias) at the entries: one dot product each."""
        products = self._products(rows, W)
        return products if bias is None else products.add_(bias[self.latents])

    def _products(
        self, rows: Float[Tensor, "batch d"], W: Float[Tensor, "latent d"]
    ) -> Float[Tensor, " entry"]:
        half = rows.dtype not in (torch.float32, torch.float64)  # MKL has no products of these
        mkl = torch.backends.mkl.is_available() and not (half or rows.is_cuda)
        if not mkl or not len(self.latents):
            return self._sample_by_autograd(rows, W)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR is in beta", once
            at = torch.sparse_csr_tensor(
                self.row_starts,
                self.latents,
                rows.new_zeros(len(self.latents)),
                self.shape,
                check_invariants=False,
            )
        return torch.sparse.sampled_addmm(at, rows, W.T, beta=0.0).values()

    @torch.enable_grad()  # type: ignore[untyped-decorator,unused-ignore]
    def _sample_by_autograd(
        self, rows: Float[Tensor, "batch d"], W: Float[Tensor, "latent d"]
    ) -> Float[Tensor, " entry"]:
        # the gradient of a bag's weights is the dot product that we want
        code = rows.new_zeros(len(self.latents), requires_grad=True)
        bags = _bags(self.latents, W.detach(), self.row_starts, code)
        return torch.autograd.grad(bags, code, rows)[0]

    def outer(
        self, code: Float[Tensor, " entry"], rows: Float[Tensor, "batch d"]
    ) -> Float[Tensor, "latent d"]:
        """Code^T @ rows: each latent sums the rows on which it is active."""
        return _bags(self.rows[self.order], rows, self.latent_starts, code[self.order])

    def latent_sum(self, code: Float[Tensor, " entry"]) -> Float[Tensor, " latent"]:
        """Sum of the code by latent."""
        return code.new_zeros(self.shape[1]).index_add_(0, self.latents, code)

    def within(self, first: int, last: int) -> tuple[Tensor, "Ragged"]:
        """Which entries have a latent from `first` to before `last`, and those as a support."""
        here = ((self.latents >= first) & (self.latents < last)).nonzero().squeeze(1)
        size = (self.shape[0], last - first)
        return here, Ragged(self.rows[here], self.latents[here] - first, size)


def _starts(index: Int[Tensor, " entry"], n: int) -> Int[Tensor, " n+1"]:
    return F.pad(torch.bincount(index, minlength=n).cumsum(0), (1, 0))


def _bags(
    index: Int[Tensor, " entry"],
    table: Float[Tensor, "row d"],
    starts: Int[Tensor, " bag+1"],
    weight: Float[Tensor, " entry"],
) -> Float[Tensor, "bag d"]:
    """Per bag, the weighted sum of the table's rows that it names."""
    return F.embedding_bag(
        index, table, starts, per_sample_weights=weight, mode="sum", include_last_offset=True
    )


def ragged(flat: Int[Tensor, " entry"], shape: tuple[int, int]) -> Ragged:
    """The support with these places in the flattened matrix, which ascend."""
    return Ragged(flat // shape[1], flat % shape[1], shape)


def above(pre: Float[Tensor, "batch latent"], bound: Float[Tensor, " latent"] | float) -> Support:
    """The entries with pre > bound; all entries where that is no small part of them."""
    shape = (pre.shape[0], pre.shape[1])
    if pre.is_cuda:
        return Dense(shape)
    mask = (pre > bound).numpy()
    if np.count_nonzero(mask) > RAGGED_BELOW * mask.size:
        return Dense(shape)
    return ragged(torch.from_numpy(np.flatnonzero(mask)), shape)
