"""Follow the grammar word by word: what may come next, what came, and what it means."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from utils.data.stories import choices
from utils.data.stories.choices import Choice, fixed
from utils.data.stories.grammar import Node, opening_tree, sentence_tree
from utils.data.stories.lexicon import (
    ALL_PLACES,
    BOS,
    BOYS,
    CHILDREN,
    GIRLS,
    ID,
    LOOKS,
    NAMES,
    PRONOUNS,
    TIMES,
    VERBS,
    VOCABULARY,
)

NAME_ID = choices.ids(NAMES)
GIRL_ID, BOY_ID = choices.ids(GIRLS), choices.ids(BOYS)
CHILD_ID = choices.ids(CHILDREN)
PLACE_ID = choices.ids(ALL_PLACES)
NAME_INDEX = {-1: -1, **{token: i for i, token in enumerate(NAME_ID)}}
PLACE_INDEX = {-1: -1, **{token: i for i, token in enumerate(PLACE_ID)}}
VERB_SLOTS = {"be1", "feel", *VERBS}
ACTS = {*"AGNSX", "pro"}
ROLES = (
    *("word", BOS, "place", "here", "thing", "things", "look", "time", "mood", "manner"),
    *("scene", "feel", "child", "pro", "A", "B", "N", "G", "X", "Y", "S", "R", "be1", *VERBS),
)
ROLE = {role: i for i, role in enumerate(ROLES)}
OPEN, CLOSE = {"“", "‘"}, {"”", "’"}


class Told(NamedTuple):
    """The truth about one word, as far as the words up to it tell; -1: not (or nobody).

    `who`, `subject`, `first`, `second` are places in NAMES, `where` is one in ALL_PLACES.
    """

    token: int
    logp: float  # log-probability of the word given all words before it (nats)
    entropy: float  # entropy of the word given all words before it (nats)
    role: int  # what slot it fills: ROLES
    who: int  # the person that it names or means
    subject: int  # the person that acts in this clause; in a quotation: in the one around it
    first: int  # the first two people of the story
    second: int
    where: int  # the place of the scene
    tense: int  # 0 past, 1 present
    number: int  # of the clause's subject (in a quotation as above): 0 singular, 1 plural
    depth: int  # quotations that are open, this word's own mark included
    belief: float  # probability that the story is happy, given the words so far
    happy: int  # the truth of it, which is never told
    node: int  # where in the grammar: `Node.number`, plus AFTER_OPENING after the opening


@dataclass
class Story:
    """What a listener knows of one story."""

    happy: bool | None = None  # None: not known, when somebody else's text is followed
    belief: float = 0.5
    people: list[int] = field(default_factory=list)  # tokens of names
    pair: tuple[int, int] = (-1, -1)
    slots: dict[str, int] = field(default_factory=dict)  # X, Y, S, … of this sentence
    last: int = -1  # the last single subject: he or she
    subject: int = -1
    speakers: list[int] = field(default_factory=list)  # of the quotations that are open
    where: int = -1
    tense: int = -1
    number: int = -1


Slot = Callable[[Story, float], Choice]


def _others(pool: tuple[int, ...], people: list[int]) -> Choice:
    return Choice([name for name in pool if name not in people])


def _namesake(story: Story, belief: float) -> Choice:
    return Choice(GIRL_ID if story.slots["child"] == CHILD_ID[0] else BOY_ID)


def _pronoun(story: Story, belief: float) -> Choice:
    return fixed(PRONOUNS[0 if story.last in GIRL_ID else 1])


def _second_person(story: Story, belief: float) -> Choice:
    return Choice([name for name in story.people if name != story.slots.get("X", -1)])


def _receiver(story: Story, belief: float) -> Choice:
    return Choice([name for name in story.pair if name != story.slots["S"]])


def _somewhere_else(story: Story, belief: float) -> Choice:
    return Choice([place for place in PLACE_ID if place != story.where])


def _slots() -> dict[str, Slot]:
    """What may fill each slot, given the story and the belief in its being happy."""
    slots: dict[str, Slot] = {
        "child": lambda s, b: fixed(*CHILDREN),
        "G": _namesake,
        "pro": _pronoun,
        "X": lambda s, b: Choice(s.people),
        "Y": _second_person,
        "S": lambda s, b: Choice(s.pair),
        "R": _receiver,
        "place": _somewhere_else,
        "here": lambda s, b: Choice((s.where,)),
        "look": lambda s, b: fixed(*LOOKS),
        "time": lambda s, b: fixed(*TIMES),
        "be1": lambda s, b: choices.verb("be", s.tense, 0),
        "thing": lambda s, b: choices.thing(choices.scene_of(s.where), False),
        "things": lambda s, b: choices.thing(choices.scene_of(s.where), True),
    }
    for name in "ABN":
        slots[name] = lambda s, b: _others(NAME_ID, s.people)
    for name in ("mood", "manner", "scene", "feel"):
        slots[name] = lambda s, b, n=name: choices.coloured(n, b, s.tense, s.number)  # type: ignore[misc]
    for name in VERBS:
        slots[name] = lambda s, b, n=name: choices.verb(n, s.tense, s.number)  # type: ignore[misc]
    return slots


SLOTS = _slots()
SPEAKS = {"I", "my"}
PEOPLE = {*SPEAKS, "they", "pro", *"ABGNRSXY"}
AFTER_OPENING = 1000  # added to the numbers of the tree that follows the opening


class Teller:
    """One story after another; BOS begins each, and `mood` draws what is never told of it."""

    def __init__(self, mood: Callable[[], bool | None] = lambda: None) -> None:
        self.mood = mood
        self.first = self.begin()  # the BOS that a text begins with

    def begin(self) -> Told:
        """A new story; the BOS that begins a text is given, so it costs nothing."""
        self.story, self.node, self.offset = Story(happy=self.mood()), opening_tree(), 0
        self.before = BOS
        return self._told(ID[BOS], 0.0, 0.0, BOS, -1)

    def options(self, belief: float) -> list[tuple[float, Choice, str, Node]]:
        """Ways on from here: share, distribution over words, symbol, where to."""
        story = self.story
        if not self.node.edges:
            self.node, self.offset = sentence_tree(len(story.people)), AFTER_OPENING
            story.slots.clear()
        return [
            (
                share,
                SLOTS[symbol[1:-1]](story, belief) if symbol[0] == "{" else fixed(symbol),
                symbol.strip("{}"),
                child,
            )
            for share, (symbol, child) in zip(self.node.shares, self.node.edges, strict=True)
        ]

    def next_words(self) -> dict[int, float]:
        """Probability of every word that may come next, given the words so far."""
        found: dict[int, float] = {}
        for share, choice, _, _ in self.options(self.story.belief):
            for token in choice.tokens:
                found[token] = found.get(token, 0.0) + share * choice.prob(token)
        return found

    def choose(self, uniform: Callable[[], float]) -> tuple[int, str, Node]:
        """Draw from the grammar, in the story's true mood: a word, its symbol, where to."""
        options = self.options(float(self.story.happy or 0))
        way = 0
        if len(options) > 1:
            way = Choice(range(len(options)), self.node.shares).draw(uniform())
        _, choice, symbol, child = options[way]
        token = choice.tokens[0] if len(choice.tokens) == 1 else choice.draw(uniform())
        return token, symbol, child

    def advance(self, token: int, symbol: str, node: Node) -> int:
        """Take one way on, as chosen; the person that the word means, or -1."""
        self.node = node
        if symbol == BOS:
            self.begin()
            return -1
        if symbol in CLOSE:
            self.story.speakers.pop()
        who = self._update(token, symbol)
        self.before = symbol
        return who

    def tell(self, token: int) -> Told:
        """Follow the grammar along one word; a word that cannot come here raises ValueError."""
        entropy, taken = 0.0, None
        for share, choice, symbol, child in self.options(self.story.belief):
            entropy += share * (choice.entropy() - math.log(share))
            if p := choice.prob(token):
                taken = (math.log(share * p), symbol, child)
        if taken is None:
            raise ValueError(f"{VOCABULARY[token]!r} cannot come here")
        logp, symbol, node = taken
        closes = int(symbol in CLOSE)  # the mark belongs to the quotation that it ends
        who = self.advance(token, symbol, node)
        told = self._told(token, logp, entropy, symbol, who)
        return told._replace(depth=told.depth + closes)

    def _next_is(self, symbol: str) -> bool:
        return bool(self.node.edges) and self.node.edges[0][0] == symbol

    def _update(self, token: int, symbol: str) -> int:
        """Let the word change the story; the person that it means, or -1."""
        story = self.story
        if symbol in VERB_SLOTS:
            story.tense = 0 if token in choices.past_words() else 1
        if symbol in choices.COLOURS:
            story.belief = choices.updated(story.belief, token)
        if symbol == "place":
            story.where = token
        if symbol == "child":
            story.slots[symbol] = token
        if symbol == "here" and self._next_is("{be1}"):
            story.subject, story.number = -1, 0
        if symbol in OPEN:
            story.speakers.append(story.slots["Y"] if story.speakers else story.subject)
        return self._person(token, symbol) if symbol in PEOPLE else -1

    def _person(self, token: int, symbol: str) -> int:
        """Who a name, a pronoun or an I means; who acts; who belongs to the story."""
        story = self.story
        if symbol in SPEAKS:
            return story.speakers[-1]
        if symbol == "they":
            story.subject, story.number = -1, 1
            return -1
        person = story.last if symbol == "pro" else token
        story.slots["X" if symbol == "pro" else symbol] = person
        if symbol in "ABGN":
            story.people.append(person)
        if story.last < 0:
            story.last = person
        if self._next_is("and"):  # the first of a pair
            story.pair, story.subject, story.number = (person, -1), -1, -1
        elif self.before == "and":
            story.pair, story.number = (story.pair[0], person), 1
        elif symbol in ACTS:
            story.subject, story.number, story.last = person, 0, person
        return person

    def _told(self, token: int, logp: float, entropy: float, symbol: str, who: int) -> Told:
        s, place = self.story, PLACE_INDEX
        people = [NAME_INDEX[name] for name in (*s.people[:2], -1, -1)]
        return Told(
            token=token,
            logp=logp,
            entropy=entropy,
            role=ROLE.get(symbol, 0),
            who=NAME_INDEX[who],
            subject=NAME_INDEX[s.subject],
            first=people[0],
            second=people[1],
            where=place[s.where],
            tense=s.tense,
            number=s.number,
            depth=len(s.speakers),
            belief=s.belief,
            happy=-1 if s.happy is None else int(s.happy),
            node=self.offset + self.node.number,
        )
