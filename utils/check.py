"""The checker's command line: `python -m utils.check [TARGET]`.

TARGET is nothing (everything), a section (3.1.1 or its path) or an exercise (3.1.1.c or its
function). Exit status 0 only where everything asked for passed, 1 where something did not, 2 where
the check itself could not be made.

This file is the door only: it must be readable for any Python from 3.6 on, to say which one is
the right one.
"""

import os
import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich", "jupytext", "nbformat", "IPython", "pytest", "torch", "einops")


def wrong_python() -> str:
    """What is missing in this Python and which one to use; empty where nothing is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if sys.version_info >= (3, 11) and not missing:
        return ""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    bin_ = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    theirs = os.path.join(root, ".venv", *bin_)
    version = ".".join(map(str, sys.version_info[:3]))
    lacks = "it lacks " + ", ".join(missing) if missing else "it is too old"
    if os.path.exists(theirs):
        cure = f"use {os.path.join('.venv', *bin_)} -m utils.check, or `make check`"
    else:
        cure = "`make check` sets the course up, then checks"
    return f"this Python ({version}, {sys.executable}) is not the course's: {lacks}. {cure}"


def main() -> int:
    """Hand on to the command line proper; a defect of the course is status 2, as is any misuse."""
    problem = wrong_python()
    if problem:
        print(problem, file=sys.stderr)
        return 2
    from utils.grading.command import app

    try:
        return int(app(standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 2
    except Exception as error:
        # typer brings a click of its own, whose errors show themselves, too
        if type(error).__name__ == "Abort":
            return 130
        if hasattr(error, "show"):
            error.show()
        else:
            import traceback

            traceback.print_exc()
        return 2


if __name__ == "__main__":
    sys.exit(main())
