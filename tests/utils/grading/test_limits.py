"""The time limit: it ends loops and waits, and it never cuts an import in the middle."""

import contextlib
import signal
import sys
import threading
import time

import pytest

from utils.grading.limits import OutOfTime, time_limit


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def on_main_thread(work):
    with time_limit(0.1):
        work()


def on_another_thread(work):
    raised = []

    def run():
        try:
            on_main_thread(work)
        except OutOfTime as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def sleeps_and_swallows():
    while True:
        try:  # noqa: SIM105
            time.sleep(0.5)
        except:  # noqa: E722
            pass


def sleeps_in_a_with():
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.3)


def swallows_what_a_function_raises():
    while True:
        try:
            sleeps_and_swallows()
        except BaseException:
            continue


def goes_on_from_finally():
    while True:
        try:
            time.sleep(1)
        except BaseException as error:
            print(error)
        finally:
            continue  # noqa: B012


STUBBORN = [
    sleeps_and_swallows,
    sleeps_in_a_with,
    swallows_what_a_function_raises,
    goes_on_from_finally,
]
WHERE = pytest.mark.parametrize("where", [on_main_thread, on_another_thread])


@WHERE
def test_work_ends(where):
    with pytest.raises(OutOfTime):
        where(lambda: busy(60))


@WHERE
def test_waiting_ends(where):
    def wait():
        while True:
            time.sleep(0.01)

    with pytest.raises(OutOfTime):
        where(wait)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer signal")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("work", STUBBORN)
def test_code_that_sleeps_and_swallows_every_exception_ends(work):
    """also where the swallowing is done in several functions, or by `finally: continue`"""
    before = sys.gettrace(), sys.getprofile()
    with pytest.raises(OutOfTime):
        on_main_thread(work)
    assert (sys.gettrace(), sys.getprofile()) == before


@WHERE
def test_an_import_is_not_cut_in_the_middle(where, tmp_path, monkeypatch):
    package = tmp_path / "slow_package"
    package.mkdir()
    both = "from slow_package import part\nimport slow_package.late\n"
    (package / "__init__.py").write_text(both)
    (package / "part.py").write_text("value = 1\n")
    loop = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
    (package / "late.py").write_text(loop)
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        import slow_package

        assert slow_package.part.value == 1

    try:
        where(work)
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "slow_package"]:
            del sys.modules[name]


@WHERE
def test_a_limit_inside_another_leaves_the_outer_one_on(where):
    """a test has one of its own, inside of the search for the mistake"""

    def work():
        with time_limit(60):
            busy(0.01)
        busy(60)

    with pytest.raises(OutOfTime):
        where(work)


def test_what_ends_in_time_is_left_alone():
    with time_limit(60):
        busy(0.01)
    time.sleep(0.05)  # and nothing rings afterwards
