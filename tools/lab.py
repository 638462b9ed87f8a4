"""How JupyterLab reads and writes the course's notebooks (the Makefile names `Contents` to it)."""

import json
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from tools.notebooks import jupyterlab_metadata

PLOTLY, PICTURE = "application/vnd.plotly.v1+json", "image/png"


def figures(notebook: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The outputs with a figure, by cell, number of the run, text and place."""
    return {
        (cell.get("id"), cell.get("execution_count"), "".join(cell["source"]), place): output
        for cell in notebook.get("cells", [])
        for place, output in enumerate(cell.get("outputs", []))
        if PLOTLY in output.get("data", {})
    }


def rest(notebook: dict[str, Any]) -> list[Any]:
    """All but the figures: the same where a notebook was only looked at."""
    return [
        (
            cell.get("id"),
            cell.get("execution_count"),
            "".join(cell["source"]),
            [_joined(out) for out in cell.get("outputs", []) if PLOTLY not in out.get("data", {})],
        )
        for cell in notebook.get("cells", [])
    ]


def _joined(output: dict[str, Any]) -> Any:
    """What it says: on disk texts are lists of lines, in JupyterLab they are whole."""
    said = {"text": output.get("text", ""), **output.get("data", {})}
    return {key: "".join(v) if isinstance(v, list) else v for key, v in said.items()}


def without_pictures(notebook: dict[str, Any]) -> None:
    """Drop the static picture beside a figure's data: with it, JupyterLab shows nothing else."""
    for output in figures(notebook).values():
        output["data"].pop(PICTURE, None)


def as_shipped(notebook: dict[str, Any], stored: dict[str, Any] | None) -> None:
    """Keep a notebook of the course as it is on disk where only JupyterLab has changed it.

    At a save it writes this machine's Python into the metadata, and into every figure that was
    seen what its browser made of it: a solution that was only looked at would stop `git pull`.
    Where anything else differs somebody has worked on it, and its figures are as they are now.
    """
    if "course" not in notebook.get("metadata", {}):
        return
    notebook["metadata"].update(jupyterlab_metadata())
    if stored is not None and rest(notebook) == rest(stored):
        before = figures(stored)
        for key, output in figures(notebook).items():
            if key in before:
                output["data"] = before[key]["data"]


class Contents(AsyncLargeFileManager):
    """Files as usual; notebooks of the course without what only a browser needs."""

    async def get(self, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        """The notebook as JupyterLab gets it."""
        model: dict[str, Any] = await super().get(path, *args, **options)
        content = model.get("content")
        if model["type"] == "notebook" and content and "course" in content.get("metadata", {}):
            without_pictures(model["content"])
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        """The notebook as it goes to the disk."""
        if model.get("type") == "notebook" and model.get("content"):
            solved = "solutions" in path.strip("/").split("/")[:1]
            as_shipped(model["content"], self._stored(path) if solved else None)
        saved: dict[str, Any] = await super().save(model, path)
        return saved

    def _stored(self, path: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads(Path(self._get_os_path(path.strip("/"))).read_text()))
        except (OSError, ValueError):  # a new file, or one that is no notebook
            return None
