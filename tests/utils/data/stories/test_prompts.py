"""The tokenizer and the indirect-object prompts speak the same language as the grammar."""

import pytest
import torch

from utils.data.stories.indirect import TEMPLATES, indirect_object_prompts
from utils.data.stories.lexicon import ID, VOCABULARY
from utils.data.stories.sample import annotate, sample_tokens
from utils.data.stories.telling import Teller
from utils.data.stories.tokenizer import story_tokenizer, words


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    story_tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def test_tokenizer__round_trip(tokenizer):
    for row in sample_tokens(20, 96, torch.Generator().manual_seed(0)).tolist():
        text = words(row)
        assert tokenizer(text.removeprefix("<|bos|> "))["input_ids"] == row
        assert tokenizer.decode(row) == text


def test_tokenizer__takes_ordinary_spelling(tokenizer):
    ordinary = tokenizer("When Mary and John went to the store, John gave a drink to")
    ours = "<|bos|> when Mary and John went to the store , John gave a drink to"
    assert ordinary["input_ids"] == [ID[word] for word in ours.split()]
    assert tokenizer("Mary computes")["input_ids"][-1] == ID["<|unk|>"]
    assert len(tokenizer) == len(VOCABULARY)


@pytest.mark.parametrize("order", ["ABBA", "BABA"])
@pytest.mark.parametrize("template", range(len(TEMPLATES)))
def test_prompts__only_the_receiver_fits(template, order):
    prompts = indirect_object_prompts(8, template, order, torch.Generator().manual_seed(1))
    told = annotate(prompts.tokens)
    assert (told.logp[:, 1:] > -20).all()
    for row, receiver, giver in zip(
        prompts.tokens.tolist(), prompts.receiver.tolist(), prompts.giver.tolist(), strict=True
    ):
        teller = Teller()
        for word in row[1:]:
            teller.tell(word)
        assert teller.next_words() == {receiver: 1.0}
        first = receiver if order == "ABBA" else giver
        assert row[2] == first and row.count(giver) == 2 and row.count(receiver) == 1
