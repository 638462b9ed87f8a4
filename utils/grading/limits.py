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

SENDS = 50  # of the exception to a thread that goes on: code that swallows it so often has won


class OutOfTime(BaseException):
    """Raised inside the limited code; no `Exception`, so that `except Exception` lets it pass."""


class ProcessExit(Exception):
    """Raised in place of `os._exit`, which would end the learner's kernel."""


OURS = (f"{os.sep}_pytest{os.sep}", f"{os.sep}pluggy{os.sep}", contextlib.__file__, __file__)


def _is_ours(frame: FrameType) -> bool:
    """Whether this is what runs the limited code: it must get the exception and go on."""
    return any(place in frame.f_code.co_filename for place in OURS)


class _Breaker:
    """Raises OutOfTime at a line of the limited code, in its `except` and `finally` clauses, too.

    Python takes a trace function off when it raises, so each call of `arm` gives one exception.
    With another number of lines passed over each time, one of them hits the line from which
    no clause of the code catches it.
    """

    def __init__(self) -> None:
        self.skip = 0

    def arm(self, frame: FrameType | None, skip: int) -> None:
        """Let a line raise, in `frame` or in any function of the limited code that called it."""
        self.skip = skip
        while frame is not None and not _is_ours(frame):
            frame.f_trace = self.trace
            frame = frame.f_back
        sys.settrace(self.trace)

    def trace(self, frame: FrameType, event: str, _arg: Any) -> Any:
        """Raise at a line, not while an exception is on its way: a `try` would swallow both."""
        if event == "line" and not _is_ours(frame):
            if not self.skip:
                raise OutOfTime
            self.skip -= 1
        return self.trace

    def profile(self, frame: FrameType, event: str, _arg: Any) -> None:
        """Where a function of the limited code ends, its caller is next."""
        if event == "return":
            self.arm(frame.f_back, self.skip)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after `seconds` of work, or of waiting a few times as long.

    Work is this process's own time, so that a busy machine is not held against the code. An
    import that is under way is given time to end: the library that it loads would stay broken.

    On the main thread of a POSIX system an interval timer fires again and again; from the
    fourth time on *lines* of the running code raise, also inside `except`, so that even
    `while True: try: sleep(1) except: pass` ends. Elsewhere (Windows, other threads) the exception
    is sent to the thread for ten seconds, which code that swallows all can outlive. A single call
    into C that does not return can't be interrupted by either.
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
    fired, patience, breaker = 0, _Patience(seconds), _Breaker()

    def ring(_signum: int, frame: FrameType | None) -> None:
        nonlocal fired
        sys.settrace(None)  # this function is not what should be interrupted
        sys.setprofile(None)
        over = fired or patience.is_over(frame)
        fired += bool(over)
        if fired > 3:
            sys.setprofile(breaker.profile)
            breaker.arm(frame, skip=fired % 4)
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # the next one, never inside this one
        if over:
            raise OutOfTime

    tracer, profiler = sys.gettrace(), sys.getprofile()
    before, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    around, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.setprofile(profiler)
        sys.settrace(tracer)
        signal.signal(signal.SIGALRM, before)
        if around:  # a limit around this one goes on
            left = around - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.01))


def _by_thread(seconds: float) -> Iterator[None]:
    thread, done, patience = threading.get_ident(), threading.Event(), _Patience(seconds)
    target, out = ctypes.c_ulong(thread), ctypes.py_object(OutOfTime)

    def watch() -> None:
        wait, sent = seconds, 0
        while not done.wait(wait) and sent < SENDS:
            wait = 0.2
            if sent or patience.is_over(sys._current_frames().get(thread)):
                sent += 1
                ctypes.pythonapi.PyThreadState_SetAsyncExc(target, out)

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
