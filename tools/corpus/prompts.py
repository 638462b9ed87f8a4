"""What the model is asked to write: templates with slots, drawn with a seed.

A kind is written in one of two ways. `ask` is an instruction, put through the chat template; the
document is the answer alone. `begin` is the first words of a document, which the model continues;
they belong to the document.
"""

import re
from dataclasses import dataclass
from typing import Literal

import torch

SLOTS: dict[str, tuple[str, ...]] = {
    "name": (
        *("Mary", "John", "Anna", "Peter", "Lucy", "Tom", "Sarah", "David", "Emma", "Paul"),
        *("Clara", "Simon", "Alice", "Henry", "Rosa", "Felix", "Nina", "Oscar", "Julia"),
        *("Martin", "Grace", "Victor", "Helen", "Arthur", "Laura", "Daniel", "Sofia"),
        *("James", "Maria", "Robert", "Eva", "Thomas", "Ruth", "George", "Amina", "Omar"),
        *("Priya", "Ravi", "Mei", "Chen", "Yuki", "Kenji", "Fatima", "Ali", "Ingrid", "Lars"),
        *("Chloe", "Hugo", "Zoe", "Marco", "Elena", "Ivan", "Olga", "Diego", "Carmen"),
        *("Kofi", "Ama", "Leila", "Samir", "Hannah"),
    ),
    "place": (
        *("store", "garden", "school", "market", "library", "park", "station", "museum", "beach"),
        *("hospital", "kitchen", "office", "village", "forest", "farm", "bakery", "harbour"),
        *("theatre", "workshop", "mountain hut", "island", "bridge", "old mill", "city hall"),
    ),
    "thing": (
        *("drink", "book", "letter", "key", "ring", "basket", "bicycle", "map", "camera", "kite"),
        *("lamp", "guitar", "blanket", "coin", "ticket", "watch", "apple", "cake", "hammer"),
        *("umbrella", "painting", "puppy", "necklace", "telescope", "coat", "violin", "boat"),
    ),
    "job": (
        *("teacher", "baker", "sailor", "nurse", "farmer", "engineer", "painter", "judge"),
        *("detective", "librarian", "pilot", "cook", "student", "mayor", "carpenter", "doctor"),
    ),
    "mood": (
        *("sad", "funny", "frightening", "quiet", "hopeful", "mysterious", "angry", "tender"),
        *("strange", "cheerful", "lonely", "proud"),
    ),
    "topic": (
        *("how rain forms", "why leaves change colour", "what a vaccine does", "compound interest"),
        *("how bread rises", "what a black hole is", "supply and demand", "how a bicycle stays up"),
        *("the water cycle", "how the heart works", "what an election is", "photosynthesis"),
        *("why the sky is blue", "how a computer stores numbers", "what inflation is", "tides"),
        *("how bees make honey", "the French Revolution", "how trains changed cities", "gravity"),
        *("why we sleep", "how glass is made", "the history of chess", "what a contract is"),
        *("how languages change", "earthquakes", "how to learn the piano", "what DNA is"),
        *("the Roman roads", "how paper is made", "why cats purr", "what a prime number is"),
        *("the moon landing", "how soap works", "what a court does", "how birds find their way"),
        *("electric motors", "the printing press", "how memory works", "volcanoes", "sailing"),
    ),
    "event": (
        *("a flood", "a football final", "a new bridge", "an election"),
        *("a bank robbery", "a strike"),
        *("a museum opening", "a forest fire", "a discovery in medicine", "a rocket launch"),
        *("a fall in share prices", "a chess tournament", "a trade agreement", "a lost painting"),
        *("a storm at the coast", "a school reform", "a train accident", "a record harvest"),
    ),
    "country": (
        *("France", "Japan", "Brazil", "Kenya", "Canada", "India", "Italy", "Egypt", "Norway"),
        *("Mexico", "Australia", "Poland", "China", "Spain", "Ghana", "Chile", "Turkey"),
    ),
    "dish": (
        *("vegetable soup", "apple pie", "fried rice", "lentil stew", "pancakes", "tomato sauce"),
        *("bread", "fish curry", "potato salad", "chocolate cake", "omelette", "dumplings"),
        *("roast chicken", "lemon cookies", "bean chili", "mushroom risotto", "porridge"),
    ),
    "task": (
        *("reverses a string", "counts the words in a text", "finds the largest number in a list"),
        *("checks whether a number is prime", "sorts a list of names", "reads a file line by line"),
        *("adds two matrices", "removes duplicates from a list", "converts Celsius to Fahrenheit"),
        *("computes the average of a list", "finds the shortest path in a grid", "parses a date"),
        *("merges two dictionaries", "tests whether a word is a palindrome", "draws a triangle"),
        *("implements a stack", "downloads a page and counts its links", "simulates a dice game"),
    ),
    "list": (
        *("things to pack for a journey", "animals of the forest", "tips for a job interview"),
        *("books for a rainy day", "ideas for a birthday party", "questions about the sea"),
        *("rules of a swimming pool", "inventions that changed the world", "musical instruments"),
        *("healthy breakfasts", "reasons to plant a tree", "steps for cleaning a room"),
        *("capital cities of Europe", "parts of a car", "famous scientists and what they found"),
    ),
    "year": tuple(str(year) for year in range(1790, 2020, 7)),
    "subject": (
        *("the public debt", "foreign trade", "the schools", "taxes on land", "the army"),
        *("agriculture", "the railways", "the post office", "the rights of citizens", "the courts"),
        *("peace with our neighbours", "the price of grain", "public lands", "immigration"),
        *("the currency", "manufactures", "the production of energy", "the care of the sick"),
        *("unemployment", "national defence", "the budget", "the right to vote", "science"),
        *("roads and canals", "the treaty", "wages", "clean air and water", "crime", "housing"),
        *("poverty", "the care of old people", "the freedom of the press", "the navy", "banks"),
    ),
    "office": (
        *("minister", "governor", "ambassador", "senator", "general", "commissioner", "bishop"),
        *("professor", "chief justice", "secretary of the treasury", "mayor", "admiral"),
        *("chairman of the committee", "president of the society", "inspector of schools"),
    ),
    "body": (
        *("parliament", "the assembly", "the committee", "the senate", "the council", "the court"),
        *("the delegates", "the royal society", "the convention", "the chamber of commerce"),
    ),
}


@dataclass(frozen=True)
class Kind:
    """One sort of document."""

    mode: Literal["ask", "begin"]
    templates: tuple[str, ...]
    n_new: int = 254  # two rows of 128 with their BOS


KINDS: dict[str, Kind] = {
    "story": Kind(
        "ask",
        (
            "Write a {mood} short story about {name}, a {job}, and a {thing}.",
            "Tell a {mood} story that happens in a {place}. The main characters are {name} and "
            "{name}.",
            "Write the opening of a {mood} novel set in {country} in {year}.",
        ),
    ),
    "tale": Kind(
        "begin",
        (
            "{name} had always wanted a {thing}, but the {job} said",
            "It was raining when {name} reached the {place}.",
            "In {year}, a {job} from {country} found a {thing}",
            '"Where is the {thing}?" asked {name}.',
        ),
    ),
    "dialogue": Kind(
        "ask",
        (
            "Write a conversation between {name} and {name} about a lost {thing}.",
            "Write a scene of a play in which {name}, a {job}, argues with {name} in a {place}.",
        ),
    ),
    "giving": Kind(
        "begin",
        (
            "When {name} and {name} went to the {place}, {name} gave a {thing} to",
            "Then {name} and {name} had a long talk at the {place}. Afterwards {name} gave the "
            "{thing} to",
            "{name} and {name} were working at the {place}. {name} handed a {thing} to",
            "After {name} and {name} met at the {place}, {name} sold the {thing} to",
        ),
        n_new=110,
    ),
    "explanation": Kind(
        "ask",
        (
            "Explain {topic} to a child.",
            "Write a paragraph of a textbook about {topic}.",
            "Explain {topic} and give an example.",
        ),
    ),
    "letter": Kind(
        "ask",
        (
            "Write a {mood} letter from {name} to {name} about a {thing}.",
            "Write a formal letter in which {name}, a {job}, complains about a {place}.",
            "Write an email from {name} to the {job} about {event}.",
        ),
    ),
    "news": Kind(
        "ask",
        (
            "Write a newspaper report about {event} in {country}.",
            "Write a news article from {year} about {event}.",
        ),
    ),
    "report": Kind(
        "begin",
        (
            "{country} ({year}) - Officials said on Monday that {event}",
            "The history of {country} after {year}",
            "The {place} of the town was built in {year}",
        ),
    ),
    "recipe": Kind("ask", ("Write a recipe for {dish}.", "How did {name} make {dish}? Tell me.")),
    "code": Kind(
        "ask",
        (
            "Write a Python function that {task}, with a docstring.",
            "Write a program that {task} and explain it.",
            "Write a JavaScript function that {task}.",
        ),
    ),
    "list": Kind("ask", ("Write a list of {list}.", "Name ten {list}."), n_new=190),
    "advice": Kind(
        "ask",
        (
            "My friend {name} is {mood} because of a {thing}. What should I do?",
            "How do I become a {job}?",
            "Compare life in {country} and life in {country}.",
        ),
    ),
    "essay": Kind(
        "begin",
        (
            "There are three reasons why {topic} matters. First,",
            "Many people in {country} believe that a {job}",
            "Question: can you tell me about {topic}?\nAnswer:",
            "Dear diary, today at the {place} {name}",
        ),
    ),
}

# Formal prose, which no source of text by people has that SAEs are trained on: for training only
FORMAL_KINDS: dict[str, Kind] = {
    "address": Kind(
        "ask",
        (
            "Write a speech to {body} of {country} about {subject}.",
            "Write the end of a speech that the {office} gave to {body} in {year}.",
            "You are the {office} of {country}. Tell the people what you think of {subject}.",
        ),
    ),
    "debate": Kind(
        "begin",
        (
            "Mr. Chairman, members of {body}: {subject}",
            "I thank {body} for the honour. Let me begin with {subject}.",
            "The people of {country} have always",
            "My friends, when I came to {country} in {year}, I",
        ),
    ),
    "lecture": Kind(
        "ask",
        (
            "Write the first page of a lecture on {subject} in {country}.",
            "Write a paragraph of a history book about {country} in {year}.",
        ),
    ),
    "sermon": Kind(
        "begin",
        (
            "My brothers and sisters, there is no virtue so",
            "We are gathered here to remember {name}, who was a {job} and",
            "What does it mean to be free? In {country}, the {office}",
            "With faith in God and in the people of {country}, we",
        ),
    ),
    "editorial": Kind(
        "ask",
        (
            "Write an editorial of a newspaper of {year} about {subject}.",
            "Write an essay in formal English: what should a government do about {subject}?",
        ),
    ),
    "treatise": Kind(
        "begin",
        (
            "It is the first duty of every government to",
            "No nation can neglect {subject} without",
            "Of {subject} it has often been said that",
            "The experience of {country} since {year} has shown that",
        ),
    ),
    "history": Kind(
        "begin",
        (
            "In {year}, the government of {country} turned to {subject}.",
            "After the war had ended, the {office} of {country}",
            "During the past year, {subject}",
            "Between {year} and the end of the century, {country}",
        ),
    ),
    "minutes": Kind(
        "begin",
        (
            "The committee on {subject} has the honour to report to {body} that",
            "Report of the {office} on {subject} for the year {year}.\n\n",
            "The {office} recommended to {body} that {subject}",
        ),
    ),
    "dispatch": Kind(
        "begin",
        (
            "Sir, I have received your letter about {subject}, and",
            "To the {office} of {country}. Sir, it is with great",
            "Our relations with {country} have",
        ),
    ),
    "law": Kind(
        "begin",
        (
            "We, the undersigned citizens of {country}, ask {body} to",
            "Article 1. The government of {country} shall",
            "The court has been asked to decide whether {subject}",
        ),
    ),
    "plan": Kind(
        "ask",
        (
            "Write a formal report of the {office} to {body} on {subject}, with figures.",
            "Write a proposal to {body}: a programme for {subject} in {country}.",
        ),
    ),
    "tribute": Kind(
        "ask",
        (
            "Write a tribute to {name}, the {office}, who died in {year}.",
            "Write a toast of the {office} to the guests from {country}.",
        ),
    ),
}
COLLECTIONS = {"mixed": KINDS, "formal": FORMAL_KINDS}


def fill(template: str, gen: torch.Generator) -> str:
    """Fill every slot of a template; two names of one template differ, and a third repeats one.

    "{name} and {name} …, {name} gave" so becomes a sentence with an indirect object.
    """
    names: list[str] = []

    def draw(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot == "name" and len(names) >= 2:
            return names[int(torch.randint(2, (1,), generator=gen))]
        options = [word for word in SLOTS[slot] if word not in names]
        word = options[int(torch.randint(len(options), (1,), generator=gen))]
        if slot == "name":
            names.append(word)
        return word

    return re.sub(r"\{(\w+)\}", draw, template)


def draw_prompts(kind: Kind, n: int, gen: torch.Generator) -> list[str]:
    """Draw `n` prompts of one kind, templates and slots with equal probability."""
    picks = torch.randint(len(kind.templates), (n,), generator=gen).tolist()
    return [fill(kind.templates[i], gen) for i in picks]
