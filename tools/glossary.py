"""docs/glossary.md: every term once, from the tables of words with which the sections begin."""

import re
from collections.abc import Iterator

from utils.course import Section, sections

TABLE = re.compile(r"^# \| word \| meaning here \|\n# \|[ \-|]+\|\n((?:# \|.*\|\n)+)", re.M)
ALIASES = {
    "$z$, pre-activation": "pre-activation $z$",
    "pre-activation": "pre-activation $z$",
    "$f$, latents": "$f$ or `acts`",
}
# what the lessons explain in their text instead, with the section that does
EXPLAINED = (
    ("3.1.1", "superposition", "more features than dimensions, each with a direction of its own"),
    (
        "3.1.1",
        "interference",
        r"what the others leak into a feature: $\sum_{j \ne i} (\hat W_i \cdot W_j)^2$",
    ),
    ("3.1.4", "dimensionality", "the share of a dimension that a feature has for itself"),
    ("3.1.5", "sparse autoencoder (SAE)", "an autoencoder whose wide hidden layer is mostly 0"),
    ("3.1.5", "shrinkage", "a penalty on activations makes them too small, by a known amount"),
    ("3.2.1", "explained variance", "1 − squared error / squared distance from the mean"),
    ("3.2.1", "L0", "latents active per token, on average"),
    ("3.2.1", "recovered loss", "what a splice keeps of the loss that ablation costs"),
    ("3.2.2", "direct path", "from a latent's decoder row to the logits, with no layer between"),
    ("3.2.3", "attribution patching", "an ablation's effect to first order: gradient times change"),
    ("3.2.3", "integrated gradients", "the gradient averaged over the way from baseline to value"),
    ("3.2.4", "steering", "adding a direction to the residual stream while the model writes"),
    (
        "3.2.4",
        "detection, fuzzing",
        "can a judge tell active examples, and active words, by a sentence",
    ),
    ("3.2.4", "absorption", "a specific latent fires in place of the general one that should"),
    ("3.2.4", "meta-SAE", "an SAE of another SAE's decoder rows"),
    ("3.2.5", "faithfulness", "what a circuit keeps of what the whole model does"),
    (
        "3.2.7",
        "attribution graph",
        "one prompt's latents, errors and words, and what each gives to each",
    ),
)
HEAD = """# Glossary

Every term once, with the section that introduces it. Where a later section narrows a word, its
meaning there follows. Symbols come last.

| term | meaning |
|---|---|
"""


def words(section: Section) -> Iterator[tuple[str, str]]:
    """(term, meaning) of a section's table; a row may hold several terms."""
    for table in TABLE.findall(section.source.read_text()):
        for line in table.splitlines():
            term, _, meaning = line.removeprefix("# | ").removesuffix(" |").partition(" | ")
            yield ALIASES.get(term, term), meaning


def order(term: str) -> tuple[bool, str]:
    """Words by the alphabet, then symbols."""
    return term.startswith(("$", "`")), term.strip("$`\\ ").lower()


def page() -> str:
    """The page in Markdown."""
    found: dict[str, list[tuple[str, str]]] = {}
    for section in sections():
        explained = [(term, text) for number, term, text in EXPLAINED if number == section.number]
        for term, meaning in (*explained, *words(section)):
            found.setdefault(term, []).append((section.number, meaning))
    lines = []
    for term in sorted(found, key=order):
        (first, meaning), *later = found[term]
        text = f"{meaning} ({first})"
        for number, other in later:
            if other == meaning:
                continue  # said again for those who begin there
            text += f"; in {number}: {other}"
        lines.append(f"| {term} | {text} |")
    return HEAD + "\n".join(lines) + "\n"
