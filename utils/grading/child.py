"""The process in which a learner's code runs: started, listened to, ended and explained.

The parent believes nothing that comes back: a line that is no JSON object ends the child. Reports
travel through a pipe, so that a full disk costs no verdict; when the parent dies, so does the
child, which sees its standard input close.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from utils.course import ROOT

START_S = 120.0  # for a child to import torch and the section, on a slow disk
READ_S = 120.0  # for one statement of the learner's file; the child itself gives up earlier
EXERCISE_S = 90.0  # for all tests of one exercise
LINE = 4_000_000  # bytes; a report is a few thousand
COMMAND = (sys.executable, "-m", "utils.grading.worker")
MUCH_GB = 1.5  # torch and the course take a third of that


class Garbage(Exception):
    """The child wrote what is no report."""


class Child:
    """One worker process; use it as a context, its messages as an iterator."""

    def __init__(self, request: dict[str, Any]) -> None:
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        self.grown_before = _peak_of_children()
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=env, start_new_session=True,
        )  # fmt: skip
        self.overdue = False  # it was this side that ended it
        self.limit = START_S
        self.last_words = b""
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        for work in (self._listen, self._overhear):
            threading.Thread(target=work, daemon=True).start()
        assert self.process.stdin  # a pipe, see above
        with contextlib.suppress(OSError):  # it may have died at once
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(patience=0)

    def _listen(self) -> None:
        pipe: IO[bytes] | None = self.process.stdout
        assert pipe
        with contextlib.suppress(OSError, ValueError):
            while line := pipe.readline(LINE):
                self._lines.put(line)
        self._lines.put(None)

    def _overhear(self) -> None:
        pipe: IO[bytes] | None = self.process.stderr
        assert pipe
        with contextlib.suppress(OSError, ValueError):
            while text := os.read(pipe.fileno(), 4096):
                self.last_words = (self.last_words + text)[-4096:]

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the child reports, as it comes. Ends when it has ended, or is overdue."""
        heard, waited = time.monotonic(), 0.0
        while True:
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                # what it started may outlive it and hold the pipe open
                waited = waited + 0.1 if self.process.poll() is not None else 0.0
                self.overdue = waited == 0.0 and time.monotonic() - heard > self.limit
                if self.overdue or waited > 1.0:
                    break
                continue
            if line is None:
                break
            heard = time.monotonic()
            yield _message(line)
        self.end()

    def end(self, patience: float = 0.5) -> None:
        """End the child and whatever it started."""
        if patience and not self.overdue:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)  # it may be on its way out: let it say how
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, 9)
            else:
                self.process.kill()
        self.process.wait()
        if self.process.stdin:  # the others are their threads'
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def why(self) -> tuple[str, str]:
        """(verdict, sentence) for a child that ended before its work was done."""
        grown = _peak_of_children()
        peak = grown if grown > self.grown_before else None
        return why(None if self.overdue else self.process.returncode, peak)

    def complaint(self) -> str:
        """The last line that it left on standard error."""
        lines = self.last_words.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Garbage(str(error)) from None
    if not isinstance(message, dict):
        raise Garbage("it is no object")
    return message


def _peak_of_children() -> float:
    """The most memory (GB) that any ended child of this process ever held."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9


def why(code: int | None, peak_gb: float | None) -> tuple[str, str]:
    """(verdict, sentence) of an exit status (None: overdue) and the memory that was held."""
    if code is None:
        return (
            "TIMEOUT",
            "the check did not end in time, not even when interrupted: is there an endless loop?",
        )
    if code == -9 and peak_gb is not None and peak_gb >= MUCH_GB:
        return "ERROR", (
            f"your code took too much memory: the system ended it at {peak_gb:.1f} GB."
            " Which tensor is far larger than its inputs?"
        )
    if code == -9:
        at = f" (it held {peak_gb:.1f} GB)" if peak_gb else ""
        return "ERROR", (
            f"the process was killed from outside, not by the time limit{at}: the machine ran out"
            " of memory, or somebody ended it"
        )
    if code < 0:
        names = {11: "a segmentation fault", 6: "abort", 4: "an illegal instruction"}
        return "ERROR", f"your code ended the process: {names.get(-code, f'signal {-code}')}"
    return "ERROR", f"your code ended the process (exit status {code})"
