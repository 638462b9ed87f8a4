"""How a token is written on a page: exactly what it stands for, nothing lost."""

from collections.abc import Iterable
from functools import cache
from typing import Any

CLOSING = (".", ",", ";", ":", "!", "?", "'", ")", "]", "}", "%")


def texts(tokenizer: Any, ids: Iterable[int]) -> dict[int, str]:
    """The text of each token; without a tokenizer its number."""
    wanted = sorted(set(ids))
    if tokenizer is None:
        return {i: f" {i}" for i in wanted}
    known = wanted if len(tokenizer) > max(wanted, default=0) else []
    known = known or [i for i in wanted if i < len(tokenizer)]
    pieces = tokenizer.convert_ids_to_tokens(known)
    style = _style(tokenizer)
    found = {i: f"⟨{i}⟩" for i in wanted}  # rows of the embedding that stand for nothing
    special = set(tokenizer.all_special_ids)
    for i, piece in zip(known, pieces, strict=True):
        found[i] = str(piece) if i in special or piece is None else style(str(piece))
    return found


def _style(tokenizer: Any) -> Any:
    """How this tokenizer writes spaces and bytes."""
    some = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), 5000))))
    some = [piece for piece in some if piece]
    if sum(piece.startswith("Ġ") for piece in some) > 2:
        return _of_bytes
    if sum(piece.startswith("▁") for piece in some) > 2:
        return lambda piece: piece.replace("▁", " ")
    return lambda piece: piece if piece.startswith(CLOSING) else " " + piece


def _of_bytes(piece: str) -> str:
    """GPT-2's alphabet of bytes, read back; a part of a character is shown as its bytes."""
    letters = _alphabet()
    if not all(letter in letters for letter in piece):
        return piece
    raw = bytes(letters[letter] for letter in piece)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"⟨{raw.hex(' ')}⟩"


@cache
def _alphabet() -> dict[str, int]:
    """Printable bytes stand for themselves, the others for the characters from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    found = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in plain)
    return found | {chr(256 + i): byte for i, byte in enumerate(others)}
