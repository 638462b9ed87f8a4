"""The child process of `utils.grading.batch`: check a section's exercises, report line by line."""

import json
import sys
from pathlib import Path
from typing import Any

from utils.course import find_section
from utils.grading.learner import isolated, load_answers
from utils.grading.run import run_exercise


def _limit_memory(gigabytes: float) -> None:
    """Allow `gigabytes` more than this process uses now (where the system can do that)."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = used + int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        return  # Windows and macOS: the time limit remains


def main(request: dict[str, Any], out: Path) -> None:
    """Check the requested exercises; append one JSON line each to `out`."""
    section = find_section(request["section"])
    reference = section.reference()
    if request["device"] == "cpu":  # a GPU driver reserves address space far beyond what it uses
        _limit_memory(request["memory_gb"])
    with out.open("a", buffering=1) as report:
        if request["file"] is None:
            names, broken = vars(reference), {}
        else:
            answers = load_answers(
                Path(request["file"]),
                section,
                lambda where: print(json.dumps({"loading": where}), file=report),
            )
            names, broken = answers.names, answers.broken
            print(json.dumps({"problems": answers.problems}), file=report)
        for exercise in filter(None, map(section.exercise, request["exercises"])):
            with isolated(names, section, exercise.name, broken):
                result = run_exercise(exercise, names, request["device"])
            print(json.dumps(result.as_json()), file=report)
        print(json.dumps({"done": True}), file=report)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
