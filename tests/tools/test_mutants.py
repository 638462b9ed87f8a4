"""The tool that tries the tests: its wrong versions are wrong in the ways that it names."""

import ast

import pytest

from tools.mutants import load, mutants
from utils.course import find_exercise, find_section

SOURCE = '''
def shares(x, threshold: float = 0.5):
    """Says nothing: 1 > 0."""
    eps = 1e-8
    total = x.abs().sum(dim=-1, keepdim=True).clamp(min=eps)
    for row in x:
        print(row)
    return (x / total).T > threshold
'''


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("other comparison", "(x / total).T >= threshold"),
        ("other operator", "(x * total).T > threshold"),
        ("operands swapped", "(total / x).T > threshold"),
        ("no abs", "x.sum(dim=-1, keepdim=True)"),
        ("mean for sum", "x.abs().mean(dim=-1, keepdim=True)"),
        ("1e-06 for 1e-08", "eps = 1e-06"),
        ("no clamp", "total = x.abs().sum(dim=-1, keepdim=True)\n"),
        ("no transpose", "return x / total > threshold"),
        ("reshape for a transpose", "m.reshape(m.transpose(-1, -2).shape)"),
        ("the loop stops after its first pass", "print(row)\n        break"),
    ],
)
def test_each_way_of_going_wrong_is_tried(change, line):
    found = [m for m in mutants(SOURCE) if m.change.endswith(change)]
    assert any(line in m.source for m in found), [m.source for m in found]


def test_every_version_can_be_read_is_another_one_and_keeps_docstring_and_signature():
    found = mutants(SOURCE)
    right = ast.unparse(ast.parse(SOURCE))
    assert len({m.source for m in found}) == len(found) > 15
    for mutant in found:
        [node] = ast.parse(mutant.source).body
        assert mutant.source != right
        assert ast.get_docstring(node) == "Says nothing: 1 > 0."
        assert "threshold: float=0.5" in mutant.source


def test_a_version_that_cannot_be_defined_is_left_out():
    exercise = find_exercise("toy_forward")
    names = dict(vars(find_section(exercise.section).reference()))
    assert load(exercise, "def toy_forward(x: 1 / 0): return x", names) is None
    assert load(exercise, "def toy_forward(x): return x", names)(3) == 3
