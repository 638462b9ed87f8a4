"""A time limit for code that nobody has reviewed, also where it swallows every exception."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn


class OutOfTime(BaseException):
    """Raised inside the limited code; no `Exception`, so that `except Exception` lets it pass."""


class ProcessExit(Exception):
    """Raised in place of `os._exit`, which would end the learner's kernel."""


def _stubborn(_frame: FrameType, _event: str, _arg: Any) -> NoReturn:
    raise OutOfTime


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after `seconds`.

    On the main thread of a POSIX system an interval timer fires again and again; from the
    fourth time on every *line* of the running code raises, so that even `while True: try: …
    except: pass` ends. Elsewhere (Windows, other threads) the exception is sent once to the
    thread. A single call into C that does not return can't be interrupted by either.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        yield from _by_signal(seconds)
    else:
        yield from _by_thread(seconds)


def _by_signal(seconds: float) -> Iterator[None]:
    fired = 0

    def ring(_signum: int, frame: FrameType | None) -> NoReturn:
        nonlocal fired
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
    target = ctypes.c_ulong(threading.get_ident())
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    timer = threading.Timer(seconds, raise_in, (target, ctypes.py_object(OutOfTime)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
