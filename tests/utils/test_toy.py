"""The fast trainer does what the slow one does, and its samples have the law they claim."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from utils import toy
from utils.progress import track
from utils.testing import binomial_bounds, generator, unchanged
from utils.toy import (
    SparseSampler,
    ToyConfig,
    TrainConfig,
    evaluate_toy,
    expected_loss,
    fit,
    init_toy,
    sample_sparse,
    train_toy_fast,
)
from utils.training import frame_steps, learning_rate

CFG = TrainConfig(n_steps=40, batch=16, lr=1e-2, schedule="cosine", n_frames=5, record_every=10)
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_CUDA)]
SHAPES = [(), (3, 1), (1, 5), (3, 5)]


@pytest.fixture(autouse=True)
def _no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", "0")


def start(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Three models of five features in two dimensions, with biases that are not zero."""
    W, b = init_toy(ToyConfig(inst=3, feature=5, hidden=2), generator(3), dtype=dtype)
    return W, b + 0.1 * torch.randn(b.shape, generator=generator(4), dtype=dtype)


def plain_loss(x: Tensor, W: Tensor, b: Tensor, importance: Tensor) -> Tensor:
    """Per instance; `x` is "inst feature batch", as the sampler draws it."""
    out = torch.relu(W.mT @ (W @ x) + b.unsqueeze(-1))
    return ((out - x) ** 2 * importance.expand_as(b).unsqueeze(-1)).mean(dim=(1, 2))


def plain_train(
    W: Tensor, b: Tensor, importance: Tensor, probability: Tensor, cfg: TrainConfig, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The same batches through autograd and torch's Adam; the recorded losses as well."""
    W, b = W.clone().requires_grad_(), b.clone().requires_grad_()
    sampler, x = SparseSampler(generator(seed)), W.new_empty(*b.shape, cfg.batch)
    line = sampler.line(probability.expand_as(b).to(W))
    optimiser = torch.optim.Adam([W, b], lr=cfg.lr)
    losses = []
    for step in range(cfg.n_steps):
        optimiser.param_groups[0]["lr"] = learning_rate(cfg, step)
        optimiser.zero_grad()
        loss = plain_loss(sampler.fill(x.detach(), *line), W, b, importance)
        loss.sum().backward()
        optimiser.step()
        if step % cfg.record_every == 0:
            losses.append(loss.detach())
    return W.detach(), b.detach(), torch.stack(losses)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("shape", SHAPES)
def test_train_toy_fast__equals_autograd_on_the_same_batches(shape, schedule):
    """Weights, biases and recorded losses agree to 1e-5 for every shape of both rates."""
    importance = 0.3 + torch.rand(shape, generator=generator(1), dtype=torch.float64)
    probability = 0.1 + 0.8 * torch.rand(shape, generator=generator(2), dtype=torch.float64)
    cfg = replace(CFG, schedule=schedule)
    run = train_toy_fast(*start(), importance, probability, cfg, generator(7))
    W, b, losses = plain_train(*start(), importance, probability, cfg, seed=7)
    assert_close(run.W, W, rtol=0, atol=1e-5)
    assert_close(run.b, b, rtol=0, atol=1e-5)
    assert_close(run.losses, losses, rtol=1e-6, atol=0)
    assert run.losses_step.tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_train_toy_fast__is_the_same_in_parts(monkeypatch, dtype):
    """Instances that do not fit the cache together give the same result as those that do."""
    whole = train_toy_fast(*start(dtype), 1.0, 0.3, CFG, generator(0))
    monkeypatch.setattr(toy, "CACHE_ENTRIES", 2 * 5 * CFG.batch)  # parts of two and one
    parts = train_toy_fast(*start(dtype), 1.0, 0.3, CFG, generator(0))
    assert whole.W.dtype == dtype
    assert_close(parts.W, whole.W)
    assert_close(parts.losses, whole.losses)


def test_train_toy_fast__keeps_its_inputs_and_its_seed():
    """Inputs stay as they were; equal seeds give equal weights, other seeds others."""
    W, b = start()
    importance, probability = torch.ones(1, 5), torch.full((3, 1), 0.2)
    with unchanged(W, b, importance, probability):
        runs = [train_toy_fast(W, b, importance, probability, CFG, generator(s)) for s in (0, 0, 1)]
    assert_close(runs[0].W, runs[1].W, rtol=0, atol=0)
    assert (runs[0].W != runs[2].W).any()
    assert not runs[0].W.requires_grad


def test_train_toy_fast__snapshots_are_copies():
    """The first frame is the start, the last the end, all differ, and none shares memory."""
    W, b = start()
    run = train_toy_fast(W, b, 1.0, 0.3, CFG, generator(0))
    assert run.frames_step.tolist() == frame_steps(CFG.n_steps, 5)
    assert_close(run.frames_W[0], W, rtol=0, atol=0)
    assert_close(run.frames_W[-1], run.W, rtol=0, atol=0)
    assert_close(run.frames_b[-1], run.b, rtol=0, atol=0)
    assert all((a != z).any() for a, z in zip(run.frames_W, run.frames_W[1:], strict=False))
    before = run.frames_W.clone()
    run.W.zero_()
    assert_close(run.frames_W, before, rtol=0, atol=0)


def test_train_toy_fast__keeps_no_frames_unless_asked():
    """n_frames=0 gives an empty stack of the right shape."""
    run = train_toy_fast(*start(), 1.0, 0.3, replace(CFG, n_frames=0), generator(0))
    assert run.frames_W.shape == (0, 3, 2, 5)
    assert run.frames_step.shape == (0,)


@pytest.mark.parametrize("device", DEVICES)
def test_train_toy_fast__learns_the_identity_when_it_can(device):
    """As many dimensions as features: the loss falls below a thousandth of the start's."""
    W, b = init_toy(ToyConfig(inst=2, feature=3, hidden=3), generator(0, device), device)
    cfg = TrainConfig(n_steps=3000, batch=128, lr=1e-2, schedule="cosine")
    run = train_toy_fast(W, b, 1.0, 0.5, cfg, generator(0, device))
    weights = (W, b), (run.W, run.b)
    first, last = (evaluate_toy(*t, 1.0, 0.5, generator(1, device)) for t in weights)
    assert (last < first / 1000).all()
    assert len(run.losses.unique()) == run.losses.numel()  # no batch came twice


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sample_sparse__has_its_probabilities_and_uniform_magnitudes(dtype):
    """Counts of active entries and of magnitudes below t lie in exact binomial bounds."""
    probability = torch.tensor([[0.0, 0.004, 0.3], [0.03, 0.7, 1.0]], dtype=dtype)
    batch, levels = 20_000, (0.1, 0.25, 0.5, 0.75, 0.9)
    x = sample_sparse(probability, 2, 3, batch, generator(5), dtype)
    assert x.shape == (batch, 2, 3)
    assert x.dtype == dtype
    assert x.min() >= 0 and x.max() <= 1
    alarm = 1e-6 / (6 + 6 * len(levels))  # the test's false alarms add up to 1e-6 at the most
    for inst in range(2):
        for feature in range(3):
            column, p = x[:, inst, feature], float(probability[inst, feature])
            active = column[column > 0]
            low, high = binomial_bounds(batch, p, alarm)
            assert low <= len(active) <= high
            for level in levels:
                low, high = binomial_bounds(len(active), level, alarm)
                assert low <= int((active < level).sum()) <= high


def test_sample_sparse__features_rows_and_instances_are_independent():
    """Neighbours along every axis are active together as often as chance says."""
    p, batch = 0.3, 20_000
    on = sample_sparse(p, 2, 2, batch, generator(6)) > 0
    pairs = [
        on[:, 0, 0] & on[:, 0, 1],
        on[:, 0, 0] & on[:, 1, 0],
        on[::2, 1, 1] & on[1::2, 1, 1],
    ]
    for pair in pairs:
        low, high = binomial_bounds(len(pair), p * p, 1e-6 / len(pairs))
        assert low <= int(pair.sum()) <= high


def test_sample_sparse__p_zero_is_never_active_and_p_one_always():
    """Both ends of the range are exact."""
    ends = torch.tensor([[0.0, 1.0]])
    x = sample_sparse(ends, 1, 2, 100_000, generator(0), torch.float64)
    assert (x[..., 0] == 0).all()
    assert (x[..., 1] > 0).sum() >= 99_999  # 1 - u is 0 for u = 1: one draw in 2^32


def test_sample_sparse__goes_on_with_its_generator():
    """Two draws from one generator differ; the same state gives the same draw."""
    gen = generator(0)
    first, second = (sample_sparse(0.5, 1, 2, 8, gen) for _ in range(2))
    assert (first != second).any()
    assert_close(sample_sparse(0.5, 1, 2, 8, generator(0)), first, rtol=0, atol=0)


def test_expected_loss__equals_the_closed_forms():
    """Nothing learnt: p/3. Feature 0 alone, its partner's mean: half of p/3 - p²/4. Pair: p²/6."""
    p = torch.tensor([[0.2], [0.7]], dtype=torch.float64).repeat(3, 1)
    W = torch.tensor([[[0.0, 0]], [[0, 0]], [[1, 0]], [[1, 0]], [[1, -1]], [[1, -1]]]).to(p)
    b = torch.zeros(6, 2, dtype=torch.float64)
    b[2:4, 1] = p[2:4, 0] / 2
    q = p[:2, 0]
    truth = torch.cat([q / 3, (q / 3 - q**2 / 4) / 2, q**2 / 6])
    assert_close(expected_loss(W, b, 1.0, p), truth, rtol=1e-2, atol=0)
    assert_close(expected_loss(W, b, 1.0, p, n_nodes=200), truth, rtol=1e-4, atol=0)


def test_expected_loss__agrees_with_a_large_batch():
    """The integral and 100,000 sampled rows agree within 3 %, importances and all."""
    W, b = init_toy(ToyConfig(inst=4, feature=3, hidden=2), generator(0))
    importance, p = torch.tensor([[1.0, 0.5, 3.0]]), torch.tensor([[1.0], [0.5], [0.3], [0.2]])
    sampled = evaluate_toy(W, b + 0.1, importance, p, generator(1), 100_000)
    assert_close(expected_loss(W, b + 0.1, importance, p), sampled, rtol=0.03, atol=0)


def test_fit__equals_train_toy_fast():
    """Autograd through the shared loop walks the same path as the gradient by hand."""
    sampler, (W, b) = SparseSampler(generator(7)), start()
    line = sampler.line(torch.full_like(b, 0.3))
    run = fit(
        {"W": W, "b": b},
        lambda params, x: plain_loss(x, params["W"], params["b"], torch.ones(())),
        lambda gen: sampler.fill(W.new_empty(*b.shape, CFG.batch), *line),
        CFG,
        generator(0),
    )
    fast = train_toy_fast(W, b, 1.0, 0.3, CFG, generator(7))
    assert_close(run.params["W"], fast.W, rtol=0, atol=1e-5)
    assert_close(run.losses, fast.losses, rtol=1e-6, atol=0)
    assert_close(run.frames["b"], fast.frames_b, rtol=0, atol=1e-5)


def test_fit__hooks_see_live_parameters_and_gradients():
    """A hook before the step can drop the gradient; one after it can put the weights back."""
    target = {"w": torch.ones(3)}
    steps: list[int] = []

    def zeros(_: torch.Generator) -> Tensor:
        return torch.zeros(3)

    def drop(step: int, params: dict[str, Tensor], _: torch.optim.Adam) -> None:
        steps.append(step)
        params["w"].grad.zero_()

    def clamp(step: int, params: dict[str, Tensor], _: torch.optim.Adam) -> None:
        params["w"].clamp_(min=0.99)

    def train(**hooks) -> Tensor:
        cfg, gen = TrainConfig(n_steps=20, lr=0.1), generator(0)
        run = fit(target, lambda q, x: (q["w"] - x).square().sum(), zeros, cfg, gen, **hooks)
        return run.params["w"]

    with unchanged(target["w"]):
        assert_close(train(before_step=drop), torch.ones(3))
        assert_close(train(after_step=clamp), torch.full((3,), 0.99))
        assert (train() < 0.5).all()
    assert steps == list(range(20))


def test_learning_rate__follows_its_schedule():
    """Constant; straight to zero; half a cosine."""
    rates = {
        schedule: [
            learning_rate(TrainConfig(n_steps=4, lr=8.0, schedule=schedule), s) for s in (0, 2)
        ]
        for schedule in ("constant", "linear", "cosine")
    }
    assert rates["constant"] == [8, 8]
    assert rates["linear"] == [8, 4]
    assert rates["cosine"] == pytest.approx([8, 4])


def test_frame_steps__run_from_start_to_end():
    """First and last step are always there, none twice, one frame is the last."""
    assert frame_steps(100, 5) == [0, 6, 25, 56, 100]
    assert frame_steps(100, 1) == [100]
    assert frame_steps(100, 0) == []
    assert len(frame_steps(3, 50)) == 4


def test_init_toy__has_xavier_scale_and_no_bias():
    """The mean square of W is 2 / (hidden + feature), within six standard errors."""
    W, b = init_toy(ToyConfig(inst=50, feature=30, hidden=20), generator(0))
    assert W.shape == (50, 20, 30)
    error = 6 * (2 / 50) * (2 / W.numel()) ** 0.5  # a square of a normal has twice its variance
    assert abs(float(W.square().mean()) - 2 / 50) < error
    assert not b.any()


@pytest.mark.parametrize("switch", ["0", "1"])
def test_track__yields_every_item(monkeypatch, switch, capsys):
    """With and without the bar, all items come, in order; the bar can be switched off."""
    monkeypatch.setenv("COURSE_PROGRESS", switch)
    assert list(track((i for i in range(3)), "label", total=3)) == [0, 1, 2]
    assert ("label" in capsys.readouterr().err) == (switch == "1")
