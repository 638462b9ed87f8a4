"""A graph as one self-contained page: layers up, tokens across, edges on demand, no network."""

import html
import json
from pathlib import Path

from utils import files
from utils.graphs.graph import Graph
from utils.graphs.viewer import as_viewer

FOLDER = Path(__file__).parent


def page(graph: Graph, title: str = "") -> str:
    """The page's text; its data are the viewer's JSON, which it also saves and loads.

    The data stand in a block that no browser runs, with every `<` escaped, so that no token can
    end it; the script writes tokens as text, never as markup.
    """
    told = json.dumps(as_viewer(graph, title), ensure_ascii=False, allow_nan=False)
    parts = {
        "TITLE": html.escape(title or f"Attribution graph: {graph.prompt}"),
        "STYLE": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "SCRIPT": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "DATA": told.replace("<", "\\u003c"),
    }
    before, *rest = (FOLDER / "page.html").read_text(encoding="utf-8").split("%%")
    # names and texts alternate, so that a text is never searched for names
    return before + "".join(parts.get(part, part) for part in rest)


def write_page(graph: Graph, path: str | Path, title: str = "") -> Path:
    """Write the page, whole or not at all; any browser opens it, without a network."""
    files.write(Path(path), page(graph, title))
    return Path(path)
