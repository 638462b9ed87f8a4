"""A time limit for code that nobody has reviewed, also where it swallows every exception."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

IMPORT_PATIENCE_S = 60.0  # an import cut in the middle leaves a package that never works again
LOAD_PATIENCE = 3.0  # times the limit by the clock, for a process that a busy machine holds up


class OutOfTime(BaseException):
    """Raised inside the limited code; no `Exception`, so that `except Exception` lets it pass."""


class ProcessExit(Exception):
    """Raised in place of `os._exit`, which would end the learner's kernel."""


def _stubborn(_frame: FrameType, _event: str, _arg: Any) -> NoReturn:
    raise OutOfTime


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after `seconds` of work, or of waiting a few times as long.

    Work is this process's own time, so that a busy machine is not held against the code. An
    import that is under way is given time to end: the library that it loads would stay broken.

    On the main thread of a POSIX system an interval timer fires again and again; from the
    fourth time on every *line* of the running code raises, so that even `while True: try: …
    except: pass` ends. Elsewhere (Windows, other threads) the exception is sent once to the
    thread. A single call into C that does not return can't be interrupted by either.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        yield from _by_signal(seconds)
    else:
        yield from _by_thread(seconds)


class _Patience:
    """Decides whether code that runs since this was made has had its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began, self.worked = seconds, time.monotonic(), time.process_time()

    def is_over(self, frame: FrameType | None) -> bool:
        """Whether the code that runs in `frame` should end."""
        waited = time.monotonic() - self.began
        if _is_importing(frame) and waited < self.seconds + IMPORT_PATIENCE_S:
            return False
        worked = time.process_time() - self.worked
        return worked >= self.seconds or waited >= LOAD_PATIENCE * self.seconds


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _by_signal(seconds: float) -> Iterator[None]:
    fired, patience = 0, _Patience(seconds)

    def ring(_signum: int, frame: FrameType | None) -> None:
        nonlocal fired
        if not fired and not patience.is_over(frame):
            return
        fired += 1
        if fired > 3:
            while frame is not None:
                frame.f_trace = _stubborn
                frame = frame.f_back if frame.f_code.co_filename != __file__ else None
            sys.settrace(_stubborn)
        raise OutOfTime

    tracer, before = sys.gettrace(), signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.settrace(tracer)
        signal.signal(signal.SIGALRM, before)


def _by_thread(seconds: float) -> Iterator[None]:
    thread, done, patience = threading.get_ident(), threading.Event(), _Patience(seconds)

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            wait = 0.2
            if patience.is_over(sys._current_frames().get(thread)):
                target, out = ctypes.c_ulong(thread), ctypes.py_object(OutOfTime)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(target, out)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextlib.contextmanager
def no_process_exit() -> Iterator[None]:
    """Turn `os._exit` and `os.abort` inside the block into an ordinary exception."""

    def refuse(*_: object) -> NoReturn:
        raise ProcessExit("the code tried to end the whole process")

    leave, abort = os._exit, os.abort
    os._exit = os.abort = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit, os.abort = leave, abort
