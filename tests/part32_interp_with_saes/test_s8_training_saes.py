"""3.2.8: what is right, on small random tensors."""

import math

import pytest
import torch

from part31_superposition.s6_sae_variants import rectangle
from utils.testing import (
    assert_same,
    binomial_bounds,
    generator,
    hoeffding,
    require,
    unchanged,
    vjp,
)


def normal(g, *shape, dtype=torch.float32):
    """Normal numbers on the generator's device."""
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype)


def whole(g, high, *shape):
    """Whole numbers from 0 to high - 1."""
    return torch.randint(high, shape, generator=g, device=g.device)


def number(value, want, what="the result", rtol=1e-5, atol=1e-7):
    """A plain number (or a tensor of one) is as it should be."""
    assert_same(float(value), float(want), rtol=rtol, atol=atol, what=what)


# ---------------------------------------------------------------------------------- a1. mix_step


def test_mix_step__loses_and_doubles_nothing(impl, seed, device):
    """Served and kept rows together are all rows, each once; the halves differ by at most one"""
    g = generator(seed, device)
    for m, n in ((5, 8), (0, 7), (6, 6)):
        rows = torch.arange(m + n, device=device)[:, None] * torch.ones(3, device=device)
        kept, fresh = rows[:m].clone(), rows[m:].clone()
        with unchanged(kept, fresh):
            served, rest = impl.mix_step(kept, fresh, g)
        size = f"{len(served)} rows are served of {m + n}, not {(m + n) // 2}"
        require(len(served) == (m + n) // 2, size)
        together = torch.cat([served, rest])[:, 0].sort().values
        assert_same(together, rows[:, 0], "row", what="served and kept rows, sorted")


def test_mix_step__old_and_new_rows_are_served_alike(impl, seed, device):
    """Of 300 old and 300 new rows about 150 of each are served"""
    g = generator(seed + 1, device)
    old, new = torch.zeros(300, 2, device=device), torch.ones(300, 2, device=device)
    served, _ = impl.mix_step(old, new, g)
    low, high = binomial_bounds(300, 0.5)
    many = int(served[:, 0].sum())
    require(low <= many <= high, f"{many} of the 300 rows that are served are new: not mixed")


@pytest.mark.parametrize("size", [(4, 9, 2), (7, 2, 5), (0, 6, 3)])
def test_mix_step__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """The order is that of one torch.randperm, served from its beginning"""
    m, n, d = size
    g = generator(seed + 2, device)
    kept, fresh = normal(g, m, d), normal(g, n, d)
    mine = impl.mix_step(kept, fresh, generator(seed + 3, device))
    theirs = ref.mix_step(kept, fresh, generator(seed + 3, device))
    assert_same(list(mine), list(theirs), ("source d", "rest d"))


# ----------------------------------------------------------------------------- a2. same_document


def test_same_document__by_hand(impl, device):
    """Three rows of one document, two of another, one alone: 8 of 30 pairs"""
    got = impl.same_document(torch.tensor([4, 1, 4, 9, 1, 4], device=device))
    number(got, 8 / 30)
    number(impl.same_document(torch.tensor([2, 2, 2], device=device)), 1.0)
    number(impl.same_document(torch.arange(5, device=device)), 0.0)


def test_same_document__counts_every_pair(impl, seed, device):
    """The same as comparing all rows with all others"""
    g = generator(seed, device)
    for n in (2, 7, 40):
        document = whole(g, 5, n)
        same = (document[:, None] == document[None]).float().sum() - n
        with unchanged(document):
            got = impl.same_document(document)
        number(got, float(same) / (n * (n - 1)))


def test_same_document__agrees_with_the_worked_one(impl, ref, seed, device):
    """Large numbers of documents, in any order"""
    document = whole(generator(seed + 1, device), 9, 60) * 1000
    number(impl.same_document(document), ref.same_document(document))


# ----------------------------------------------------------------------- a3. same_if_independent


def test_same_if_independent__of_the_whole_text_is_its_own_share(impl, device):
    """A batch that is the whole text has no choice: 3, 1 and 2 rows give 8 of 30 pairs"""
    number(impl.same_if_independent(torch.tensor([3, 1, 2], device=device), 6), 8 / 30)
    number(impl.same_if_independent(torch.tensor([1, 1, 1, 1], device=device), 3), 0.0)
    number(impl.same_if_independent(torch.tensor([5], device=device), 2), 1.0)


def test_same_if_independent__is_what_random_batches_give(impl, seed, device):
    """The mean of 4,000 batches drawn without replacement, within Hoeffding's bound"""
    g = generator(seed, "cpu")
    sizes = torch.tensor([2, 5, 1, 4])
    document = torch.repeat_interleave(torch.arange(4), sizes)
    batch = torch.rand(4000, 12, generator=g).argsort(dim=1)[:, :3]
    drawn = document[batch]
    same = (drawn[:, :, None] == drawn[:, None]).float().sum(dim=(1, 2)) - 3
    mean, got = float(same.mean()) / 6, float(impl.same_if_independent(sizes.to(device), 3))
    says = f"random batches give {mean:.3f} on average, your number is {got:.3f}"
    require(abs(mean - got) < hoeffding(4000), says)


def test_same_if_independent__agrees_with_the_worked_one(impl, ref, seed, device):
    """Other sizes of documents and batches"""
    g = generator(seed + 1, device)
    for batch in (2, 5, 11):
        sizes = 1 + whole(g, 9, 12)
        got, want = (m.same_if_independent(sizes, batch) for m in (impl, ref))
        number(got, want)


# -------------------------------------------------------------------------------- a4. epoch_rows


def test_epoch_rows__no_row_twice_in_an_epoch(impl, seed):
    """23 rows in batches of 5: four batches of different rows, and three rows are left out"""
    rows = torch.cat([impl.epoch_rows(23, 5, seed, step) for step in range(4)])
    require(rows.shape == (20,), f"four batches of 5 have {len(rows)} rows")
    require(len(rows.unique()) == 20, "a row occurs twice in an epoch")
    require(int(rows.min()) >= 0 and int(rows.max()) < 23, "there is no such row")


def test_epoch_rows__is_a_function_of_seed_and_step(impl, seed):
    """Asked again, in another order of steps: the same; the next epoch and seed: others"""
    forward = [impl.epoch_rows(40, 8, seed, step).tolist() for step in range(10)]
    backward = [impl.epoch_rows(40, 8, seed, step).tolist() for step in reversed(range(10))]
    require(forward == backward[::-1], "a batch depends on which were drawn before")
    require(forward[:5] != forward[5:], "the second epoch has the order of the first")
    other = impl.epoch_rows(40, 8, seed + 1, 0).tolist()
    require(other != forward[0], "another seed gives the same batch")


@pytest.mark.parametrize("size", [(10, 5), (17, 4), (6, 6), (9, 1)])
def test_epoch_rows__agree_with_the_worked_ones(impl, ref, seed, size):
    """First and last batches of epochs"""
    n, batch = size
    for step in (0, n // batch - 1, n // batch, 3 * (n // batch) + 1):
        assert_same(impl.epoch_rows(n, batch, seed, step), ref.epoch_rows(n, batch, seed, step))


# -------------------------------------------------------------------------- b1. geometric_median


def test_geometric_median__unit_vectors_cancel(impl, seed, device):
    """After many steps the unit vectors to all rows sum to nothing"""
    x = normal(generator(seed, device), 40, 8, dtype=torch.float64) + 2
    with unchanged(x):
        point = impl.geometric_median(x, 300)
    away = x - point
    total = (away / away.norm(dim=1, keepdim=True)).sum(dim=0)
    require(float(total.norm()) < 1e-2, f"they sum to a vector of length {float(total.norm()):.3f}")


def test_geometric_median__a_far_row_moves_it_little(impl, seed, device):
    """Of 21 rows one is a million times as far as the others"""
    x = normal(generator(seed + 1, device), 21, 4)
    x[3] = 1e6
    point = impl.geometric_median(x, 60)
    require(float(point.norm()) < 3, "one row has carried the point away")


@pytest.mark.parametrize("n_steps", [0, 1, 4])
def test_geometric_median__agrees_with_the_worked_one(impl, ref, seed, device, n_steps):
    """After no step (the mean), one step, four steps"""
    x = normal(generator(seed + 2, device), 9, 5) + 1
    assert_same(
        impl.geometric_median(x, n_steps), ref.geometric_median(x, n_steps), "d", 1e-4, 1e-5
    )


def test_geometric_median__a_row_in_the_way_does_not_divide_by_zero(impl, device):
    """Two rows and one at their mean, where the iteration starts: it stays there"""
    x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [1.0, 2.0]], device=device)
    got = impl.geometric_median(x, 3)
    assert_same(got, torch.tensor([1.0, 2.0], device=device), "d", 1e-4, 1e-4)


# ---------------------------------------------------------------------------- b2. starting_point


def test_starting_point__lengths_biases_and_the_transpose(impl, seed, device):
    """Rows of the asked length, encoder = decoder transposed, one bias 0, the other the centre"""
    g = generator(seed, device)
    centre = normal(g, 6)
    with unchanged(centre):
        p = impl.starting_point(centre, 11, 0.3, g)
    require(set(p) == {"W_enc", "b_enc", "W_dec", "b_dec"}, f"the names are {sorted(p)}")
    assert_same(p["W_dec"].norm(dim=1), torch.full((11,), 0.3, device=device), "latent", 1e-4, 1e-5)
    assert_same(p["W_enc"].contiguous(), p["W_dec"].T.contiguous(), "d_in latent")
    assert_same(p["b_enc"], torch.zeros(11, device=device), "latent")
    assert_same(p["b_dec"], centre, "d_in")


def test_starting_point__directions_have_no_preference(impl, seed, device):
    """4,000 rows in 2 dimensions: as many lean to the axes as to the diagonals"""
    p = impl.starting_point(torch.zeros(2, device=device), 4000, 1.0, generator(seed + 1, device))
    angle = torch.atan2(p["W_dec"][:, 1], p["W_dec"][:, 0]) * 4 / math.pi
    to_axes = int(((angle.round().long() % 2) == 0).sum())
    low, high = binomial_bounds(4000, 0.5)
    require(low <= to_axes <= high, f"{to_axes} of 4,000 rows lean to an axis")


@pytest.mark.parametrize("size", [(3, 7), (5, 2)])
def test_starting_point__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """The same draw; the memory of the results is not shared"""
    d, latent = size
    centre = normal(generator(seed + 2, device), d)
    mine, theirs = (
        m.starting_point(centre, latent, 0.7, generator(seed + 3, device)) for m in (impl, ref)
    )
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert_same(mine[name].contiguous(), theirs[name].contiguous(), what=name)
    memory = {mine[name].data_ptr() for name in ("W_enc", "W_dec", "b_dec")} | {centre.data_ptr()}
    says = "W_enc, W_dec, b_dec and the centre must not share memory: training changes each"
    require(len(memory) == 4, says)


# -------------------------------------------------------------------------- b3. coefficient_here


def test_coefficient_here__the_best_latent_is_the_same(impl, seed):
    """One latent, one row: the minimum of |x - f w|² / d + c f, then of ours with x times scale"""
    g = generator(seed)
    for d, averaged, scale in ((4, True, 3.0), (7, False, 0.5), (5, True, 1.0)):
        w = normal(g, d, dtype=torch.float64)
        w = w / w.norm()
        x = 2 * w + 0.3 * normal(g, d, dtype=torch.float64)
        c = 0.2
        theirs = float(x @ w) - c * (d if averaged else 1) / 2
        ours = float(scale * x @ w) - float(impl.coefficient_here(c, d, averaged, scale)) / 2
        number(ours, scale * theirs, "the best f here", rtol=1e-6)


def test_coefficient_here__agrees_with_the_worked_one(impl, ref):
    """Other numbers; the coefficient itself where nothing differs"""
    number(impl.coefficient_here(0.7, 12, False, 1.0), 0.7)
    for args in ((0.1, 3, True, 2.0), (5.0, 8, False, 0.25), (1.5, 2, True, 1.0)):
        number(impl.coefficient_here(*args), ref.coefficient_here(*args))


# ----------------------------------------------------------------------------------- c1. rate_at


def test_rate_at__by_hand(impl):
    """Ten steps, four up, three down: every step"""
    rates = [impl.rate_at(step, 10, 0.12, 4, 3) for step in range(10)]
    want = [0.03, 0.06, 0.09, 0.12, 0.12, 0.12, 0.12, 0.12, 0.08, 0.04]
    for step, (a, b) in enumerate(zip(rates, want, strict=True)):
        number(a, b, f"the rate of step {step}")


def test_rate_at__without_ends(impl):
    """No warm-up, no decay: always the same; each alone works, too"""
    for step in (0, 3, 6):
        number(impl.rate_at(step, 7, 0.5, 0, 0), 0.5)
    number(impl.rate_at(0, 7, 0.5, 0, 2), 0.5)
    number(impl.rate_at(6, 7, 0.5, 0, 2), 0.25)
    number(impl.rate_at(0, 7, 0.5, 2, 0), 0.25)
    number(impl.rate_at(6, 7, 0.5, 2, 0), 0.5)


@pytest.mark.parametrize("ends", [(1, 1), (5, 8), (20, 1), (12, 8)])
def test_rate_at__agrees_with_the_worked_one(impl, ref, ends):
    """Other lengths, also ends that meet"""
    for step in range(21):
        args = (step, 21, 3e-3, *ends)
        number(impl.rate_at(*args), ref.rate_at(*args), f"the rate of step {step}", atol=1e-12)


# --------------------------------------------------------------------------- c2. coder_gradients


def coder(g, d_in, d_out, latent, dtype=torch.float64):
    """Weights without structure, biases not zero."""
    p = {"W_enc": normal(g, d_in, latent, dtype=dtype), "b_enc": normal(g, latent, dtype=dtype)}
    p |= {"W_dec": normal(g, latent, d_out, dtype=dtype), "b_dec": normal(g, d_out, dtype=dtype)}
    return p


def by_autograd(params, x, y, k, centred):
    """The loss and its gradients, from the definition."""
    live = {n: v.clone().requires_grad_() for n, v in params.items()}
    pre = (x - live["b_dec"] if centred else x) @ live["W_enc"] + live["b_enc"]
    least = pre.detach().sort(dim=1, descending=True).values[:, k - 1 : k]
    f = pre.relu() * (pre >= least)
    loss = (f @ live["W_dec"] + live["b_dec"] - y).square().sum(dim=1).mean()
    loss.backward()
    return loss.detach(), {n: v.grad for n, v in live.items()}


@pytest.mark.parametrize(
    ("size", "centred"),
    [((7, 5, 5, 9, 3), True), ((6, 4, 3, 8, 2), False), ((1, 3, 3, 4, 4), True)],
)
def test_coder_gradients__are_those_of_autograd(impl, seed, device, size, centred):
    """Loss and all four gradients, of an SAE and of a transcoder; also where k is all latents"""
    batch, d_in, d_out, latent, k = size
    g = generator(seed, device)
    p, x = coder(g, d_in, d_out, latent), normal(g, batch, d_in, dtype=torch.float64)
    y = x if centred else normal(g, batch, d_out, dtype=torch.float64)
    with unchanged(x, y, *p.values()):
        loss, grads = impl.coder_gradients(p, x, y, k, centred)
    want_loss, want = by_autograd(p, x, y, k, centred)
    assert_same(loss.detach(), want_loss, what="the loss", rtol=1e-8, atol=1e-10)
    require(set(grads) == set(p), f"there are gradients for {sorted(grads)}")
    for name in p:
        got = grads[name].detach().contiguous()
        assert_same(got, want[name], what=f"the gradient of {name}", rtol=1e-7, atol=1e-9)


def test_coder_gradients__negative_winners_are_not_active(impl, device):
    """Two of the k largest pre-activations are negative: they give nothing and get nothing"""
    eye, b_enc = torch.eye(3, device=device), torch.tensor([0.5, -9.0, -8.0], device=device)
    p = {"W_enc": eye, "b_enc": b_enc, "W_dec": eye.clone()}
    p |= {"b_dec": torch.zeros(3, device=device)}
    x = torch.ones(2, 3, device=device)
    loss, grads = impl.coder_gradients(p, x, x, 3, True)
    number(loss, 2.25)
    require(bool((grads["W_enc"][:, 1:] == 0).all()), "a latent below 0 has a gradient")
    assert_same(grads["b_enc"].detach(), torch.tensor([1.0, 0.0, 0.0], device=device), "latent")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coder_gradients__agree_with_the_worked_ones(impl, ref, seed, device, dtype):
    """In both precisions"""
    g = generator(seed + 1, device)
    p, x, y = coder(g, 6, 4, 10, dtype), normal(g, 5, 6, dtype=dtype), normal(g, 5, 4, dtype=dtype)
    loss, grads = impl.coder_gradients(p, x, y, 3, False)
    want_loss, want = ref.coder_gradients(p, x, y, 3, False)
    assert_same(loss.detach(), want_loss, what="the loss", rtol=1e-4, atol=1e-5)
    for name in p:
        got = grads[name].detach().contiguous()
        assert_same(
            got, want[name].contiguous(), what=f"the gradient of {name}", rtol=1e-4, atol=1e-4
        )


# ------------------------------------------------------------------------------ c3. unit_decoder


def relu_sae(params, x):
    """Latents and output of a ReLU SAE."""
    f = ((x - params["b_dec"]) @ params["W_enc"] + params["b_enc"]).relu()
    return f, f @ params["W_dec"] + params["b_dec"]


def test_unit_decoder__has_unit_rows_and_the_same_function(impl, seed, device):
    """Rows of length 1; outputs are the same; and sum f is now what sum f |w| was"""
    g = generator(seed, device)
    p, x = coder(g, 4, 4, 7), normal(g, 9, 4, dtype=torch.float64)
    p["W_dec"] = p["W_dec"] * 1e-3
    with unchanged(*p.values()):
        q = impl.unit_decoder(p)
    ones = torch.ones(7, device=device, dtype=torch.float64)
    assert_same(q["W_dec"].norm(dim=1), ones, "latent", 1e-8, 1e-9)
    (f, out), (f_new, out_new) = relu_sae(p, x), relu_sae(q, x)
    assert_same(out_new, out, "batch d_in", 1e-8, 1e-9, what="the output")
    penalty = (f * p["W_dec"].norm(dim=1)).sum(dim=1)
    assert_same(f_new.sum(dim=1), penalty, "batch", 1e-8, 1e-9, what="the sum of the latents")


def test_unit_decoder__a_zero_row_stays(impl, seed, device):
    """A latent without a direction keeps row, encoder and bias, without NaN"""
    p = coder(generator(seed + 1, device), 3, 3, 5, torch.float32)
    p["W_dec"][2] = 0
    q = impl.unit_decoder(p)
    require(bool((q["W_dec"][2] == 0).all()), "the zero row is no longer zero")
    assert_same(q["W_enc"][:, 2], p["W_enc"][:, 2], "d_in")
    assert_same(q["b_enc"][2], p["b_enc"][2])


def test_unit_decoder__agrees_with_the_worked_one(impl, ref, seed, device):
    """All four tensors"""
    p = coder(generator(seed + 2, device), 6, 6, 4, torch.float32)
    mine, theirs = impl.unit_decoder(p), ref.unit_decoder(p)
    require(set(mine) == set(theirs), f"the names are {sorted(mine)}")
    for name in theirs:
        assert_same(
            mine[name].contiguous(), theirs[name].contiguous(), what=name, rtol=1e-5, atol=1e-6
        )


# -------------------------------------------------------------------------------- d1. step_count


def near_thresholds(g, batch, latent, width, dtype=torch.float64):
    """Pre-activations around thresholds, none at an edge of the kernel or at a threshold."""
    threshold = 0.2 + torch.rand(latent, generator=g, device=g.device, dtype=dtype)
    pieces = torch.tensor(
        [-0.9, -0.7, -0.4, -0.1, 0.1, 0.3, 0.8, 1.4], dtype=dtype, device=g.device
    )
    return threshold + width * pieces[whole(g, 8, batch, latent)], threshold


@pytest.mark.parametrize("everywhere", [False, True])
def test_step_count__counts_and_its_gradients_are_the_kernel(impl, seed, device, everywhere):
    """The count of each row; upstream times -K/width for thresholds, its opposite (or 0) for pre"""
    g, width = generator(seed, device), 0.4
    pre, theta = near_thresholds(g, 6, 5, width)
    count = (pre > theta).double().sum(dim=1)
    assert_same(impl.step_count(pre, theta, width, everywhere).detach(), count, "batch")
    up = normal(g, 6, dtype=torch.float64)
    kernel = rectangle((pre - theta) / width) / width
    args = [pre, theta, width, everywhere]
    [into_theta] = vjp(impl.step_count, args, up, (1,))
    assert_same(into_theta, -(up[:, None] * kernel).sum(dim=0), "latent", 1e-8, 1e-9)
    if not everywhere:  # no gradient is as good as one of 0

        def with_zero(p, t):
            return impl.step_count(p, t, width, False) + 0 * p.sum(dim=1)

        if not bool(vjp(with_zero, [pre, theta], up, (0, 1))[0].any()):
            return
    into_pre = vjp(impl.step_count, args, up, (0, 1))[0]
    want = up[:, None] * kernel if everywhere else torch.zeros_like(pre)
    assert_same(into_pre, want, "batch latent", 1e-8, 1e-9, what="the gradient of pre")


@pytest.mark.parametrize("size", [(3, 7), (8, 2)])
def test_step_count__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other sizes; a pre-activation at its threshold is not active"""
    g = generator(seed + 1, device)
    pre, theta = near_thresholds(g, *size, 0.3, torch.float32)
    pre[0] = theta
    for everywhere in (False, True):
        mine, theirs = (m.step_count(pre, theta, 0.3, everywhere) for m in (impl, ref))
        assert_same(mine, theirs, "batch")


# ------------------------------------------------------------------------------ d2. quadratic_l0


def test_quadratic_l0__by_hand(impl, device):
    """Counts 2, 8 and 5 with a target of 4: (4 + 16 + 1) / 3 times 2 / 4"""
    number(impl.quadratic_l0(torch.tensor([2.0, 8.0, 5.0], device=device), 4.0), 3.5)
    number(impl.quadratic_l0(torch.tensor([3.0, 3.0], device=device), 3.0), 0.0)


def test_quadratic_l0__pushes_each_row_to_the_target(impl, seed, device):
    """The gradient is 4 / target (count - target) / rows"""
    count = whole(generator(seed, device), 30, 7).double()
    [grad] = vjp(impl.quadratic_l0, [count, 12.0], torch.ones((), device=device, dtype=count.dtype))
    assert_same(grad, 4 / 12 * (count - 12) / 7, "batch", 1e-8, 1e-9)


def test_quadratic_l0__agrees_with_the_worked_one(impl, ref, seed, device):
    """Other counts and targets"""
    g = generator(seed + 1, device)
    for target in (1.0, 7.5, 40.0):
        count = whole(g, 50, 9).float()
        assert_same(impl.quadratic_l0(count, target), ref.quadratic_l0(count, target))


# ------------------------------------------------------------------------- d3. frequency_penalty


def test_frequency_penalty__by_hand(impl, device):
    """Shares 1, 1/2, 1/4 and 0 with a limit of 1/4: 9/16 + 1/16"""
    active = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], device=device)
    number(impl.frequency_penalty(active.float(), 0.25), 0.625)
    number(impl.frequency_penalty(active.float(), 1.0), 0.0)


def test_frequency_penalty__has_a_gradient_for_busy_latents_only(impl, seed, device):
    """2 (share - limit) / batch for each row of a latent above the limit, else 0"""
    active = (torch.rand(8, 6, generator=generator(seed, device), device=device) < 0.5).double()
    active[:, 0], active[:, 1] = 1.0, 0.0
    one = torch.ones((), device=device, dtype=active.dtype)
    [grad] = vjp(impl.frequency_penalty, [active, 0.3], one)
    want = (2 * (active.mean(dim=0) - 0.3).relu() / 8).expand(8, 6).contiguous()
    assert_same(grad.contiguous(), want, "batch latent", 1e-8, 1e-9)


def test_frequency_penalty__agrees_with_the_worked_one(impl, ref, seed, device):
    """Other sizes and limits"""
    g = generator(seed + 1, device)
    for size, limit in (((5, 9), 0.1), ((12, 3), 0.6)):
        active = (torch.rand(size, generator=g, device=device) < 0.5).float()
        mine, theirs = (m.frequency_penalty(active, limit) for m in (impl, ref))
        assert_same(mine, theirs)


# ---------------------------------------------------------------------------- d4. jump_penalties


def test_jump_penalties__by_hand(impl, device):
    """Two rows, three latents, the last one dead"""
    pre = torch.tensor([[2.0, 0.5, -1.0], [0.5, 3.0, 0.25]], device=device)
    threshold = torch.tensor([1.0, 0.5, 0.5], device=device)
    W_dec = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], device=device)
    dead = torch.tensor([False, False, True], device=device)
    tanh, below = impl.jump_penalties(pre, threshold, W_dec, 0.1, dead)
    number(tanh, (math.tanh(1.0) + math.tanh(0.6)) / 2)
    number(below, (1.5 + 0.25) / 2)


def test_jump_penalties__large_activations_are_not_shrunk(impl, device):
    """Far above the threshold the first is the number of active latents, and flat"""
    pre = torch.tensor([[50.0, 70.0, -3.0]], device=device, dtype=torch.float64)
    args = [pre, torch.ones(3, device=device).double(), torch.eye(3, device=device).double()]
    none = torch.zeros(3, dtype=torch.bool, device=device)
    tanh, below = impl.jump_penalties(*args, 4.0, none)
    number(tanh, 2.0)
    number(below, 0.0)
    ups = torch.tensor([1.0, 0.0], device=device, dtype=pre.dtype)
    [grad] = vjp(impl.jump_penalties, [*args, 4.0, none], list(ups), (0,))
    require(float(grad.abs().max()) < 1e-6, "a large activation is still pulled down")


@pytest.mark.parametrize("size", [(5, 6, 4), (3, 2, 7)])
def test_jump_penalties__agree_with_the_worked_ones(impl, ref, seed, device, size):
    """Values, and the gradients of pre-activations, thresholds and rows of the second"""
    batch, latent, d = size
    g = generator(seed, device)
    pre, theta = near_thresholds(g, batch, latent, 0.5)
    W_dec, dead = normal(g, latent, d, dtype=torch.float64), whole(g, 2, latent).bool()
    dead[0] = True
    args = [pre, theta, W_dec]
    mine = impl.jump_penalties(*args, 1.5, dead)
    assert_same([v.detach() for v in mine], list(ref.jump_penalties(*args, 1.5, dead)), "")
    ups = list(torch.tensor([0.7, -1.3], device=device, dtype=pre.dtype))
    got, want = (vjp(m.jump_penalties, [*args, 1.5, dead], ups, (0, 1, 2)) for m in (impl, ref))
    assert_same(got, want, "", 1e-7, 1e-9, what="the gradients")


# --------------------------------------------------------------------------------- e. equal_parts


def test_equal_parts__has_both_gradients_and_twice_the_error(impl, device):
    """Error 3 and divergence 0.5: value 6, gradients 1 and 6"""
    error, kl = (torch.tensor(v, device=device, dtype=torch.float64) for v in (3.0, 0.5))
    number(impl.equal_parts(error, kl).detach(), 6.0)
    grads = vjp(impl.equal_parts, [error, kl], torch.ones_like(error), (0, 1))
    number(grads[0], 1.0, "the derivative with respect to the error")
    number(grads[1], 6.0, "the derivative with respect to the divergence")


def test_equal_parts__a_divergence_of_zero(impl, device):
    """No infinity where the SAE changes nothing; the floor is 1e-8"""
    error, kl = (torch.tensor(v, device=device, dtype=torch.float64) for v in (2.0, 0.0))
    number(impl.equal_parts(error, kl).detach(), 2.0)
    small = torch.tensor(1e-9, device=device, dtype=torch.float64)
    number(impl.equal_parts(error, small).detach(), 2.2)


def test_equal_parts__agrees_with_the_worked_one(impl, ref, seed, device):
    """Other numbers, values and gradients"""
    g = generator(seed, device)
    for _ in range(4):
        error, kl = torch.rand(2, generator=g, device=device, dtype=torch.float64) + 0.01
        up = torch.tensor(0.7, device=device, dtype=torch.float64)
        got, want = (vjp(m.equal_parts, [error, kl], up, (0, 1)) for m in (impl, ref))
        assert_same(got, want, "", 1e-8, 1e-9, what="the gradients")


# ---------------------------------------------------------------------------------- f. late_fall


def test_late_fall__of_straight_lines(impl, device):
    """From 12 to 8 in five values: 4 of 10; a rise is negative; a constant gives 0"""
    down = torch.tensor([99.0, -5.0, 12.0, 11.0, 10.0, 9.0, 8.0], device=device)
    number(impl.late_fall(down, 5), 0.4)
    number(impl.late_fall(down.flip(0)[:5], 5), -0.4)
    number(impl.late_fall(torch.full((4,), 3.0, device=device), 3), 0.0)
    number(impl.late_fall(torch.tensor([7.0, 3.0, 1.0], device=device), 2), 1.0)


def test_late_fall__does_not_hang_on_the_ends(impl, seed, device):
    """Noise in the middle counts as much as numpy's least squares say; units do not matter"""
    import numpy as np

    curve = 5 + normal(generator(seed, device), 12, dtype=torch.float64)
    for n in (3, 8, 12):
        last = curve[-n:].cpu().numpy()
        slope = np.polyfit(np.arange(n), last, 1)[0]
        number(impl.late_fall(curve, n), -slope * (n - 1) / last.mean(), rtol=1e-6)
        number(impl.late_fall(10 * curve, n), impl.late_fall(curve, n), rtol=1e-6)


def test_late_fall__agrees_with_the_worked_one(impl, ref, seed, device):
    """In float32"""
    curve = 2 + torch.rand(20, generator=generator(seed + 1, device), device=device)
    with unchanged(curve):
        got = impl.late_fall(curve, 7)
    number(got, ref.late_fall(curve, 7), rtol=1e-4)


# ---------------------------------------------------------------------------------- g. kept_rows


def test_kept_rows__by_hand(impl, device):
    """Norms 1, 5, 2, 10, 3, 15: the lower middle one is 3, so 9 is the limit; 15 of 3 at 5"""
    x = torch.tensor([1.0, -5.0, 2.0, 10.0, -3.0, 15.0], device=device)[:, None]
    x = torch.cat([torch.zeros_like(x), x], dim=1)
    keep = torch.tensor([True, True, True, False, True, False], device=device)
    assert_same(impl.kept_rows(x, 3.0), keep, "row")
    exact = torch.tensor([True, True, True, True, True, True], device=device)
    assert_same(impl.kept_rows(x, 5.0), exact, "row", hint="a norm at the limit is kept")


def test_kept_rows__one_giant_cannot_hide(impl, seed, device):
    """A row of any size is found, and nothing else"""
    x = normal(generator(seed, device), 40, 30)
    for size in (1e3, 1e8):
        x[7] = size
        keep = impl.kept_rows(x, 3.0)
        require(not bool(keep[7]), "the giant is kept")
        require(int(keep.sum()) == 39, f"{int(keep.sum())} of 39 ordinary rows are kept")


@pytest.mark.parametrize("n", [1, 8, 13])
def test_kept_rows__agree_with_the_worked_ones(impl, ref, seed, device, n):
    """Odd and even numbers of rows"""
    x = normal(generator(seed + 1, device), n, 3)
    with unchanged(x):
        mine = impl.kept_rows(x, 1.2)
    assert_same(mine, ref.kept_rows(x, 1.2), "row")


# ------------------------------------------------------------------------ h. unexplained_by_head


def test_unexplained_by_head__zero_and_one(impl, seed, device):
    """A head that is copied has 0, one that is replaced by its mean has 1"""
    z = normal(generator(seed, device), 9, 6) + 2
    out = z.clone()
    out[:, 4:] = z[:, 4:].mean(dim=0)
    got = impl.unexplained_by_head(z, out, 3)
    assert_same(got, torch.tensor([0.0, 0.0, 1.0], device=device), "head", 1e-5, 1e-6)


def test_unexplained_by_head__weighed_by_variance_gives_the_whole(impl, seed, device):
    """The heads' shares, weighed by their variance, are that of all columns"""
    g = generator(seed + 1, device)
    z = normal(g, 12, 8) * torch.arange(1.0, 9.0, device=device)
    out = z + normal(g, 12, 8)
    got = impl.unexplained_by_head(z, out, 2)
    spread = (z - z.mean(dim=0)).square().sum(dim=0).view(2, 4).sum(dim=1)
    want = (z - out).square().sum() / spread.sum()
    assert_same((got * spread).sum() / spread.sum(), want, "", 1e-4, 1e-6)


@pytest.mark.parametrize("size", [(7, 3, 5), (5, 4, 2), (6, 1, 3)])
def test_unexplained_by_head__agrees_with_the_worked_one(impl, ref, seed, device, size):
    """Other numbers of heads; the means are not zero"""
    n, heads, d_head = size
    g = generator(seed + 2, device)
    z = normal(g, n, heads * d_head) + 3
    out = z + 0.5 * normal(g, n, heads * d_head)
    with unchanged(z, out):
        mine = impl.unexplained_by_head(z, out, heads)
    assert_same(mine, ref.unexplained_by_head(z, out, heads), "head", 1e-4, 1e-6)


# ----------------------------------------------------------------------------- i1. training_cost


def test_training_cost__by_hand(impl):
    """10 rows, from 3 to 2 numbers over 5 latents"""
    got = impl.training_cost(10, 3, 2, 5, False, True)
    require(dict(got) == {"flops": 1200, "bytes": 512, "data": 100}, f"it is {dict(got)}")


def test_training_cost__of_an_sae(impl):
    """Six products with autograd, five by hand; and twice the rows do not need more weights"""
    auto, hand = (impl.training_cost(100, 8, 8, 16, by, False) for by in (True, False))
    require(auto["flops"] == 6 * 2 * 100 * 8 * 16, f"six products: {auto['flops']}")
    require(hand["flops"] == 5 * 2 * 100 * 8 * 16, f"five products: {hand['flops']}")
    twice = impl.training_cost(200, 8, 8, 16, True, False)
    require(twice["bytes"] == auto["bytes"], "the weights do not grow with the rows")
    require(auto["data"] == 1600, f"100 rows of 8 numbers take 1600 bytes, not {auto['data']}")


def test_training_cost__agrees_with_the_worked_one(impl, ref):
    """Other sizes, both switches"""
    for args in ((7, 3, 5, 11), (1, 1, 2, 1), (64, 10, 4, 9)):
        for by in (True, False):
            for target in (True, False):
                mine, theirs = (m.training_cost(*args, by, target) for m in (impl, ref))
                says = f"for {(*args, by, target)} it is {dict(mine)}, not {theirs}"
                require(dict(mine) == theirs, says)


# ------------------------------------------------------------------------- i2. predicted_seconds


def test_predicted_seconds__of_exact_times(impl, device):
    """Two seconds to start, a quarter per step"""
    steps = torch.tensor([4, 10, 20], device=device)
    number(impl.predicted_seconds(steps, 2 + 0.25 * steps.float(), 100), 27.0)


def test_predicted_seconds__is_the_least_squares_line(impl, seed, device):
    """With noise: numpy's line, at any number of steps"""
    import numpy as np

    g = generator(seed, device)
    steps = torch.tensor([3, 5, 9, 14], device=device)
    seconds = 1 + 0.1 * steps.double() + 0.05 * normal(g, 4, dtype=torch.float64)
    line = np.polyfit(steps.cpu().numpy(), seconds.cpu().numpy(), 1)
    for n in (0, 7, 500):
        number(impl.predicted_seconds(steps, seconds, n), np.polyval(line, n), rtol=1e-6)


def test_predicted_seconds__agrees_with_the_worked_one(impl, ref, seed, device):
    """In float32, with steps in any order"""
    steps = torch.tensor([20, 40, 10, 20, 30], device=device)
    seconds = 3 * torch.rand(5, generator=generator(seed + 1, device), device=device) + 1
    with unchanged(steps, seconds):
        got = impl.predicted_seconds(steps, seconds, 200)
    number(got, ref.predicted_seconds(steps, seconds, 200), rtol=1e-4)


# ------------------------------------------------------------------------------------- predictions


def test_predict_buffer__is_right(impl, ref):
    """How mixed a buffer's batches are"""
    require(impl.predict_buffer == ref.predict_buffer, "how many documents are in the buffer?")


def test_predict_start__is_right(impl, ref):
    """Which start leaves latents silent"""
    require(impl.predict_start == ref.predict_start, "whose encoder does not fit its decoder?")


def test_predict_target__is_right(impl, ref):
    """Which penalty reaches its target"""
    require(impl.predict_target == ref.predict_target, "how far can a threshold move in 600 steps?")


def test_predict_stage__is_right(impl, ref):
    """What the divergence saves"""
    require(impl.predict_stage == ref.predict_stage, "which error counts for the model?")


def test_predict_single__is_right(impl, ref):
    """How many latents one winner leaves"""
    require(impl.predict_single == ref.predict_single, "who gets a gradient when one wins?")


def test_predict_first__is_right(impl, ref):
    """How much variance first tokens have"""
    require(impl.predict_first == ref.predict_first, "variance counts squares of lengths")


def test_predict_head__is_right(impl, ref):
    """Which head is left worst"""
    require(impl.predict_head == ref.predict_head, "what does a sum of squares favour?")


def test_predict_run_a__is_right(impl, ref):
    """What is wrong with run A"""
    require(impl.predict_run_a == ref.predict_run_a, "which curve leaves the reference first?")


def test_predict_run_b__is_right(impl, ref):
    """What is wrong with run B"""
    require(impl.predict_run_b == ref.predict_run_b, "which curve leaves the reference first?")


def test_predict_run_c__is_right(impl, ref):
    """What is wrong with run C"""
    require(impl.predict_run_c == ref.predict_run_c, "which curve leaves the reference first?")


def test_predict_run_d__is_right(impl, ref):
    """What is wrong with run D"""
    require(impl.predict_run_d == ref.predict_run_d, "which curve leaves the reference first?")


def test_predict_run_e__is_right(impl, ref):
    """What is wrong with run E"""
    require(impl.predict_run_e == ref.predict_run_e, "which curve leaves the reference first?")


def test_predict_run_f__is_right(impl, ref):
    """What is wrong with run F"""
    require(impl.predict_run_f == ref.predict_run_f, "which curve leaves the reference first?")


def test_predict_run_g__is_right(impl, ref):
    """What is wrong with run G"""
    require(impl.predict_run_g == ref.predict_run_g, "which curve leaves the reference first?")


def test_predict_run_h__is_right(impl, ref):
    """What is wrong with run H"""
    require(impl.predict_run_h == ref.predict_run_h, "which curve leaves the reference first?")


def test_predict_run_i__is_right(impl, ref):
    """What is wrong with run I"""
    require(impl.predict_run_i == ref.predict_run_i, "which curve leaves the reference first?")


def test_predict_run_j__is_right(impl, ref):
    """What is wrong with run J"""
    require(impl.predict_run_j == ref.predict_run_j, "which curve leaves the reference first?")
