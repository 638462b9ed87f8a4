"""One self-contained page from a template: data and script in one file, no network."""

import html
from pathlib import Path


def filled(folder: Path, title: str, data: str) -> str:
    """`page.html` of a folder with its page.css and page.js, a title, and data as JSON.

    The data stand in a block that no browser runs, with every `<` escaped, so that no token can
    end it; a page's script writes tokens as text, never as markup.
    """
    parts = {
        "TITLE": html.escape(title),
        "STYLE": (folder / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": (folder / "page.js").read_text(encoding="utf-8"),
        "DATA": data.replace("<", "\\u003c"),
    }
    before, *rest = (folder / "page.html").read_text(encoding="utf-8").split("%%")
    # names and texts alternate, so that a text is never searched for names
    return before + "".join(parts.get(part, part) for part in rest)
