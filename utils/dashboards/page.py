"""One self-contained page: the data and a few hundred lines of script, no network."""

from pathlib import Path

from utils import files
from utils.dashboards.data import as_json
from utils.dashboards.result import Dashboards
from utils.onepage import filled

FOLDER = Path(__file__).parent


def page(dashboards: Dashboards, title: str = "") -> str:
    """The page's text."""
    return filled(
        FOLDER, title or f"{dashboards.kind} latents of {dashboards.model}", as_json(dashboards)
    )


def write_page(dashboards: Dashboards, path: str | Path, title: str = "") -> Path:
    """Write the page, whole or not at all; any browser opens it, without a network."""
    files.write(Path(path), page(dashboards, title))
    return Path(path)
