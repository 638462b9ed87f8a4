"""The glossary: every term of every section's table, once."""

from tools import glossary
from utils.course import find_section, sections


def test_glossary__has_every_term_once():
    """A term of several sections is one line with all its meanings."""
    page = glossary.page()
    terms = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(terms) == len(set(terms)) > 60
    [feature] = [line for line in page.splitlines() if line.startswith("| feature |")]
    assert "(3.1.1); in 3.1.5: " in feature
    for section in sections():
        for term, meaning in glossary.words(section):
            assert f"| {term} | " in page and meaning in page, (section.number, term)


def test_glossary__explained_terms_are_in_their_lessons():
    """A section that is named for a term speaks of it."""
    for number, term, _ in glossary.EXPLAINED:
        text = " ".join(
            find_section(number).source.read_text().replace("\n# ", " ").lower().split()
        )
        for word in term.lower().split(" (")[0].split(", "):
            assert word.rstrip("s") in text, (number, word)
