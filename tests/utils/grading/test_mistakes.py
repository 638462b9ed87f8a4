"""What a wrong answer is told: the sentence for what it does, none where that is uncertain."""

import time

import pytest
import torch

from utils.course import find_exercise, find_section
from utils.grading import run
from utils.grading.evidence import gather
from utils.grading.implementation import Behaviour, Call, Recorded, observe, same
from utils.grading.layouts import stopped
from utils.grading.run import run_exercise


@pytest.fixture(autouse=True)
def loud(monkeypatch):
    """A fault in the search for a mistake fails the test; a learner would get no name."""
    monkeypatch.setattr(run, "_mistake", run.explained)


def told(name, fn, seed=0):
    """The result of a wrong answer to an exercise."""
    exercise = find_exercise(name)
    section = find_section(exercise.section)
    names = {**vars(section.reference()), name: fn}
    result = run_exercise(exercise, names, seed=seed, section=section)
    assert result.verdict in ("FAIL", "ERROR"), f"the tests let it pass: {result}"
    return result


def right(name):
    return getattr(find_section(find_exercise(name).section).reference(), name)


def after(name, change):
    """The right answer, its result changed."""
    return lambda *args, **kwargs: change(right(name)(*args, **kwargs))


def no_grad(x, W, b):
    with torch.no_grad():
        return right("toy_forward")(x, W, b)


def in_place(x, W, b):
    W *= 2
    return right("toy_forward")(x, W / 2, b)


def first_instance_only(x, W, b):
    out = torch.zeros_like(x)
    for i in range(len(W)):
        out[:, i] = torch.relu(x[:, i] @ W[i].T @ W[i] + b[i])
        return out
    return out


def hard_coded(x, W, b, memory={}):  # noqa: B006  (that is the point)
    return memory.setdefault("y", right("toy_forward")(x, W, b))


def nan_for_nothing(x, W, b):
    out = right("toy_forward")(x, W, b)
    return out / (out != 0) * (out != 0)


def by_numpy(x, W, b):
    return right("toy_forward")(x, W, b).detach().numpy()


def matrix_products(x, W, b):
    return torch.relu(x @ W.transpose(-1, -2) @ W + b)


def input_as_it_came(x, W, b):
    return x


def changed(change):
    return after("toy_forward", change)


FORWARD = {
    "detached": [
        changed(torch.Tensor.detach),
        no_grad,
        lambda x, W, b: right("toy_forward")(x, W.data, b),
        lambda x, W, b: right("toy_forward")(x, W, b.detach()),
    ],
    "in_place": [in_place],
    "reduced": [changed(lambda y: y.mean(1)), changed(lambda y: y.sum(-1))],
    "dtype": [changed(torch.Tensor.double), changed(torch.Tensor.half)],
    "kind": [by_numpy],
    "first_only": [first_instance_only],
    "transposed": [changed(lambda y: y.mT), changed(lambda y: y.movedim(0, 1))],
    "wrong_shape": [changed(lambda y: y.unsqueeze(-1)), changed(lambda y: y.flatten(1))],
    "constant": [hard_coded, input_as_it_came, changed(torch.zeros_like)],
    "scaled": [changed(lambda y: 2 * y), changed(torch.neg), changed(lambda y: y / y.shape[1])],
    "computed": [changed(torch.square), changed(lambda y: y + 1)],
    "reshaped": [changed(lambda y: y.mT.reshape(y.shape))],
    "not_finite": [nan_for_nothing],
    "misaligned": [matrix_products],
    "no_result": [changed(lambda y: None)],
}
CASES = [(name, fn) for name, fns in FORWARD.items() for fn in fns]


@pytest.mark.parametrize(("name", "fn"), CASES, ids=[name for name, _ in CASES])
def test_a_general_fault_gets_its_sentence(name, fn):
    result = told("toy_forward", fn)
    own = {"misaligned": "toy_forward__matmul_meets_the_batch"}  # a sentence of its own comes first
    wanted = own.get(name, f"general:{name}")
    assert result.mistake == wanted, f"{result.mistake}: {result.advice}"
    assert len(result.advice) > 25 and result.as_json()["mistake"] == result.mistake


def test_the_sentence_names_what_was_seen():
    assert "`W`" in told("toy_forward", in_place).advice
    lost = told("toy_forward", lambda x, W, b: right("toy_forward")(x, W, b.detach())).advice
    assert "gradient by `b` is not" in lost
    assert "twice" in told("toy_forward", changed(lambda y: 2 * y)).advice
    by_inst = told("toy_forward", changed(lambda y: y / y.shape[1])).advice
    assert "divided by `inst`" in by_inst
    turned = told("toy_forward", changed(lambda y: y.mT)).advice
    assert "(`inst` and `feature`) are swapped" in turned


def test_a_gradient_that_is_turned_is_not_called_detached():
    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, b):
            return b.clone()

        @staticmethod
        def backward(ctx, upstream):
            return -upstream

    said = told("toy_forward", lambda x, W, b: right("toy_forward")(x, W, Turned.apply(b))).advice
    assert said == "The values are right, but the gradient by `b` has the wrong sign."


def test_a_strange_factor_on_some_inputs_is_asked_about():
    def smaller(x, W, b):
        y = right("toy_forward")(x, W, b)
        return 0.3 * y if len(x) > 3 else y

    said = told("toy_forward", smaller).advice
    assert said.startswith("Wherever it is wrong, your result is 0.3 times") and "constant" in said
    assert "constant" not in told("toy_forward", changed(lambda y: 0.3 * y)).advice


def test_an_answer_that_needs_gradients_switched_on_is_told_so():
    def no_switch(read, written):
        leaf = written.detach().clone().requires_grad_()
        value = read(leaf)
        value.backward()
        row = (leaf.grad * leaf.detach()).sum(dim=-1)
        return row, value.detach() - row.sum()

    result = told("contributions", no_switch)
    assert result.mistake == "general:switched_off" and "enable_grad" in result.advice


def test_right_values_with_other_side_effects_are_not_called_misplaced():
    """3.2.3.d2 counts the rows that the model is run on: here the values are all right."""

    def every_latent(x, f, W_dec, metric, size):
        everyone = torch.arange(len(x), device=x.device)
        clean = torch.cat([metric(x[p], p) for p in everyone.split(size)])
        effects = torch.zeros_like(f)
        for k in range(f.shape[1]):
            for p in everyone.split(size):
                effects[p, k] = clean[p] - metric(x[p] - f[p, k, None] * W_dec[k], p)
        return effects

    result = told("ablation_effects", every_latent)
    assert result.verdict == "FAIL" and "general" not in (result.mistake or "")


def test_parts_of_a_result_in_each_others_place_are_named():
    def swapped(inst, d_in, latent, encoder, gen):
        params = dict(right("init_sae")(inst, d_in, latent, encoder, gen))
        params["b_enc"], params["b_dec"] = params["b_dec"], params["b_enc"]
        return params

    result = told("init_sae", swapped)
    assert result.mistake == "general:reordered", result.advice
    assert "`b_enc` and `b_dec`" in result.advice


def test_a_loop_that_ends_at_the_first_instance_with_nothing_to_do_is_recognised():
    def stops(params, dead, gen):
        new = {k: v.clone() for k, v in params.items()}
        done = right("resample_simple")(params, dead, gen)
        for i in range(len(dead)):
            if not dead[i].any():
                break
            for key in new:
                new[key][i] = done[key][i]
        return new

    gen = torch.Generator().manual_seed(0)
    params = right("init_sae")(4, 3, 5, "independent", gen)
    dead = torch.tensor([[1, 0, 0, 0, 1], [0] * 5, [1] * 5, [0, 1, 0, 0, 0]]).bool()
    call = Call((params, dead, gen), {}, None, (), None, Behaviour())
    cases = gather(stops, right("resample_simple"), [], [call])
    assert stopped(cases, cases) is not None
    done = gather(right("resample_simple"), right("resample_simple"), [], [call])
    assert not done[0].differs


def test_an_exercises_own_mistake_keeps_its_sentence_where_it_agrees_on_everything():
    def float32(x, W, b):
        return right("toy_forward")(x.float(), W.float(), b.float())

    assert told("toy_forward", float32).mistake == "toy_forward__float32_only"


def test_a_detached_answer_is_not_told_that_it_lacks_the_bias():
    """Both fail in the same test, with another text and other values."""
    detached = told("toy_forward", changed(torch.Tensor.detach))
    no_bias = told("toy_forward", lambda x, W, b: right("toy_forward")(x, W, 0 * b.detach()))
    assert detached.mistake == "general:detached"
    assert no_bias.mistake == "toy_forward__no_bias"


def test_an_own_mistake_is_named_under_a_second_fault():
    def no_bias_and_detached(x, W, b):
        return right("toy_forward")(x, W, 0 * b).detach()

    assert told("toy_forward", no_bias_and_detached).mistake == "toy_forward__no_bias"


def test_two_faults_that_no_mistake_has_get_no_name():
    def sigmoid_of_half(x, W, b):
        return torch.sigmoid(right("toy_forward")(x, 0.7 * W, b) + 0.3 * b)

    result = told("toy_forward", sigmoid_of_half)
    assert result.mistake is None and result.advice == "" and "yours" in result.message


def test_an_error_with_a_text_that_names_nothing_is_not_called_let_through():
    def says_nothing(batch, inst, pair, probability, gen):
        if float(torch.as_tensor(probability).max()) > 0.5:
            raise ValueError("not like this")
        return right("anticorrelated_pairs")(batch, inst, pair, probability, gen)

    result = told("anticorrelated_pairs", says_nothing)
    assert "no_error" not in str(result.mistake) and "let" not in result.advice
    assert "not like this" in result.message + result.advice


def test_an_error_in_own_words_does_not_hide_another_mistake():
    def one_mask_for_all_rows(batch, inst, feature, probability, gen):
        on = torch.rand(inst, feature, generator=gen, device=gen.device) < probability
        strength = torch.rand(batch, inst, feature, generator=gen, device=gen.device)
        return strength * on

    result = told("sparse_features", one_mask_for_all_rows)
    assert result.mistake == "sparse_features__mask_shared_over_batch"


def test_random_numbers_that_are_not_the_generators_are_recognised():
    def from_nowhere(batch, inst, feature, probability, gen):
        on = torch.rand(batch, inst, feature) < torch.as_tensor(probability).cpu()
        return on * torch.rand(batch, inst, feature)

    result = told("sparse_features", from_nowhere)
    assert "generator" in result.mistake, result.mistake


def test_a_law_that_no_mistake_has_gets_no_name():
    def triangular(batch, inst, feature, probability, gen):
        def draw():
            return torch.rand(batch, inst, feature, generator=gen, device=gen.device)

        return torch.where(draw() < probability, (draw() + draw()) / 2, 0.0)

    assert told("sparse_features", triangular).mistake is None


@pytest.mark.parametrize("name", ["toy_loss", "feature_norms", "loss_terms", "rank_auc"])
def test_right_answers_get_no_name(name):
    exercise = find_exercise(name)
    section = find_section(exercise.section)
    mine = {**vars(section.reference()), name: lambda *a, **k: right(name)(*a, **k)}
    result = run_exercise(exercise, mine, section=section)
    assert (result.verdict, result.mistake, result.seed) == ("PASS", None, None)


def behaviour(fn, judge=None):
    return observe(fn, (), {}, None, (), judge)[1]


def stop(text, error=ValueError):
    raise error(text)


def test_errors_are_compared_by_type_and_text():
    one, other = behaviour(lambda: stop("a")), behaviour(lambda: stop("b"))
    assert same(one, behaviour(lambda: stop("a")))
    assert not same(one, other)
    assert not same(one, behaviour(lambda: stop("a", TypeError)))
    at = behaviour(lambda: stop(f"got <object at {hex(id(one))}>"))
    assert same(at, behaviour(lambda: stop(f"got <object at {hex(id(other))}>")))


def test_where_an_error_is_awaited_its_words_are_free():
    def judge(error):
        return "" if "p" in str(error) else "it names no p"

    good, also_good, bad = (behaviour(lambda t=t: stop(t), judge) for t in ("p", "so p", "x"))
    assert same(good, also_good) and not same(good, bad)
    assert same(bad, behaviour(lambda: stop("y"), judge))


def test_a_failed_gradient_remembers_the_values():
    x = torch.ones(2)
    calls = [
        Call((x,), {}, x, (0,), None, Behaviour()).replay(fn)
        for fn in (lambda x: x.detach(), lambda x: 2 * x.detach())
    ]
    assert calls[0].error is calls[0].error is not None
    assert calls[0].text == calls[0].text and not same(*calls)


def test_a_failing_check_of_a_random_function_is_soon_over():
    def never(batch, inst, feature, probability, gen):
        return torch.rand(batch, inst, feature, generator=gen, device=gen.device) ** 3

    begin = time.process_time()
    told("sparse_features", never)
    assert time.process_time() - begin < run.NAMING_S / 2


def test_a_call_with_a_one_way_iterator_can_be_made_again():
    calls: list[Call] = []
    recorded = Recorded(lambda numbers: sum(numbers), calls)
    assert recorded(n for n in range(4)) == 6
    assert calls[0].replay(sum).out == calls[0].replay(sum).out == 6
    assert calls[0].replay(lambda numbers: max(numbers)).out == 3
    assert same(calls[0].did, calls[0].replay(lambda numbers: sum(numbers)))


def test_the_iterator_is_not_read_ahead_of_the_function():
    drawn: list[int] = []
    Recorded(next, [])(drawn.append(n) or n for n in range(4))
    assert drawn == [0]


def test_tensors_that_share_memory_share_it_in_a_replay():
    both = torch.arange(6.0).reshape(2, 3)
    calls: list[Call] = []
    recorded = Recorded(lambda row, whole: (whole.mul_(2), row * 1)[1], calls)
    recorded(both[0], both)
    assert same(calls[0].did, calls[0].replay(recorded.fn))
