"""Strongest contexts against a latent whose every activation is known."""

import pytest
import torch

from utils.data.corpus import Rows
from utils.sae_metrics import strongest, window

N_ROWS, N_POS = 7, 9


class Model:
    """Stands for a bridge whose hook passes the token ids as vectors of two numbers."""

    class cfg:
        n_layers = 1

    def parameters(self):
        return iter([torch.zeros(1)])

    def run_with_hooks(self, ids, fwd_hooks, stop_at_layer):
        for _, hook in fwd_hooks:
            hook(torch.stack([ids, -ids], dim=-1).float(), None)


class Coder:
    """Latent 0 is the token id above 20, latent 1 never fires, latent 2 fires everywhere."""

    hook_in = hook_out = "blocks.0.hook_resid_post"

    def encode(self, x):
        up = x[..., 0]
        return torch.stack([(up - 20).relu(), -up.abs().clamp(max=0), up * 0 + 1], dim=-1)


@pytest.fixture
def rows():
    gen = torch.Generator().manual_seed(0)
    ids = torch.randperm(N_ROWS * N_POS, generator=gen).view(N_ROWS, N_POS)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[2, 5:] = False
    return Rows(ids, mask, torch.arange(N_ROWS))


@pytest.mark.parametrize("batch_rows", [1, 3, 50])
def test_strongest__are_the_rows_of_the_largest_activations(rows, batch_rows):
    found = strongest(Model(), rows, Coder(), n=3, batch_rows=batch_rows)
    counted = rows.mask.clone()
    counted[:, 0] = False
    ids = rows.ids.masked_fill(~counted, 0)
    best = ids.max(dim=1).values.sort(descending=True)
    assert found.row[0].tolist() == best.indices[:3].tolist()
    assert found.activation[0].tolist() == (best.values[:3] - 20).tolist()
    assert ids[found.row[0], found.pos[0]].tolist() == best.values[:3].tolist()
    assert found.share.tolist() == pytest.approx([float((ids > 20).sum() / counted.sum()), 0, 1])
    assert found.rows.tolist() == [int((ids > 20).any(dim=1).sum()), 0, N_ROWS]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_strongest__counts_whole_numbers_whatever_the_codes_are(dtype):
    """700 tokens: a count kept in bfloat16 stops at 256, and a share of 1 becomes 0.37."""

    class Coarse(Coder):
        def encode(self, x):
            return super().encode(x).to(dtype)

    ids = torch.arange(3).repeat(70, 4)[:, :11]
    rows = Rows(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(70))
    found = strongest(Model(), rows, Coarse())
    assert found.share.tolist() == [0, 0, 1]
    assert found.rows.tolist() == [0, 0, 70]


def test_strongest__says_where_there_is_no_context(rows):
    found = strongest(Model(), rows, Coder(), n=N_ROWS + 2)
    assert found.row[1].tolist() == found.pos[1].tolist() == [-1] * N_ROWS
    assert found.activation[1].sum() == 0
    assert found.pos[2].min() == 1, "the first position does not count"


def test_strongest__refuses_no_rows(rows):
    none = Rows(rows.ids[:0], rows.mask[:0], rows.document[:0])
    with pytest.raises(ValueError, match="no rows"):
        strongest(Model(), none, Coder())


def test_contexts__between_takes_share_and_rows(rows):
    found = strongest(Model(), rows, Coder())
    assert found.between(0, 1, 1).tolist() == [0, 2]
    assert found.between(0, 0.99, 1).tolist() == [0]
    assert found.between(0, 1, N_ROWS + 1).tolist() == []


def test_window__leaves_out_the_first_token_and_stops_at_the_ends():
    ids = torch.arange(10, 20)
    assert window(ids, 4, before=2, after=3) == ([12, 13], 14, [15, 16, 17])
    assert window(ids, 1, before=5, after=1) == ([], 11, [12])
    assert window(ids, 9) == (list(range(11, 19)), 19, [])
