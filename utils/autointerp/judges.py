"""Who explains and who judges: sentences of the family by themselves, or a model on a server."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.autointerp import prompts
from utils.autointerp.endpoint import Endpoint, Messages, ReplyError
from utils.autointerp.examples import Examples
from utils.autointerp.explain import Explanation
from utils.autointerp.predicates import Text

Sentence = TypeVar("Sentence", contravariant=True)
Read = TypeVar("Read")


class Judge(Protocol[Sentence]):
    """Says where an explanation holds, from the text alone."""

    def detect(self, said: Sentence, shown: Examples, text: Text) -> Bool[Tensor, " example"]:
        """In which windows is there a token that it is about?"""
        ...

    def fuzz(
        self, said: Sentence, shown: Examples, text: Text, marks: Bool[Tensor, "example pos"]
    ) -> Bool[Tensor, " example"]:
        """In which windows is it about all marked tokens?"""
        ...

    def simulate(self, said: Sentence, shown: Examples, text: Text) -> Float[Tensor, "example pos"]:
        """How active at each token?"""
        ...


def inside(values: Tensor, shown: Examples) -> Tensor:
    """A quantity of every token of the text, cut to the windows."""
    return values[shown.rows[:, None], shown.starts[:, None] + torch.arange(shown.width)]


def strings(shown: Examples, text: Text) -> list[list[str]]:
    """The windows' tokens."""
    spans = zip(shown.rows.tolist(), shown.starts.tolist(), strict=True)
    return [list(text.pieces[row][start : start + shown.width]) for row, start in spans]


class LocalJudge:
    """Explanations of the local explainer judge themselves: they are true or false of a token."""

    def detect(self, said: Explanation, shown: Examples, text: Text) -> Bool[Tensor, " example"]:
        """Windows in which it holds somewhere."""
        return inside(said.holds(text), shown).any(dim=1)

    def fuzz(
        self, said: Explanation, shown: Examples, text: Text, marks: Bool[Tensor, "example pos"]
    ) -> Bool[Tensor, " example"]:
        """Windows in which it holds at every marked token."""
        return (inside(said.holds(text), shown) | ~marks).all(dim=1)

    def simulate(
        self, said: Explanation, shown: Examples, text: Text
    ) -> Float[Tensor, "example pos"]:
        """1 where it holds."""
        return inside(said.holds(text), shown).float()


@dataclass(frozen=True)
class EndpointJudge:
    """A language model reads the sentence and the windows."""

    endpoint: Endpoint
    per_question: int = 10  # windows in one question
    tries: int = 2  # for a reply that cannot be read

    def read(self, messages: Messages, read: Callable[[str], Read]) -> Read:
        """Ask; where the reply cannot be read, say why and ask again."""
        for left in reversed(range(self.tries)):
            reply = self.endpoint.ask(messages)
            try:
                return read(reply)
            except ReplyError as error:
                if not left:
                    raise
                again = f"That cannot be read: {error}. Answer in the form asked for."
                messages = [
                    *messages,
                    {"role": "assistant", "content": reply},
                    {"role": "user", "content": again},
                ]
        raise AssertionError("tries is 1 or more")

    def which(self, said: str, lines: list[str], fuzzed: bool) -> Bool[Tensor, " example"]:
        """Answers about lines, some at a time, mixed: a question has true ones and false ones."""
        order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
        lines = [lines[i] for i in order.tolist()]
        found = []
        for i in range(0, len(lines), self.per_question):
            part = lines[i : i + self.per_question]
            question = prompts.ask_which(said, part, fuzzed)
            found.append(self.read(question, partial(prompts.read_which, n=len(part))))
        return torch.cat(found)[order.argsort()] if found else torch.zeros(0, dtype=torch.bool)

    def detect(self, said: str, shown: Examples, text: Text) -> Bool[Tensor, " example"]:
        """In which windows is there a token that it is about?"""
        none = [False] * shown.width
        return self.which(said, [prompts.marked(w, none) for w in strings(shown, text)], False)

    def fuzz(
        self, said: str, shown: Examples, text: Text, marks: Bool[Tensor, "example pos"]
    ) -> Bool[Tensor, " example"]:
        """In which windows is it about all marked tokens?"""
        pairs = zip(strings(shown, text), marks.tolist(), strict=True)
        return self.which(said, [prompts.marked(w, m) for w, m in pairs], True)

    def simulate(self, said: str, shown: Examples, text: Text) -> Float[Tensor, "example pos"]:
        """How active at each token, from 0 to 10."""
        read = partial(prompts.read_strengths, n=shown.width)
        guesses = [self.read(prompts.ask_strengths(said, w), read) for w in strings(shown, text)]
        return torch.stack(guesses) if guesses else torch.zeros(0, shown.width)


def explain_by(judge: EndpointJudge, shown: Examples, text: Text) -> str:
    """What a model on a server makes of the windows in which a latent is active."""
    top = float(shown.acts.max()) if len(shown.acts) else 0.0
    if top <= 0:
        raise ValueError("the latent is active in none of these examples: nothing to explain")
    order = shown.fraction.argsort(descending=True, stable=True)
    windows = strings(shown, text)
    lines = [
        prompts.marked(windows[i], (shown.acts[i] > 0).tolist(), prompts.levels(shown.acts[i], top))
        for i in order.tolist()
        if shown.fraction[i] >= 0
    ]
    return judge.read(prompts.ask_explanation(lines), prompts.read_explanation)


def marks_of(
    shown: Examples, gen: torch.Generator
) -> tuple[Bool[Tensor, "example pos"], Bool[Tensor, " example"]]:
    """For fuzzing: in half of the active windows the active tokens, in the others silent ones.

    As many silent ones are marked as are active, or all where there are fewer; which windows, and
    which tokens, is drawn. A window without a silent token can only be marked rightly: such ones
    are drawn first, and have no marks where there are too many. Windows without marks, such as
    all silent ones, do not take part: they are False.
    """
    active = shown.acts > 0
    marks = torch.zeros_like(active)
    use = shown.active.nonzero().flatten()
    use = use[torch.randperm(len(use), generator=gen)]
    use = use[active[use].all(dim=1).argsort(descending=True, stable=True)]
    true = torch.zeros(len(active), dtype=torch.bool)
    true[use[: (len(use) + 1) // 2]] = True
    for i in use.tolist():
        if true[i]:
            marks[i] = active[i]
            continue
        silent = (~active[i]).nonzero().flatten()
        some = torch.randperm(len(silent), generator=gen)[: int(active[i].sum())]
        marks[i, silent[some]] = True
    return marks, true
