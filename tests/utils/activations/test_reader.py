"""The order in which a store is read: each token once an epoch, shuffled, resumable anywhere."""

from dataclasses import replace

import pytest
import torch

from utils.activations import StoreConfig, StoreError, write_activations

RESID, MLP_IN, MLP_OUT = (
    "blocks.1.hook_resid_post",
    "blocks.1.mlp.hook_in",
    "blocks.1.hook_mlp_out",
)
CFG = StoreConfig(hooks=(RESID,), dtype="float32", held_share=0.1, rows_per_shard=5, batch_rows=8)


@pytest.fixture
def store(model, ids, tmp_path):
    return write_activations(model, ids, tmp_path, CFG)


def keys(batches) -> list[float]:
    """A number that tells tokens apart."""
    return [v for batch in batches for v in batch.double().square().sum(1).tolist()]


def test_an_epoch_has_every_token_once_in_an_order_of_its_own(store):
    reader = store.reader(batch=11, drop_last=False, epochs=3, seed=4, mix=3)
    batches = list(reader)
    assert len(batches) == 3 * len(reader)
    one, two, three = (keys(batches[i * len(reader) :][: len(reader)]) for i in range(3))
    assert sorted(one) == sorted(two) == sorted(three)
    assert one != two != three
    plain = keys(store.reader(batch=11, drop_last=False, shuffle=False))
    assert sorted(plain) == sorted(one) and plain != one
    assert keys(store.reader(batch=11, drop_last=False, seed=4, mix=3)) == one
    assert keys(store.reader(batch=11, drop_last=False, seed=5, mix=3)) != one


def test_only_tokens_of_the_rows_that_are_asked_for(store, ids):
    """Each of their tokens once an epoch, in another order each time; resumable."""
    wanted = torch.arange(len(ids)) % 3 == 0
    part = store.of_rows(wanted)
    in_train = torch.cat([store.tensors(s["file"])["row"] for s in store.shards("train")]).long()
    assert part.n_tokens() == int(wanted[in_train].sum()) < store.n_tokens()
    places = wanted[in_train].nonzero().flatten().tolist()
    plain = keys(store.reader(batch=11, drop_last=False, shuffle=False))
    reader = part.reader(batch=11, drop_last=False, epochs=2, mix=2)
    assert len(reader) == -(-part.n_tokens() // 11)
    batches = list(reader)
    one, two = (keys(batches[i * len(reader) :][: len(reader)]) for i in range(2))
    assert sorted(one) == sorted(two) == sorted(plain[i] for i in places)
    assert one != two
    with pytest.raises(StoreError, match="store"):
        part.reader(batch=11).load_state_dict(store.reader(batch=11).state_dict())
    other = store.of_rows(~wanted)
    assert part.n_tokens() + other.n_tokens() == store.n_tokens()


def test_the_batch_size_is_kept_and_the_rest_dropped(store):
    n = store.n_tokens()
    batches = list(store.reader(batch=50))
    assert [len(b) for b in batches] == [50] * (n // 50)
    last = list(store.reader(batch=50, drop_last=False))[-1]
    assert len(last) == n % 50
    with pytest.raises(StoreError, match="no batch of"):
        store.reader(batch=n + 1)


@pytest.mark.parametrize("stop", [0, 1, 5, 9, 10, 11, 18])
def test_a_position_is_exact(store, stop):
    """Nine batches in an epoch; stops at, before and after its end."""

    def fresh(seed=1):
        return store.reader(batch=32, drop_last=True, epochs=2, mix=2, seed=seed)

    assert len(fresh()) == 10
    whole = keys([*fresh()])
    reader = fresh()
    source, first = iter(reader), []
    for _ in range(stop):
        first.append(next(source))
    state = reader.state_dict()
    again = fresh()
    again.load_state_dict(state)
    assert keys(first) + keys(again) == whole
    for other in (fresh(seed=2), store.reader(batch=16), store.reader(batch=32, split="held")):
        with pytest.raises(StoreError, match="another"):
            other.load_state_dict(state)


def test_iterating_again_goes_on_to_new_epochs(store):
    reader = store.reader(batch=32)
    one, two = keys(reader), keys(reader)
    assert len(one) == len(two) and one != two
    assert reader.state_dict()["epoch"] == 2


def test_shards_are_mixed(store):
    """A batch has tokens of several shards, also of shards that are far apart on disk."""
    of = {}
    for i, shard in enumerate(store.shards("train")):
        of |= dict.fromkeys(keys([store.tensors(shard["file"])[RESID]]), i)
    groups = [{of[k] for k in keys([b])} for b in store.reader(batch=45, mix=4)]
    assert min(len(g) for g in groups) >= 3
    neighbours = [g for g in groups if max(g) - min(g) < len(g)]
    assert len(neighbours) < len(groups)


def test_the_trainers_feed_resumes_it(model, ids, tmp_path):
    """The SAE trainer's own wrapper: pairs, endless, resumed at the same batch."""
    feed = pytest.importorskip("utils.saes.feed")
    cfg = replace(CFG, hooks=(MLP_IN, MLP_OUT))
    store = write_activations(model, ids, tmp_path, cfg)
    shape = type("Shape", (), {"d_in": 12, "d_target": 12})()

    def fresh():
        return feed.Feed(store.reader(batch=64, seed=3), shape, torch.device("cpu"))

    whole = fresh()
    wanted = [next(whole) for _ in range(13)]  # five a epoch: the third epoch has begun
    for stop in (3, 5, 10):
        one = fresh()
        for _ in range(stop):
            next(one)
        two = fresh()
        two.restore(one.state())
        for x, y in wanted[stop:]:
            a, b = next(two)
            assert torch.equal(a, x) and torch.equal(b, y)
