"""What JupyterLab calls when it saves a notebook (the Makefile passes it on the command line)."""

from typing import Any

from tools.notebooks import jupyterlab_metadata


def as_shipped(model: dict[str, Any], **_: Any) -> None:
    """Keep the version of this machine's Python out of a notebook, and other kernels' names.

    JupyterLab writes them at every save; a notebook that was only opened and run would differ
    from the course's in these lines, and `git pull` would stop at a solution.
    """
    if model.get("type") == "notebook" and "course" in model["content"].get("metadata", {}):
        model["content"]["metadata"].update(jupyterlab_metadata())
