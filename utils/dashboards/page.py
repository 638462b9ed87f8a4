"""One self-contained page: the data and a few hundred lines of script, no network."""

import html
from pathlib import Path

from utils import files
from utils.dashboards.data import as_json
from utils.dashboards.result import Dashboards

FOLDER = Path(__file__).parent


def page(dashboards: Dashboards, title: str = "") -> str:
    """The page's text.

    The data stand in a block that no browser runs, with every `<` escaped, so that no token can
    end it; the script writes tokens as text, never as markup.
    """
    parts = {
        "TITLE": html.escape(title or f"{dashboards.kind} latents of {dashboards.model}"),
        "STYLE": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "DATA": as_json(dashboards).replace("<", "\\u003c"),
    }
    before, *rest = (FOLDER / "page.html").read_text(encoding="utf-8").split("%%")
    # names and texts alternate, so that a text is never searched for names
    return before + "".join(parts.get(part, part) for part in rest)


def write_page(dashboards: Dashboards, path: str | Path, title: str = "") -> Path:
    """Write the page, whole or not at all; any browser opens it, without a network."""
    files.write(Path(path), page(dashboards, title))
    return Path(path)
