"""The written grammar of the story language: weighted sentences with slots.

A rule is a sentence; `{slot}` is filled by one word, `[ … ]` is there in half of the cases.

    {A} {B}     two new names            {X} {Y}   two different people of the story, Y after X
    {S} {R}     the giver: one of the last pair, at random; the receiver: the other of the pair
    {N}         a third person, new      {child} {G}   girl or boy, and a new name to fit
    {pro}       he or she: the last single subject       they   everybody, plural
    {place}     a new place: the scene moves             {here}    where the scene is
    {thing} {things}   likely ones of the scene, or any  {look} {time}   any of their words
    {mood} {manner} {scene} {feel}     coloured by the mood of the story, which is never told
    {be} {see} {give} …   a verb of this class (`lexicon.VERBS`) that agrees with the subject

Rules that begin alike share their beginning in a tree (`compile_rules`), and two branches of one
node never share a word. So the words alone say which branch was taken: the probability of a word
given the words before it is the branch's share times the slot's probability of the word, exactly.
"""

import itertools
import re
from dataclasses import dataclass, field
from functools import cache

from utils.data.stories.lexicon import BOS

Rules = tuple[tuple[float, str], ...]

_SAID = (
    (3.0, "I like the {thing} ."),
    (3.0, "I am {mood} ."),
    (2.0, "we are {mood} ."),
    (2.0, "where is my {thing} ?"),
    (1.0, "look at the {thing} !"),
)
_PAIR_MEETS: Rules = (
    (4.0, "when {P} and {Q} {go} to the {place} ,"),
    (2.0, "after {P} and {Q} {go} to the {place} ,"),
    (3.0, "while {P} and {Q} {be} at the {at} ,"),
)
_PAIR_GIVES: Rules = (
    (5.0, "{S} {give} a [{look}] {thing} to {R} ."),
    (2.0, "{S} {want} to give a [{look}] {thing} to {R} ."),
    (1.0, "{S} {talk} to {R} ."),
)


def indirect_objects(first: str, second: str, at: str) -> Rules:
    """Every opening clause with every main clause: who gives is one of the pair, so is who gets."""
    return tuple(
        (
            meets * gives,
            f"{opening} {main}".replace("{P}", first).replace("{Q}", second).replace("{at}", at),
        )
        for (meets, opening), (gives, main) in itertools.product(_PAIR_MEETS, _PAIR_GIVES)
    )


def speech(speaker: str) -> Rules:
    """Somebody says something, or says that somebody else said it: quotation in a quotation."""
    plain = tuple((w, f"{speaker} {{say}} , “ {said} ”") for w, said in _SAID)
    asked = ((3.0, f"{speaker} {{ask}} {{Y}} , “ where is my {{thing}} ? ”"),)
    nested = tuple((0.5 * w, f"{speaker} {{say}} , “ {{Y}} {{say}} , ‘ {q} ’ ”") for w, q in _SAID)
    return (*plain, *asked, *nested)


def acts(subject: str) -> Rules:
    """What one person does, has, feels, says."""
    return (
        (9.0, f"{subject} {{see}} a [{{look}}] {{thing}} ."),
        (5.0, f"{subject} {{be}} {{mood}} ."),
        (5.0, f"{subject} {{feel}} {{manner}} ."),
        (4.0, f"{subject} {{give}} a [{{look}}] {{thing}} to {{Y}} ."),
        *speech(subject),
    )


def scaled(rules: Rules, total: float) -> Rules:
    """The same rules with weights that sum to `total`."""
    scale = total / sum(weight for weight, _ in rules)
    return tuple((weight * scale, text) for weight, text in rules)


OPENINGS: Rules = (
    *scaled(indirect_objects("{A}", "{B}", "{place}"), 45),
    (15.0, "one {time} , {A} {meet} {B} at the {place} ."),
    (15.0, "{A} and {B} {be} at the {place} ."),
    (
        25.0,
        "there {be1} a {child} named {G} . {pro} {have} a friend named {B} . "
        "they {live} near the {place} .",
    ),
)
SENTENCES: Rules = (
    *scaled(acts("{X}"), 30),
    *scaled(acts("{pro}"), 16),
    *scaled(
        (
            (3.0, "they {be} {mood} ."),
            (5.0, "they {see} some [{look}] {things} ."),
            (3.0, "they {feel} {manner} ."),
            (2.0, "they {go} to the {place} ."),
        ),
        16,
    ),
    (6.0, "the {here} {be1} {scene} ."),
    *scaled(indirect_objects("{X}", "{Y}", "{here}"), 20),
    (12.0, BOS),
)
THIRD: Rules = ((5.0, "then {N} {go} to the {here} ."),)


@dataclass
class Node:
    """A place in the tree of rules: the ways on, each with its share."""

    number: int
    edges: list[tuple[str, "Node"]] = field(default_factory=list)  # a word or {slot}, and where to
    weights: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # the weights, summing to 1


def variants(weight: float, text: str) -> list[tuple[float, list[str]]]:
    """Resolve `[ … ]`: with and without, half the weight each; then split into symbols."""
    found = re.search(r"\[(.*?)\]", text)
    if not found:
        return [(weight, text.split())]
    before, after = text[: found.start()], text[found.end() :]
    return [v for part in ("", found[1]) for v in variants(weight / 2, f"{before}{part}{after}")]


def compile_rules(rules: Rules) -> Node:
    """The tree of all rules; an edge's weight is the sum of the rules below it."""
    count = itertools.count()
    root = Node(next(count))
    for rule in rules:
        for weight, symbols in variants(*rule):
            node = root
            for symbol in symbols:
                names = [name for name, _ in node.edges]
                if symbol not in names:
                    node.edges.append((symbol, Node(next(count))))
                    node.weights.append(0.0)
                    names.append(symbol)
                i = names.index(symbol)
                node.weights[i] += weight
                node = node.edges[i][1]
    _normalise(root)
    return root


def _normalise(node: Node) -> None:
    node.shares = [weight / sum(node.weights) for weight in node.weights]
    for _, child in node.edges:
        _normalise(child)


@cache
def opening_tree() -> Node:
    """How a story begins."""
    return compile_rules(OPENINGS)


@cache
def sentence_tree(n_people: int) -> Node:
    """How a story goes on; a third person comes only where there are two."""
    return compile_rules(SENTENCES if n_people == 3 else (*SENTENCES, *THIRD))
