"""What a language model is asked, and how its answers are read."""

import json
import re
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from utils.autointerp.endpoint import Messages, ReplyError

LEFT, RIGHT = "«", "»"
STRONGEST = 10  # of the whole numbers that stand for activations
ABOUT = (
    "A unit of a neural network that reads text is active at some tokens and silent at others. "
    "You help to find out what it stands for."
)


def marked(
    pieces: Sequence[str], marks: Sequence[bool], levels: Sequence[int] | None = None
) -> str:
    """A window as a line: marked tokens in guillemets, with their levels where there are any."""
    parts = []
    for i, (piece, mark) in enumerate(zip(pieces, marks, strict=True)):
        shown = piece.replace("\n", "\\n").replace(LEFT, "<<").replace(RIGHT, ">>")
        level = f"({levels[i]})" if levels is not None else ""
        parts.append(f"{LEFT}{shown}{RIGHT}{level}" if mark else shown)
    return "".join(parts)


def levels(acts: Float[Tensor, " token"], top: float) -> list[int]:
    """Activations as whole numbers from 0 to 10, which is `top`; what is active has 1 or more."""
    scaled = (acts / top * STRONGEST).round().clamp(max=STRONGEST)
    return torch.where(acts > 0, scaled.clamp(min=1), torch.zeros_like(scaled)).int().tolist()


def numbered(lines: Sequence[str]) -> str:
    """Lines with numbers from 1 on."""
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1))


def talk(question: str) -> Messages:
    """What is sent."""
    return [{"role": "system", "content": ABOUT}, {"role": "user", "content": question}]


def ask_explanation(lines: Sequence[str]) -> Messages:
    """Which sentence fits these windows?"""
    return talk(
        f"In each line the tokens at which the unit is active stand in {LEFT}{RIGHT}, followed by "
        f"the strength from 1 to {STRONGEST}.\n\n{numbered(lines)}\n\n"
        "Which tokens make it active? Answer with one line that begins with `Explanation:` and "
        "has at most 20 words, as specific as the lines allow."
    )


def read_explanation(reply: str) -> str:
    """The sentence after the last `Explanation:`, without its full stop; ReplyError for none.

    Other signs at its end stay: the tokens that it is about may be such signs.
    """
    found = re.findall(r"(?im)^\W*explanation\W*?:[\s*_`]*(\S.*?)[\s*_`]*$", reply)
    if not found:
        raise ReplyError(f"no line of the reply begins with `Explanation:`: {reply[:80]!r}")
    return re.sub(r"(?<=\w)\.$", "", found[-1])


def ask_which(explanation: str, lines: Sequence[str], fuzzed: bool) -> Messages:
    """Which windows have an active token (detection), or are rightly marked (fuzzing)?"""
    what = (
        f"In which of these lines is every token in {LEFT}{RIGHT} what the explanation is about?"
        if fuzzed
        else "In which of these lines is there a token that the explanation is about?"
    )
    return talk(
        f"An explanation of when the unit is active: {explanation}\n\n{what}\n\n{numbered(lines)}"
        "\n\nAnswer with a JSON list of the numbers of these lines and nothing else; [] if there "
        "is none."
    )


def json_list(reply: str) -> list[float]:
    """The only JSON list of numbers in a reply; ReplyError where that is not so."""
    found = re.findall(r"\[[^\[\]]*\]", reply)
    if len(found) != 1:
        raise ReplyError(f"the reply has {len(found)} lists, not one: {reply[:80]!r}")
    try:
        values = json.loads(found[0])
    except json.JSONDecodeError as error:
        raise ReplyError(f"{found[0][:80]!r} is no JSON: {error.msg}") from error
    if not all(type(v) in (int, float) for v in values):
        raise ReplyError(f"{found[0][:80]!r} has something that is not a number")
    return values


def read_which(reply: str, n: int) -> Bool[Tensor, " example"]:
    """True at the numbers that a reply lists; ReplyError for one that is none of 1 … n."""
    said = torch.zeros(n, dtype=torch.bool)
    for number in json_list(reply):
        if type(number) is not int or not 1 <= number <= n:
            raise ReplyError(f"{number} is not the number of a line: these are 1 to {n}")
        said[number - 1] = True
    return said


def ask_strengths(explanation: str, pieces: Sequence[str]) -> Messages:
    """How active is the unit at each token of a window?"""
    return talk(
        f"An explanation of when the unit is active: {explanation}\n\nGuess how active it is at "
        f"each of these {len(pieces)} tokens, from 0 (silent) to {STRONGEST}:\n\n"
        f"{json.dumps(list(pieces), ensure_ascii=False)}\n\nAnswer with a JSON list "
        f"of {len(pieces)} numbers and nothing else."
    )


def read_strengths(reply: str, n: int) -> Float[Tensor, " token"]:
    """The numbers of a reply; ReplyError where they are not n, or not from 0 to 10."""
    values = json_list(reply)
    if len(values) != n:
        raise ReplyError(f"the reply has {len(values)} numbers for {n} tokens")
    if wrong := [v for v in values if not 0 <= v <= STRONGEST]:
        raise ReplyError(f"{wrong[0]} is not from 0 to {STRONGEST}")
    return torch.tensor(values, dtype=torch.float32)
