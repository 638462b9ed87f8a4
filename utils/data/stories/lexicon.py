"""The words of the story language, by class, and their numbers.

Every class of words is disjoint from every other unless its comment says otherwise: that is what
lets a reader of a story know at each word which rule of `utils.data.stories.grammar` was followed.
"""

from collections.abc import Iterable


def _each(line: str) -> list[str]:
    return line.split()


BOS, UNK = "<|bos|>", "<|unk|>"

GIRLS = _each(
    "Anna Beth Clara Daisy Emma Fiona Grace Helen Iris Julia Kate Lucy Mary Nora Olive Rosa"
)
BOYS = _each("Adam Ben Carl David Eric Frank George Henry Ivan John Karl Leo Mark Noah Oscar Peter")
NAMES = (*GIRLS, *BOYS)

# a place belongs to a scene, and a scene has things that are likely there
SCENES = ("home", "town", "nature", "school", "sea", "farm")
PLACES = {
    "home": _each("house kitchen garden cellar"),
    "town": _each("store market station bakery"),
    "nature": _each("forest meadow mountain cave"),
    "school": _each("school library classroom museum"),
    "sea": _each("beach harbor lighthouse pier"),
    "farm": _each("farm barn stable orchard"),
}
THINGS = {
    "home": _each("pillow candle spoon blanket mirror lamp"),
    "town": _each("ticket cake coin drink hat newspaper"),
    "nature": _each("stone flower feather mushroom leaf stick"),
    "school": _each("book pencil map painting globe ruler"),
    "sea": _each("shell boat fish rope net towel"),
    "farm": _each("pumpkin basket carrot saddle bucket lamb"),
}
_ODD_PLURALS = {"leaf": "leaves", "fish": "fishes"}


def plural(thing: str) -> str:
    """The word for several of a thing."""
    return _ODD_PLURALS.get(thing, thing + "s")


# past, present after he or she, present after they
Forms = tuple[str, str, str]
VERBS: dict[str, tuple[Forms, ...]] = {
    "be": (("was", "is", "is"),),  # after they: "were", "are"
    "see": (
        ("saw", "sees", "see"),
        ("found", "finds", "find"),
        ("took", "takes", "take"),
        ("lost", "loses", "lose"),
        ("made", "makes", "make"),
        ("bought", "buys", "buy"),
        ("held", "holds", "hold"),
        ("hid", "hides", "hide"),
    ),
    "give": (
        ("gave", "gives", "give"),
        ("handed", "hands", "hand"),
        ("showed", "shows", "show"),
        ("brought", "brings", "bring"),
        ("passed", "passes", "pass"),
    ),
    "want": (("wanted", "wants", "want"), ("tried", "tries", "try"), ("hoped", "hopes", "hope")),
    "talk": (("talked", "talks", "talk"), ("waved", "waves", "wave"), ("spoke", "speaks", "speak")),
    "say": (
        ("said", "says", "say"),
        ("whispered", "whispers", "whisper"),
        ("shouted", "shouts", "shout"),
    ),
    "ask": (("asked", "asks", "ask"),),
    "go": (("went", "goes", "go"), ("walked", "walks", "walk"), ("came", "comes", "come")),
    "meet": (("met", "meets", "meet"), ("joined", "joins", "join")),
    "have": (("had", "has", "have"),),
    "live": (("lived", "lives", "live"), ("played", "plays", "play")),
}
BE_PLURAL = ("were", "are")

# words coloured by the story's mood: (happy, sad)
Coloured = tuple[list[str], list[str]]
COLOURED: dict[str, Coloured] = {
    "mood": (
        _each("happy glad proud cheerful calm merry thankful hopeful"),
        _each("sad lonely tired worried hurt gloomy bitter afraid"),
    ),
    "manner": (
        _each("happily gladly kindly gently warmly bravely"),
        _each("sadly coldly rudely bitterly weakly badly"),
    ),
    "scene": (
        _each("lovely bright warm pretty sunny peaceful"),
        _each("dark cold dirty rainy ruined empty"),
    ),
}
FEEL: tuple[tuple[Forms, ...], tuple[Forms, ...]] = (
    (
        ("laughed", "laughs", "laugh"),
        ("smiled", "smiles", "smile"),
        ("danced", "dances", "dance"),
        ("sang", "sings", "sing"),
    ),
    (
        ("cried", "cries", "cry"),
        ("sighed", "sighs", "sigh"),
        ("frowned", "frowns", "frown"),
        ("wept", "weeps", "weep"),
    ),
)
LOOKS = _each("red blue green small big shiny broken heavy round strange")
TIMES = _each("day morning evening night winter summer")
CHILDREN = ("girl", "boy")
PRONOUNS = ("she", "he")
LITTLE = _each(  # in, with and but are in no rule
    "a the and , . ? ! “ ” ‘ ’ to at near in some when after while one there named friend they "
    "then I we am are is like my look where give with but"
)


def _words() -> Iterable[str]:
    yield from (BOS, UNK)
    yield from (*LITTLE, *PRONOUNS, *CHILDREN, *NAMES)
    for scene in SCENES:
        yield from PLACES[scene]
        yield from THINGS[scene]
        yield from map(plural, THINGS[scene])
    for verbs in (*VERBS.values(), *FEEL):
        for forms in verbs:
            yield from forms
    yield from (*BE_PLURAL, *LOOKS, *TIMES)
    for happy, sad in COLOURED.values():
        yield from (*happy, *sad)


VOCABULARY: tuple[str, ...] = tuple(dict.fromkeys(_words()))
ID: dict[str, int] = {word: i for i, word in enumerate(VOCABULARY)}
ALL_PLACES = tuple(place for scene in SCENES for place in PLACES[scene])
ALL_THINGS = tuple(thing for scene in SCENES for thing in THINGS[scene])
