"""The distance of predictions: it is their divergence, and folding it back changes nothing."""

from dataclasses import replace

import pytest
import torch

from utils.data.corpus import Rows
from utils.saes.coder import calibrate_cut, encode, init_coder, reconstruct
from utils.saes.config import SAEConfig, SAETrainConfig
from utils.saes.distance import Stretched, mean_fisher, stretch, unstretched
from utils.saes.export import load_coder, save_coder
from utils.saes.train import train_coder

RESID, D = "blocks.0.hook_resid_post", 12


def rows_of(n, seed=1):
    ids = torch.randint(0, 17, (n, 8), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[::3, 6:] = False
    return Rows(ids, mask, torch.arange(n))


def few_directions(seed=0, d=D):
    """Fisher information in three directions, and a little elsewhere."""
    g = torch.randn(3, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return g.T @ g + 0.01 * torch.eye(d, dtype=torch.float64)


def divergence(model, rows, errors):
    """KL(clean || with errors added at the hook), summed over predictions, per token changed."""
    keep = rows.mask.clone()
    keep[:, 0] = False
    where = rows.mask[:, :-1] & rows.mask[:, 1:]

    def add(value, hook):
        return value + torch.where(keep[..., None], errors, 0)

    with torch.no_grad():
        runs = [model.run_with_hooks(rows.ids, fwd_hooks=h) for h in ([], [(RESID, add)])]
        clean, other = (run[:, :-1][where].double().log_softmax(dim=-1) for run in runs)
    return float((clean.exp() * (clean - other)).sum() / keep.sum()), keep


def test_fisher__half_of_the_errors_length_is_the_divergence(model):
    rows = rows_of(400)
    fisher = mean_fisher(model, rows, RESID, torch.Generator().manual_seed(0))
    errors = 0.02 * torch.randn(400, 8, D, generator=torch.Generator().manual_seed(2))
    found, keep = divergence(model, rows, errors)
    e = errors[keep].double()
    assert found == pytest.approx(float(((e @ fisher) * e).sum(dim=1).mean()) / 2, rel=0.1)


def test_fisher__tells_the_directions_that_matter(model):
    rows = rows_of(200)
    fisher = mean_fisher(model, rows, RESID, torch.Generator().manual_seed(0))
    values, U = torch.linalg.eigh(fisher)
    constant = U[:, 0].abs() * D**0.5  # layer norms take the mean off: it does not matter at all
    torch.testing.assert_close(constant, torch.ones(D, dtype=torch.float64), atol=1e-3, rtol=0)
    kl = []
    for i in (1, D - 1):  # the least important of the others, and the most
        signs = torch.randint(2, (200, 8, 1), generator=torch.Generator().manual_seed(3)) * 2 - 1
        kl.append(divergence(model, rows, 0.02 * signs * U[:, i].float())[0])
    assert kl[1] / kl[0] == pytest.approx(float(values[-1] / values[1]), rel=0.3)


def test_fisher__is_the_same_for_a_seed_and_leaves_padding_out(model):
    rows = rows_of(12)
    other = Rows(torch.where(rows.mask, rows.ids, 5), rows.mask, rows.document)
    one, two = (
        mean_fisher(model, r, RESID, torch.Generator().manual_seed(0)) for r in (rows, other)
    )
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)
    assert torch.equal(one, one.T) and float(torch.linalg.eigvalsh(one).min()) > -1e-9


@pytest.mark.parametrize("weight", [0.0, 0.5, 4.0])
def test_stretch__is_the_root_of_what_it_says(weight):
    fisher = few_directions()
    by, e = stretch(fisher, weight), torch.randn(D, generator=torch.Generator().manual_seed(1))
    wanted = e @ e + weight * (e.double() @ fisher @ e.double()) / (fisher.trace() / D)
    assert float((e @ by.there).square().sum()) == pytest.approx(float(wanted), rel=1e-5)
    torch.testing.assert_close(by.there @ by.back, torch.eye(D), atol=1e-5, rtol=0)


def coder_of(architecture="batchtopk", kind="sae", **more):
    widths = (8, 30) if architecture == "matryoshka" else ()
    cfg = SAEConfig(D, 30, architecture, kind, None if kind == "sae" else D, k=4, widths=widths)
    coder = init_coder(
        replace(cfg, decoder_init_norm=0.7, **more), torch.Generator().manual_seed(2)
    )
    gen = torch.Generator().manual_seed(3)
    for value in coder.params.values():
        value += 0.2 * torch.randn(value.shape, generator=gen)
    coder.cut.fill_(0.4)
    return replace(coder, scale_in=1.3, scale_out=1.3 if kind == "sae" else 0.8)


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
@pytest.mark.parametrize("kind", ["sae", "transcoder", "skip_transcoder"])
def test_unstretched__is_the_same_coder_for_data_as_it_is(architecture, kind, tmp_path):
    coder, by = coder_of(architecture, kind), stretch(few_directions(), 2.0)
    plain = unstretched(coder, by)
    x = torch.randn(300, D, generator=torch.Generator().manual_seed(4))
    seen = x @ by.there if kind == "sae" else x
    there, here = encode(coder, seen), encode(plain, x)
    assert torch.equal(there > 0, here > 0) and 1 < float((here > 0).sum(dim=1).float().mean()) < 20
    expected = reconstruct(coder, seen) @ by.back
    torch.testing.assert_close(reconstruct(plain, x), expected, rtol=1e-4, atol=1e-5)
    save_coder(plain, tmp_path)
    torch.testing.assert_close(reconstruct(load_coder(tmp_path), x), expected, rtol=1e-4, atol=1e-5)


def test_thresholds_of_latents_are_calibrated_by_one_factor():
    coder = unstretched(coder_of(), stretch(few_directions(), 2.0))
    before = coder.cut.clone()
    x = torch.randn(500, D, generator=torch.Generator().manual_seed(4))
    cut = calibrate_cut(coder, [x])
    assert float((encode(coder, x) > 0).sum(dim=1).float().mean()) == pytest.approx(4, abs=0.01)
    factor = cut / before
    torch.testing.assert_close(factor, factor.mean().expand_as(factor))


def test_unstretched__refuses_what_does_not_fold():
    by = stretch(few_directions(), 2.0)
    with pytest.raises(ValueError, match="topk has none"):
        unstretched(coder_of("topk"), by)
    with pytest.raises(ValueError, match="average_norm"):
        unstretched(coder_of(normalise="constant_norm"), by)


def trained(data, by, n_steps=400):
    """Few latents for many features, so that some must be given up."""
    cfg = SAEConfig(D, 10, "batchtopk", k=2, normalise="average_norm")
    settings = SAETrainConfig(n_steps=n_steps, lr=3e-3, warmup_steps=10, decay_steps=100)
    settings = replace(settings, aux_coefficient=0.0)
    start = init_coder(cfg, torch.Generator().manual_seed(0))
    found = train_coder(start, Stretched(data, by), settings)
    return unstretched(found.coder, by)


def test_training_in_the_distance_spends_latents_on_what_matters():
    gen, fisher = torch.Generator().manual_seed(5), few_directions()
    features = torch.nn.functional.normalize(torch.randn(40, D, generator=gen), dim=1)
    on = torch.rand(4096, 40, generator=gen) < 0.08
    x = torch.where(on, torch.rand(4096, 40, generator=gen), 0) @ features
    data = list(x.split(256))
    lost = []
    for weight in (0.0, 5.0):
        e = (reconstruct(trained(data, stretch(fisher, weight)), x) - x).double()
        lost.append((float(e.square().sum()), float(((e @ fisher) * e).sum())))
    assert lost[1][1] < 0.8 * lost[0][1], "errors that matter are smaller"
    assert lost[1][0] > lost[0][0], "and others larger"


def test_stretched__keeps_pairs_and_the_position():
    class Reader:
        def __init__(self):
            self.at = 0

        def __len__(self):
            return 3

        def __iter__(self):
            while self.at < 3:
                self.at += 1
                yield torch.ones(2, D), torch.full((2, D), float(self.at))

        def state_dict(self):
            return {"at": self.at}

        def load_state_dict(self, state):
            self.at = state["at"]

    by = stretch(few_directions(), 1.0)
    data, other = Stretched(Reader(), by), Stretched(Reader(), by)
    batches = iter(data)
    x, y = next(batches)
    torch.testing.assert_close((x, y), (torch.ones(2, D), torch.ones(2, D) @ by.there))
    other.load_state_dict(data.state_dict())
    torch.testing.assert_close(next(iter(other)), next(batches))
    assert len(data) == 3
