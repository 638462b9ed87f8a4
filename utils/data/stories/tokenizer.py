"""The story language's tokenizer: one token per word, in Hugging Face's format."""

from typing import TYPE_CHECKING, Any

from utils.data.stories.lexicon import BOS, ID, UNK, VOCABULARY

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# words that begin a sentence are written small here; a capital is accepted
STARTERS = ("when", "after", "while", "one", "there", "they", "then", "the", "she", "he")


def story_tokenizer() -> "PreTrainedTokenizerFast":
    """Words and marks, each a token; a word that the language lacks is `UNK`.

    A text gets BOS in front. Straight double quotes are not of the language: “ ” are one quotation,
    ‘ ’ one inside it. Save it and load it again from its folder before a model gets it: one made
    in memory lacks the name that the library asks for.
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(WordLevel(dict(ID), unk_token=UNK))
    capitals = [(word.capitalize(), word) for word in STARTERS]
    small: list[Any] = [normalizers.Replace(Regex(rf"\b{big}\b"), word) for big, word in capitals]
    core.normalizer = normalizers.Sequence(small)
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    core.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, ID[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BOS,
        eos_token=BOS,
        pad_token=BOS,
        unk_token=UNK,
        add_bos_token=True,
        clean_up_tokenization_spaces=False,
    )


def words(tokens: list[int]) -> str:
    """Tokens as text, words apart by spaces."""
    return " ".join(VOCABULARY[token] for token in tokens)
