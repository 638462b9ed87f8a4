"""`make gpu`: a line per thing measured; what is missing, fails or hangs costs only its line."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tools import gpu
from utils.course import ROOT

SCRIPT = [sys.executable, str(ROOT / "tools" / "gpu.py")]


def test_gpu__measures_at_toy_sizes_on_a_cpu(tmp_path):
    done = subprocess.run(
        [*SCRIPT, "--device", "cpu", "--only", "toy trainer"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("toy trainer") and " passed " in first and "loss falls" in first
    assert last.endswith("0 failed")


def test_gpu__says_where_there_is_none():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one here")
    done = subprocess.run(SCRIPT, capture_output=True, text=True)
    assert done.returncode == 1 and "sees no GPU here; `--device cpu`" in done.stderr


def test_gpu__skips_by_name_what_is_not_installed(monkeypatch):
    find = importlib.util.find_spec
    absent = ("sae_lens", "tqdm")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else find(name)
    )
    lines = {line.name: line for line in gpu.LINES}
    outcome = gpu.in_process(lines["dashboards"], "cpu", 60)
    assert outcome == ("skipped", "not installed: sae_lens, tqdm")
    assert gpu.in_process(lines["machine"], "cpu", 2) == ("skipped", "no time left")


def test_gpu__a_failure_is_told_in_its_line(capsys):
    def breaks(device, gpu):
        raise AssertionError("rows are\n0.1 off")

    gpu.inside(gpu.Line("graph", (), 9, breaks), "cpu")
    assert '["failed", "AssertionError: rows are 0.1 off"]' in capsys.readouterr().out

    def lacks(device, gpu):
        raise ModuleNotFoundError("No module named 'einops'", name="einops")

    def leaves(device, gpu):
        raise SystemExit("set it up first")

    gpu.inside(gpu.Line("graph", (), 9, leaves), "cpu")
    assert '["failed", "SystemExit: set it up first"]' in capsys.readouterr().out
    gpu.inside(gpu.Line("graph", (), 9, lacks), "cpu")
    assert '["skipped", "not installed: einops"]' in capsys.readouterr().out


HANGS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
time.sleep(60)
"""


def test_gpu__a_line_that_hangs_is_stopped_with_all_that_it_started(tmp_path, monkeypatch):
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    assert gpu.in_process(gpu.LINES[0], "cpu", 6) == ("failed", "not done after 6 s")
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_gpu__packages_of_the_users_own_path_are_found(tmp_path, monkeypatch):
    """clusters put torch on PYTHONPATH"""
    (tmp_path / "only_here.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = tmp_path / "script.py"
    script.write_text("import only_here, json; print('@@result@@' + json.dumps(('passed', '')))")
    monkeypatch.setattr(gpu, "__file__", str(script))
    assert gpu.in_process(gpu.LINES[0], "cpu", 60) == ("passed", "")


def test_gpu__fits_its_budget():
    assert gpu.BUDGET <= 480 and all(line.seconds <= 300 for line in gpu.LINES)
