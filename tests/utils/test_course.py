"""A section is found by any of its names, its source read once, and handed out in copies."""

import subprocess
import sys

import pytest

from utils.course import ROOT, CourseError, find_section, notebooks, read_source


@pytest.mark.parametrize("section", notebooks(), ids=lambda s: s.number)
def test_find_section__by_every_name(section):
    for name in (section.number, section.path, section.stem, f"{section.path}.py"):
        assert find_section(name) is section
    for room in ("exercises", "work"):
        assert find_section(str(section.notebook(room))) is section


@pytest.mark.parametrize(
    "name", ["3.1.99", "part31_superposition/__init__", "part31_superposition/s1_", "utils/course"]
)
def test_find_section__lists_what_there_is(name):
    with pytest.raises(CourseError, match=r"3\.1\.1  part31_superposition/s1"):
        find_section(name)


def test_find_section__by_path_reads_one_source_only():
    code = """
import jupytext
seen, read = [], jupytext.read
jupytext.read = lambda path, **options: seen.append(path.name) or read(path, **options)
from utils.course import find_section
find_section("part31_superposition/s2_correlated_features")
find_section("part31_superposition/s2_correlated_features")
print(*seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["s2_correlated_features.py"], done.stderr[-500:]


def test_read_source__is_the_caller_s_own():
    path = find_section("3.1.1").source
    first = read_source(path)
    first.cells[0].source, first.cells[1].metadata["tags"] = "spoilt", ["spoilt"]
    again = read_source(path)
    assert again.cells[0].source != "spoilt" and again.cells[1].metadata.get("tags") != ["spoilt"]
