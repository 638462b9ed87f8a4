"""A notebook's `check(...)` and the checker of files say the same of every form of an answer."""

import json
import re
from textwrap import indent

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from utils.course import find_section
from utils.grading.learner import isolated, load_answers
from utils.grading.render import WORDS
from utils.grading.run import run_exercise

SECTION = find_section("3.1.1")
RIGHT = "(importance * (x - x_hat) ** 2).mean(dim=(0, 2)).sum()"
FORWARD = "torch.relu((x.unsqueeze(-2) @ W.mT @ W).squeeze(-2) + b)"

PLAIN = f"def toy_loss(x, x_hat, importance):\n    return {RIGHT}"
WRONG = "def toy_loss(x, x_hat, importance):\n    return ((x - x_hat) ** 2).mean(dim=(0, 2)).sum()"
SQUARE = "def toy_loss(x, x_hat, importance):\n    return square(x, x_hat, importance)"
SCALED = f"def toy_loss(x, x_hat, importance):\n    return {{}} * {RIGHT}"

FORMS = {  # name: (the learner's code cells, the exercise, the verdict)
    "plain": ([PLAIN], "toy_loss", "PASS"),
    "wrong": ([WRONG], "toy_loss", "FAIL"),
    "%%time above it": (["%%time\n" + PLAIN], "toy_loss", "PASS"),
    "%%capture above it": (["%%capture out\n" + PLAIN], "toy_loss", "PASS"),
    "%time before a value": (["%time scale = 1.0\n" + SCALED.format("scale")], "toy_loss", "PASS"),
    "magics beside it": (["%pwd\n!true\n" + PLAIN], "toy_loss", "PASS"),
    "a lambda": ([f"toy_loss = lambda x, x_hat, importance: {RIGHT}"], "toy_loss", "PASS"),
    "a wrong lambda": (["toy_loss = lambda x, x_hat, importance: x.sum()"], "toy_loss", "FAIL"),
    "a partial": (
        [
            f"from functools import partial\ndef general(p, x, x_hat, importance):\n"
            f"    return {RIGHT.replace('** 2', '** p')}\ntoy_loss = partial(general, 2)"
        ],
        "toy_loss",
        "PASS",
    ),
    "another name for it": (
        [PLAIN.replace("toy_loss", "mine"), "toy_loss = mine"],
        "toy_loss",
        "PASS",
    ),
    "decorated by a call": (
        ["def same(f):\n    return f", PLAIN.replace("toy_loss", "mine"), "toy_loss = same(mine)"],
        "toy_loss",
        "PASS",
    ),
    "a helper that is a lambda": (
        [f"square = lambda x, x_hat, importance: {RIGHT}", SQUARE],
        "toy_loss",
        "PASS",
    ),
    "a helper below": ([SQUARE, PLAIN.replace("toy_loss", "square")], "toy_loss", "PASS"),
    "a helper that is lost": ([SQUARE], "toy_loss", "ERROR"),
    "two constants at once": (
        ["A, B = 1, 2", SCALED.format("(B - A)")],
        "toy_loss",
        "PASS",
    ),
    "a lower-case constant": (["scale = 2 - 1", SCALED.format("scale")], "toy_loss", "PASS"),
    "a constant that is wrong": (["scale = 2", SCALED.format("scale")], "toy_loss", "FAIL"),
    "a constant that is computed": (
        ["import math\nscale = math.exp(0)", SCALED.format("scale")],
        "toy_loss",
        "PASS",
    ),
    "a table filled in a loop": (
        ["table = {}\nfor k in range(3):\n    table[k] = k", SCALED.format("table[1]")],
        "toy_loss",
        "PASS",
    ),
    "a list that grows": (
        ["rows = []\nrows.append(1)", SCALED.format("rows[0]")],
        "toy_loss",
        "PASS",
    ),
    "an import in try": (
        [
            "try:\n    from no_such_package import mean\nexcept ImportError:\n"
            "    def mean(t):\n        return t.mean(dim=(0, 2))",
            "def toy_loss(x, x_hat, importance):\n"
            "    return mean(importance * (x - x_hat) ** 2).sum()",
        ],
        "toy_loss",
        "PASS",
    ),
    "def under if": (
        ["import torch\nif torch.ones(1).item() == 1:\n" + indent(PLAIN, "    ")],
        "toy_loss",
        "PASS",
    ),
    "an object that can be called": (
        [
            "class Loss:\n    def __call__(self, x, x_hat, importance):\n"
            f"        return {RIGHT}\n\nloss = Loss()",
            "def toy_loss(x, x_hat, importance):\n    return loss(x, x_hat, importance)",
        ],
        "toy_loss",
        "PASS",
    ),
    "such an object as the answer": (
        [
            "class Loss:\n    def __call__(self, x, x_hat, importance):\n"
            f"        return {RIGHT}\n\ntoy_loss = Loss()"
        ],
        "toy_loss",
        "PASS",
    ),
    "annotations that are never made": (
        [
            "from __future__ import annotations",
            f"def toy_loss(x: Nothing[here], x_hat: Nor, importance: Here):\n    return {RIGHT}",
        ],
        "toy_loss",
        "PASS",
    ),
    "a dataclass with such annotations": (
        [
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Scale:\n    by: float = 1.0",
            SCALED.format("Scale().by"),
        ],
        "toy_loss",
        "PASS",
    ),
    "a type with a name": (
        [
            "from jaxtyping import Float\nfrom torch import Tensor\n"
            'Rows = Float[Tensor, "batch inst feature"]\n'
            f"def toy_loss(x: Rows, x_hat: Rows, importance):\n    return {RIGHT}"
        ],
        "toy_loss",
        "PASS",
    ),
    "a module under another name": (
        [
            "import torch as t\n"
            f"def toy_forward(x, W, b):\n    return {FORWARD.replace('torch', 't')}"
        ],
        "toy_forward",
        "PASS",
    ),
    "nothing written": (["print('hello')"], "toy_loss", "UNATTEMPTED"),
}  # fmt: skip


def in_notebook(cells, name, capsys):
    """The verdict that the cell `check(...)` shows."""
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config, user_ns={})
    opening = "from utils.notebook import open_section\n"
    opening += f"check = open_section({SECTION.path!r}, globals())"
    for cell in [opening, *cells]:
        shell.run_cell(cell)
    capsys.readouterr()
    if SECTION.exercise(name).kind == "prediction":  # told in words of its own, after the run
        check = shell.user_ns["check"]
        return check._run(SECTION.exercise(name), 10.0)[0].verdict
    assert shell.run_cell(f"check({name!r})").success
    said = capsys.readouterr().out
    [verdict] = [v for v, words in WORDS.items() if re.search(f"{name}: {words}", said)]
    return verdict


def in_file(cells, name, folder):
    """The verdict on the same cells as a file."""
    path = folder / "answers.ipynb"
    code = [{"cell_type": "code", "source": c, "metadata": {}, "outputs": []} for c in cells]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": code}))
    answers = load_answers(path, SECTION)
    exercise = SECTION.exercise(name)
    if name in answers.broken and "was its cell deleted" not in answers.broken[name]:
        return "ERROR"
    with isolated(answers.names, SECTION, name, {}):
        return run_exercise(exercise, answers.names).verdict


def predictions():
    """Ways to write a right prediction that are no plain constant."""
    for exercise in SECTION.exercises:
        if exercise.kind == "prediction":
            right = getattr(SECTION.reference(), exercise.name)
            if exercise.choices:
                yield f"choice = {right!r}\n{exercise.name} = choice if True else 0", exercise.name
            else:
                yield f"import math\n{exercise.name} = {right!r} * math.exp(0)", exercise.name
                yield f"{exercise.name} = 3 * {right!r} / 3", exercise.name


FORMS |= {
    f"{name}, an expression ({i})": ([code], name, "PASS")
    for i, (code, name) in enumerate([*predictions()][:4])
}


@pytest.mark.parametrize("form", FORMS)
def test_notebook_and_file_agree(form, tmp_path, capsys):
    cells, name, verdict = FORMS[form]
    assert in_file(cells, name, tmp_path) == verdict
    assert in_notebook(cells, name, capsys) == verdict
