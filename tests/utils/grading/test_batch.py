"""The process around a learner's code: whatever it does, every exercise has a verdict."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from utils.course import ROOT, find_section
from utils.grading import batch, child
from utils.grading.batch import check_section
from utils.grading.verdicts import Verdicts

SECTION = find_section("3.1.1")
RIGHT = """
def toy_loss(x, x_hat, importance):
    return (importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum()
"""
SLOW = RIGHT.replace("    return", "    import time\n    time.sleep(1)\n    return")
TWO = "def toy_forward(x, W, b):\n    return x\n" + RIGHT  # two exercises that need a child

# a child without torch: it takes the request and says what a test wants it to say
STUB = """
import json, os, sys, time
request = json.loads(sys.stdin.readline())
count = {count!r}
open(count, "a").write("x")
def say(**message):
    print(json.dumps(message), flush=True)
def result(name, **changes):
    say(id=name, result={{"verdict": "PASS", "expected": 1, "run": 1, "message": "", "advice": "",
        "tests": [], "mistake": None, "first_failure": None, **changes}})
first = request["exercises"][0]
{code}
"""
OPEN = "say(ready=True); say(problems=[])\n"
ONE = OPEN + "result(first); say(done=True)"


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Make the child do as the test says; gives the number of children that were started."""

    def install(code):
        count = tmp_path / "count"
        script = STUB.format(count=str(count), code=code)
        monkeypatch.setattr(child, "COMMAND", (sys.executable, "-I", "-S", "-c", script))
        return lambda: len(count.read_text()) if count.exists() else 0

    return install


def written(folder, code, name="answers.py"):
    path = folder / name
    path.write_text(code)
    return str(path)


def by_name(report):
    return {r["function"]: r for r in report.results}


@pytest.mark.parametrize(
    "rubbish",
    [
        'print("}{ rubbish", flush=True)',
        'print("[1, 2]", flush=True)',
        'print("[" * 100_000, flush=True)',
        'os.write(1, b"\\xff\\xfe\\x00" * 50 + b"\\n")',
        'say(id="3.1.1.z", result={})',
        'say(id=first, result={"verdict": "PASS"})',
        'result(first, verdict="SPLENDID")',
        "result(first, expected=None)",
        'result(first, tests=["PASS"])',
        'result(first, message=["a", "list"])',
        'say(what="?")',
    ],
)
def test_rubbish_costs_the_exercise_that_was_running(pretend, tmp_path, rubbish):
    ill = f"if first == '3.1.1.a':\n    {rubbish}\nelse:\n    result(first)\n"
    pretend(OPEN + ill + "say(done=True)")
    found = by_name(check_section(SECTION, written(tmp_path, TWO)))
    assert len(found) == len(SECTION.exercises)
    assert found["toy_forward"]["verdict"] == "ERROR"
    assert "cannot be read" in found["toy_forward"]["message"]
    assert found["toy_loss"]["verdict"] == "PASS"


def test_a_place_in_the_file_that_does_not_exist_is_rubbish_too(pretend, tmp_path):
    started = pretend("say(ready=True); say(reading=10 ** 9); sys.exit(1)")
    found = by_name(check_section(SECTION, written(tmp_path, TWO)))
    assert found["toy_loss"]["verdict"] == "ERROR" and started() == 1


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("", "the check could not start"),
        ("sys.exit('no module named torch')", "no module named torch"),
        ("time.sleep(60)", "nothing came of it in"),
    ],
)
def test_a_child_that_never_starts_is_one_cause_for_all(pretend, tmp_path, monkeypatch, code, says):
    monkeypatch.setattr(child, "START_S", 1.0)
    started = pretend(code)
    report = check_section(SECTION, written(tmp_path, TWO))
    found = by_name(report)
    assert started() == 1
    assert found["toy_forward"]["message"] == found["toy_loss"]["message"]
    assert (
        says in found["toy_loss"]["message"] and [found["toy_loss"]["message"]] == report.problems
    )


def test_a_file_that_kills_every_reader_is_given_up_with_one_cause(pretend, tmp_path):
    values = "".join(f"K{i} = min({i}, 1)\n" for i in range(6))
    uses = "def toy_forward(x, W, b):\n    return K0, K1, K2, K3, K4, K5\n" + RIGHT
    code = "at = [i for i in range(6) if str(i) not in request['deadly']][0]\n"
    code += "say(ready=True); say(reading=at); time.sleep(0.05); os.kill(os.getpid(), 11)"
    started = pretend(code)
    report = check_section(SECTION, written(tmp_path, values + uses))
    assert started() == batch.MOST_DEADLY + 1
    messages = {r["message"] for r in report.results if r["verdict"] == "ERROR"}
    assert len(messages) == 1
    assert "answers.py, line 4: your code ended the process" in messages.pop()


def test_the_parents_own_kill_is_a_timeout_and_another_is_not(pretend, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "EXERCISE_S", 1.0)
    pretend(OPEN + "time.sleep(60) if first == '3.1.1.a' else os.kill(os.getpid(), 9)")
    found = by_name(check_section(SECTION, written(tmp_path, TWO)))
    assert found["toy_forward"]["verdict"] == "TIMEOUT"
    assert "endless loop" in found["toy_forward"]["message"]
    assert found["toy_loss"]["verdict"] == "ERROR"
    assert "killed from outside" in found["toy_loss"]["message"]


def test_a_kill_is_called_memory_only_where_much_was_held():
    assert "too much memory: the system ended it at 7.9 GB" in child.why(-9, 7.9)[1]
    assert "killed from outside" in child.why(-9, 0.4)[1]
    assert "killed from outside" in child.why(-9, None)[1]
    assert child.why(None, 7.9)[0] == "TIMEOUT"
    assert "segmentation fault" in child.why(-11, 7.9)[1]


DEADLY_TO_READ = """
def die():
    import ctypes
    ctypes.string_at(0)

class Odd(BaseException):
    pass

def odd():
    raise Odd("odd")

def leave():
    import os
    os._exit(3)

A = die()
B = odd()
C = leave()

def toy_forward(x, W, b):
    return A + B + C
"""


def test_what_ends_the_process_while_read_is_named_and_the_rest_is_judged(tmp_path):
    path = Path(written(tmp_path, DEADLY_TO_READ + RIGHT))
    before, modified = path.read_bytes(), path.stat().st_mtime_ns
    report = check_section(SECTION, str(path))
    found = by_name(report)
    said = "\n".join(report.problems)
    assert "line 16: your code ended the process: a segmentation fault" in said
    assert "line 17: Odd: odd" in said
    assert "line 18: ProcessExit" in said
    assert found["toy_loss"]["verdict"] == "PASS"
    assert found["toy_forward"]["verdict"] == "ERROR"
    assert "toy_forward needs A from answers.py, line 16" in found["toy_forward"]["message"]
    assert path.read_bytes() == before and path.stat().st_mtime_ns == modified


# ------------------------------------------------------------------ nothing to do


def test_stubs_and_lost_cells_need_no_child(pretend, tmp_path):
    started = pretend("")
    report = check_section(SECTION, written(tmp_path, "# nothing yet\n"))
    assert {r["verdict"] for r in report.results} == {"UNATTEMPTED"}
    assert all(r["expected"] > 0 and r["run"] == 0 for r in report.results)
    nothing = {"nbformat": 4, "cells": [{"cell_type": "code", "source": "x = 1"}]}
    path = written(tmp_path, json.dumps(nothing), "empty.ipynb")
    lost = check_section(SECTION, path).results
    assert all(r["verdict"] == "ERROR" and "was its cell deleted" in r["message"] for r in lost)
    assert started() == 0


def test_what_did_not_change_is_not_tested_again(pretend, tmp_path):
    started = pretend(OPEN + "for e in request['exercises']:\n    result(e)\nsay(done=True)")
    kept = Verdicts(SECTION, "cpu", None, tmp_path / "kept")

    def check(code, verdicts=kept):
        report = check_section(SECTION, written(tmp_path, code), verdicts=verdicts)
        return {r["function"]: r["verdict"] for r in report.results}

    first = check(TWO)
    assert started() == 1 and first["toy_loss"] == "PASS"
    assert check(TWO) == first and started() == 1, "unchanged"
    assert check("# a remark\n" + TWO + "\nprint(3)\n") == first and started() == 1, "beside it"
    check(TWO.replace("return x", "return 2 * x"))
    assert started() == 2, "an answer changed"
    check("k = 2\n" + TWO.replace("return x", "return k * x"))
    check("k = 3\n" + TWO.replace("return x", "return k * x"))
    assert started() == 4, "a value that it needs changed"
    check(TWO, None)
    assert started() == 5, "--fresh"
    check(TWO, Verdicts(SECTION, "cpu", 1, kept.folder))
    assert started() == 6, "another seed"
    local = "from my_own_file import k\n" + TWO.replace("return x", "return k * x")
    check(local)
    check(local)
    assert started() == 8, "what comes from another file of theirs is never kept"
    stored = "M = torch.load('mine.pt')\n" + TWO.replace("return x", "return M @ x")
    check("import torch\n" + stored)
    check("import torch\n" + stored)
    assert started() == 10, "nor what rests on a file"


@pytest.mark.parametrize("odd", ["%load_ext autoreload", "!echo a \\\n b", "%timeit 1 + 1"])
def test_beside_a_magic_an_answer_that_changed_is_tested_again(pretend, tmp_path, odd):
    """IPython's own text of a cell has other lines than the learner's"""
    started = pretend(OPEN + "for e in request['exercises']:\n    result(e)\nsay(done=True)")
    kept = Verdicts(SECTION, "cpu", None, tmp_path / "kept")
    head = "# %% [markdown]\n# one\n# two\n\n# %%\n\n"
    for i, factor in enumerate((2, 2, 3)):
        code = TWO.replace("return x", f"return {factor} * x")
        check_section(SECTION, written(tmp_path, f"{head}{odd}\n{code}"), verdicts=kept)
        assert started() == (1, 1, 2)[i]


def test_what_one_exercise_leaves_switched_off_is_no_other_ones_fault(tmp_path):
    """nor is a verdict kept that another exercise's fault has made"""
    kept = Verdicts(SECTION, "cpu", None, tmp_path / "kept")
    off = (
        "import torch\ndef toy_forward(x, W, b):\n    torch.set_grad_enabled(False)\n    return x\n"
    )
    right = RIGHT.replace("def toy_loss", "def toy_loss")
    report = check_section(SECTION, written(tmp_path, off + right), verdicts=kept)
    found = by_name(report)
    assert found["toy_loss"]["verdict"] == "PASS" and found["toy_forward"]["verdict"] == "FAIL"


def test_another_model_is_another_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.grading.verdicts.ARTIFACTS", tmp_path)
    weights = tmp_path / "tiny" / "model.safetensors"
    bases = [Verdicts(SECTION, "cpu", None, tmp_path / "kept").base]
    weights.parent.mkdir()
    for content in (b"1", b"22"):
        weights.write_bytes(content)
        bases.append(Verdicts(SECTION, "cpu", None, tmp_path / "kept").base)
    assert len(set(bases)) == 3
    assert Verdicts(SECTION, "cpu", None, tmp_path / "kept").base == bases[-1]


@pytest.mark.parametrize("verdict", ["ERROR", "TIMEOUT"])
def test_errors_and_timeouts_are_never_kept(pretend, tmp_path, verdict):
    started = pretend(OPEN + f"result(first, verdict={verdict!r}); say(done=True)")
    kept = Verdicts(SECTION, "cpu", None, tmp_path / "kept")
    for _ in range(2):
        check_section(SECTION, written(tmp_path, RIGHT), verdicts=kept)
    assert started() == 2


def test_a_folder_that_cannot_be_written_costs_no_verdict(pretend, tmp_path):
    pretend(ONE)
    (tmp_path / "kept").write_text("a file where the folder should be")
    kept = Verdicts(SECTION, "cpu", None, tmp_path / "kept")
    report = check_section(SECTION, written(tmp_path, RIGHT), verdicts=kept)
    assert by_name(report)["toy_loss"]["verdict"] == "PASS"


def test_a_damaged_kept_verdict_is_made_anew(pretend, tmp_path):
    started = pretend(ONE)
    kept = Verdicts(SECTION, "cpu", None, tmp_path / "kept")
    check_section(SECTION, written(tmp_path, RIGHT), verdicts=kept)
    for path in kept.folder.iterdir():
        path.write_text(path.read_text()[:20])
    report = check_section(SECTION, written(tmp_path, RIGHT), verdicts=kept)
    assert started() == 2 and by_name(report)["toy_loss"]["verdict"] == "PASS"


# ------------------------------------------------------------------ several at once


def test_two_checks_at_once_do_not_meet(pretend, tmp_path):
    judge = "right = any('mean' in code for _, _, code in request['cells'])\n"
    judge += "result(first, verdict='PASS' if right else 'FAIL'); say(done=True)"
    pretend(OPEN + "time.sleep(0.3)\n" + judge)
    kept, found = tmp_path / "kept", {}

    def work(name, code):
        path = written(tmp_path, code, f"{name}.py")
        for _ in range(3):
            again = Verdicts(SECTION, "cpu", None, kept)
            found[name] = by_name(check_section(SECTION, path, verdicts=again))["toy_loss"]

    hand_ins = (("ann", RIGHT), ("bob", RIGHT.replace("mean", "sum")))
    jobs = [threading.Thread(target=work, args=job) for job in hand_ins]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert (found["ann"]["verdict"], found["bob"]["verdict"]) == ("PASS", "FAIL")
    assert not [p for p in kept.iterdir() if p.suffix != ".json"]


def children_of(pid):
    """The process ids whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_a_killed_check_leaves_a_whole_report_and_no_process(tmp_path):
    path, report = written(tmp_path, SLOW), tmp_path / "new folder" / "report.json"
    options = ["--fresh", "--against", path, "--json", str(report)]
    check = subprocess.Popen(
        [sys.executable, "-m", "utils.check", *options],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline, offspring = time.monotonic() + 120, []
    while time.monotonic() < deadline and not offspring:
        offspring = children_of(check.pid)
        time.sleep(0.05)
    time.sleep(1)
    check.send_signal(signal.SIGKILL)
    check.wait()
    data = json.loads(report.read_text())
    assert data["complete"] is False and data["status"] == "fail"
    assert data["total"] == len(SECTION.exercises) == len(data["exercises"]) + 1
    assert os.listdir(report.parent) == ["report.json"]
    assert offspring, "the child had started"
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in offspring):
        time.sleep(0.1)
    assert not [pid for pid in offspring if Path(f"/proc/{pid}").exists()]
    assert Path(path).read_text() == SLOW


POISON = """
import os, sys, torch
torch.set_default_dtype(torch.float64)
sys.modules["pytest"] = None
os.environ["PYTHONPATH"] = "nowhere"

def toy_loss(x, x_hat, importance):
    import ctypes
    ctypes.string_at(0)
"""


@pytest.mark.slow
def test_one_poison_submission_among_ten_harms_no_other(tmp_path):
    hand_ins = [RIGHT] * 4 + [POISON] + [RIGHT] * 5
    got = []
    for i, code in enumerate(hand_ins):
        path = written(tmp_path, code, f"hand_in_{i}.py")
        [result] = check_section(SECTION, path, only="toy_loss").results
        got.append(result["verdict"])
        assert Path(path).read_text() == code
    assert got == ["PASS"] * 4 + ["ERROR"] + ["PASS"] * 5
