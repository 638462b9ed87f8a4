"""What section authors call: messages, errors that are asked for, numbers that can shift."""

import pytest
import torch

from utils.testing import (
    CheckFailed,
    GradientLost,
    assert_raises,
    assert_same,
    away_from_kinks,
    generator,
    plain_vjp,
    shifted,
    unchanged,
)


def text_of(action, *args, **options):
    with pytest.raises(CheckFailed) as caught:
        action(*args, **options)
    return str(caught.value)


def test_a_wrong_shape_is_told_in_one_clean_form():
    says = text_of(assert_same, torch.zeros(3, 2), torch.zeros(1, 2), "batch inst")
    assert says == "the result has the wrong shape: yours (3, 2), expected (batch=1, inst=2)"
    says = text_of(assert_same, torch.zeros(3), torch.zeros(2, 1), hint="one row a model")
    assert says == "the result has the wrong shape: yours (3,), expected (2, 1)\none row a model"


@pytest.mark.parametrize(
    ("dtype", "errors", "says"),
    [
        (torch.float64, [3e-16, 1e-16, 5e-6], "1 of 3 values differ; first at axis 0 2"),
        (torch.bfloat16, [0.004, 0.0, 0.1], "1 of 3 values differ; first at axis 0 2"),
        (torch.float32, [1e-7, 1e-3, 0.0], "1 of 3 values differ; first at axis 0 1"),
    ],
)
def test_the_first_difference_is_one_that_counts(dtype, errors, says):
    """whatever the dtype: rounding is not what the learner is sent to"""
    want = torch.full((3,), 0.6, dtype=dtype)
    assert says in text_of(assert_same, want + torch.tensor(errors, dtype=dtype), want)


def test_a_tolerance_may_be_given_alone():
    want = torch.ones(3)
    assert_same(want * (1 + 5e-5), want, rtol=1e-4)
    assert "2 of 2 values" in text_of(
        assert_same, torch.tensor([1e-6, 0.5]), torch.zeros(2), rtol=1e-3, atol=0.0
    )


def test_dicts_are_compared_by_key():
    want = {"a": torch.zeros(2), "b": (torch.ones(1), 2.0)}
    assert_same({"b": (torch.ones(1), 2.0), "a": torch.zeros(2)}, want)
    says = text_of(assert_same, {"a": torch.zeros(2)}, want)
    assert "a dict with 'a', 'b' was expected" in says
    says = text_of(assert_same, want | {"b": (torch.zeros(1, 1), 2.0)}, want)
    assert says.startswith("the result['b'][0] has the wrong shape")


def test_nan_that_was_there_is_no_change():
    x = torch.tensor([float("nan"), 1.0])
    with unchanged(x):
        x + 1
    with pytest.raises(CheckFailed), unchanged(x):
        x[1] = 2


def test_a_small_value_is_not_named_by_a_zero():
    with pytest.raises(CheckFailed):
        assert_raises(ValueError, refuse("got 0"), names=("1e-5",))
    assert_raises(ValueError, refuse("got 0.00001"), names=("1e-5",))
    assert_raises(ValueError, refuse("got 0"), names=(0,))


def test_too_many_results_are_told():
    says = text_of(plain_vjp, lambda x: (x, x), [torch.ones(2)], torch.ones(2), (0,))
    assert "1 tensor(s) were expected" in says


def refuse(text, error=ValueError):
    def refuses(*_args):
        raise error(text)

    return refuses


@pytest.mark.parametrize(
    "text",
    ["p = 0.7 is above 1/2", "P must be at most .5, got 0.70", "p: tensor(0.7000)", "(p) 7e-1"],
)
def test_an_error_may_say_it_in_its_own_words(text):
    assert_raises(ValueError, refuse(text), names=("p", "0.7"))
    assert_raises(ValueError, refuse(text), names=(("probability", "p"), 0.7))


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("too large", "p, 0.7"),
        ("p is too large", "0.7"),
        ("parameter 0.7", "p"),
        ("p = 0.71", "0.7"),
        ("p = 10.7", "0.7"),
    ],
)
def test_an_error_that_does_not_name_what_was_promised_fails(text, missing):
    says = text_of(assert_raises, ValueError, refuse(text), names=("p", "0.7"))
    assert says == f"the error's text is {text!r}; it should name {missing}"


def test_the_old_form_with_a_phrase_still_works():
    assert_raises(ValueError, refuse("Unknown encoder"), 1, match="unknown")
    assert "it should name 'tied'" in text_of(assert_raises, ValueError, refuse("no"), match="tied")
    assert "no ValueError" in text_of(assert_raises, ValueError, lambda: None)
    with pytest.raises(KeyError):
        assert_raises(ValueError, refuse("p", KeyError), names=("p",))


def test_numbers_shift_with_the_seed_and_come_back():
    plain = torch.rand(3, generator=generator(4))
    with shifted(0) as draws:
        assert torch.equal(torch.rand(3, generator=generator(4)), plain)
    assert draws == [4]
    with shifted(1000):
        other = torch.rand(3, generator=generator(4))
    with shifted(1000):
        assert torch.equal(torch.rand(3, generator=generator(4)), other)
    assert not torch.equal(other, plain)
    assert torch.equal(torch.rand(3, generator=generator(4)), plain)


def test_arguments_stay_away_from_kinks():
    def draw(gen):
        return torch.randint(0, 4, (2,), generator=gen).float(), torch.ones(2)

    for seed in range(20):
        x, _ = away_from_kinks(draw, lambda x, w: (x * w, x - 3), generator(seed))
        assert ((x > 0) & (x < 3)).all()
    with pytest.raises(ValueError, match="100 draws"):
        away_from_kinks(lambda g: torch.zeros(2), lambda x: x, generator(0))


def test_a_lost_gradient_says_which_arguments_still_have_one():
    with pytest.raises(GradientLost, match="argument 2") as caught:
        args = (torch.ones(2), torch.ones(2))
        plain_vjp(lambda a, b: a * b.detach(), args, torch.ones(2), (0, 1))
    first, second = caught.value.grads
    assert torch.equal(first, torch.ones(2)) and second is None


def test_a_vjp_names_a_wrong_dtype_before_torch_stumbles_over_it():
    x = torch.ones(2, dtype=torch.float64)
    says = text_of(plain_vjp, lambda a: a.float(), (x,), x, (0,))
    assert "float32, expected torch.float64" in says
