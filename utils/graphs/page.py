"""A graph as one self-contained page: layers up, tokens across, edges on demand, no network."""

import json
from pathlib import Path

from utils import files
from utils.graphs.graph import Graph
from utils.graphs.viewer import as_viewer
from utils.onepage import filled

FOLDER = Path(__file__).parent


def page(graph: Graph, title: str = "") -> str:
    """The page's text; its data are the viewer's JSON, which it also saves and loads."""
    told = json.dumps(as_viewer(graph, title), ensure_ascii=False, allow_nan=False)
    return filled(FOLDER, title or f"Attribution graph: {graph.prompt}", told)


def write_page(graph: Graph, path: str | Path, title: str = "") -> Path:
    """Write the page, whole or not at all; any browser opens it, without a network."""
    files.write(Path(path), page(graph, title))
    return Path(path)
