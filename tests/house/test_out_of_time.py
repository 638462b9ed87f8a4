"""`--until`, as CI uses it: what has no time left is listed as not run; all else runs."""

import subprocess
import sys
import time

import pytest

from utils.course import ROOT


@pytest.mark.parametrize(("seconds", "expected"), [(-1, "skipped"), (3600, "passed")])
def test_until__tests_that_would_begin_later_are_named_and_skipped(seconds, expected):
    command = [sys.executable, "-m", "pytest", "-rs", "--no-fold-skipped", "-q"]
    until = f"--until={int(time.time()) + seconds}"
    where = ["-p", "no:cacheprovider", "tests/house/test_budgets.py", "tests/utils/test_files.py"]
    done = subprocess.run([*command, until, *where], capture_output=True, text=True, cwd=ROOT)
    said = done.stdout.splitlines()[-1]  # "23 passed in 1.20s"
    assert done.returncode == 0 and expected in said, done.stdout[-500:]
    assert ("passed" in said) is (seconds > 0)
    named = [line for line in done.stdout.splitlines() if "NOT RUN" in line]
    assert bool(named) is (seconds < 0)
    assert seconds > 0 or any("test_a_section_fits_one_sitting[3.2.1]" in line for line in named)
