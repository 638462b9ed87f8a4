"""The child process of `utils.grading.batch`: check a section's exercises, report line by line.

The request is the first line of standard input, the reports are lines on what was standard output.
A learner's code sees neither of them: both names lead to nowhere before it is run.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.course import Section, find_section
from utils.grading.cells import Cell

LEAVE = os._exit  # kept here: it is replaced while a learner's code runs


def _limit_memory(gigabytes: float) -> None:
    """Allow `gigabytes` more than this process uses now (where the system can do that)."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return  # Windows and macOS: the time limit remains


def _hidden(number: int) -> int:
    """Standard input or output under a number of its own; the usual one leads nowhere."""
    mine = os.dup(number)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)
    os.close(nowhere)
    return mine


def _end_with_parent(stdin: int) -> None:
    """Leave when standard input closes: the parent is gone, and nobody reads the reports."""

    def wait() -> None:
        while os.read(stdin, 1):
            pass
        LEAVE(1)

    threading.Thread(target=wait, daemon=True).start()


def check(request: dict[str, Any], section: Section, say: Callable[..., None]) -> None:
    """Check the requested exercises; `say` reports each step before or after it."""
    from utils.grading.learner import isolated, load, said, script_of
    from utils.grading.neutral import usual_settings
    from utils.grading.results import Result
    from utils.grading.run import run_exercise

    broken, notes = {}, {}
    say(ready=True)
    if request["device"] == "cpu":  # a GPU driver reserves address space far beyond what it uses
        _limit_memory(request["memory_gb"])
    wanted = [e for e in section.exercises if e.id in request["exercises"]]
    names: dict[str, Any] | None = None  # the reference's
    if request["file"] is not None:
        cells = [Cell(*parts) for parts in request["cells"]]
        script = script_of(Path(request["file"]), section, cells, [])
        deadly = {int(index): why for index, why in request["deadly"].items()}
        only = [e.name for e in wanted]
        answers = load(script, only, deadly, lambda index: say(reading=index))
        names, broken, notes = answers.names, answers.broken, answers.notes
        say(problems=answers.problems)
    for exercise in wanted:
        try:
            if exercise.name in broken:
                result = Result(exercise, "ERROR", 0, 0, broken[exercise.name])
            else:
                home = section if names is not None else section.home(exercise)
                theirs = names if names is not None else vars(home.reference())
                # what one exercise leaves switched off is no other one's fault
                with isolated(theirs, home, exercise.name, {}), usual_settings():
                    result = run_exercise(exercise, theirs, request["device"], seed=request["seed"])
            found = result.as_json()
            if exercise.name in notes and found["verdict"] not in ("PASS", "UNATTEMPTED"):
                found["message"] = f"{notes[exercise.name]}\n{found['message']}"
            text = {"id": exercise.id, "result": found}
            json.dumps(text)
        except BaseException as error:
            why = f"the check itself stopped: {said(error)}"
            text = {"id": exercise.id, "result": Result(exercise, "ERROR", 0, 0, why).as_json()}
        say(**text)
    say(done=True)


def main() -> None:
    """Read the request, check, report."""
    stdin, report = _hidden(0), os.fdopen(_hidden(1), "w")
    with os.fdopen(stdin, closefd=False) as file:
        request = json.loads(file.readline())
    _end_with_parent(stdin)

    def say(**message: Any) -> None:
        report.write(json.dumps(message) + "\n")
        report.flush()

    check(request, find_section(request["section"]), say)


if __name__ == "__main__":
    main()
