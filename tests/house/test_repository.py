"""The repository checks itself: nothing drifts, blanks are blank, mistakes are caught and named."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import jaxtyping
import nbformat
import pytest

from tools import build, notebooks
from utils.course import PARTS, ROOT, Exercise, Section, sections
from utils.course import notebooks as all_notebooks
from utils.grading.mistakes import mistakes_of, sentence
from utils.grading.run import run_exercise, run_tests

SECTIONS = sections()
PAIRS = all_notebooks()  # sections and routes
EXERCISES = [e for s in SECTIONS for e in s.exercises]
FUNCTIONS = [e for e in EXERCISES if e.kind == "function"]
HOME = {e.name: s for s in SECTIONS for e in s.exercises}
WRONG = [(e, name) for s in SECTIONS for e in s.exercises for name in mistakes_of(s, e)]
OTHER_SEED = 83412  # the second numbers of every check, fixed here: CI says the same every time
MIN_MISTAKES = 6  # per function


def names(exercise: Exercise) -> dict[str, object]:
    """The reference's names for an exercise's section, as a fresh dictionary."""
    return dict(vars(HOME[exercise.name].reference()))


def by_id(value: object) -> str | None:
    if isinstance(value, Exercise):
        return value.name
    return value.stem if isinstance(value, Section) else None


def test_notebooks_and_readme_are_in_step_with_the_sources():
    assert build.check() == []


@pytest.mark.parametrize("seed", [0, OTHER_SEED])
@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_every_reference_passes(exercise, seed):
    section = HOME[exercise.name]
    result = run_exercise(exercise, vars(section.reference()), seed=seed, section=section)
    assert result.verdict == "PASS", f"{result.first_failure}: {result.message}"
    assert result.run == result.expected > 0


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=by_id)
def test_every_blank_fails_with_not_implemented_and_nothing_else(exercise):
    space = names(exercise)
    exec(compile(notebooks.blank(exercise), exercise.name, "exec"), space)
    result = run_exercise(exercise, space)
    assert result.verdict == "UNATTEMPTED"
    assert {t.status for t in run_tests(HOME[exercise.name], exercise, space).outcomes} == {
        "UNATTEMPTED"
    }


@pytest.fixture
def as_in_a_notebook():
    """No checks of annotations, which cost a fifth: other tests make them on every function."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("as_in_a_notebook")
@pytest.mark.parametrize(("exercise", "mistake"), WRONG, ids=by_id)
def test_every_mistake_is_rejected_and_named(exercise, mistake):
    section = HOME[exercise.name]
    wrong = mistakes_of(section, exercise)[mistake]
    answer = wrong() if exercise.kind == "prediction" else wrong
    mine = {**names(exercise), exercise.name: answer}
    result = run_exercise(exercise, mine, seed=0, section=section)
    assert result.verdict in ("FAIL", "ERROR"), f"the tests let {mistake} pass"
    assert result.mistake == mistake, f"{mistake} was called {result.mistake}"
    assert result.message


@pytest.mark.parametrize("exercise", EXERCISES, ids=by_id)
def test_every_exercise_has_mistakes_with_a_sentence_each(exercise):
    found = mistakes_of(HOME[exercise.name], exercise)
    wanted = MIN_MISTAKES
    if exercise.kind == "prediction":
        wanted = len(exercise.choices) - 1 if exercise.choices else 2
    assert len(found) >= wanted
    short = [name for name, fn in found.items() if len(sentence(fn)) < 40]
    assert not short, f"these need a sentence that explains: {short}"
    if exercise.kind == "function":
        expected = list(inspect.signature(names(exercise)[exercise.name]).parameters)
        for name, fn in found.items():
            assert list(inspect.signature(fn).parameters) == expected, f"{name}: other parameters"


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=by_id)
def test_every_exercise_has_two_or_three_hints_types_and_a_docstring(exercise):
    [node] = ast.parse(exercise.source).body
    assert 2 <= len(exercise.hints) <= 3
    assert ast.get_docstring(node)
    functions = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
    for fn in functions:
        untyped = [
            a.arg for a in fn.args.args if a.annotation is None and a.arg not in ("self", "ctx")
        ]
        assert not untyped and fn.returns is not None, (
            f"{fn.name}: type every argument and the result"
        )


@pytest.mark.parametrize("section", SECTIONS, ids=by_id)
def test_every_exercise_has_a_test_without_the_reference_and_every_test_says_its_property(section):
    tests = [
        n for n in ast.parse(section.test_file().read_text()).body if isinstance(n, ast.FunctionDef)
    ]
    tests = [t for t in tests if t.name.startswith("test_")]
    known = {e.name for e in section.exercises}
    for test in tests:
        assert test.name.removeprefix("test_").partition("__")[0] in known, (
            f"{test.name}: of no exercise"
        )
        assert ast.get_docstring(test), f"{test.name}: the docstring is what the learner reads"
    for exercise in section.exercises:
        own = [t for t in tests if t.name.startswith(f"test_{exercise.name}__")]
        free = [t for t in own if "ref" not in {a.arg for a in t.args.args}]
        assert free or exercise.kind == "prediction", (
            f"{exercise.name}: all its tests use the reference"
        )
        assert len(own) >= (2 if exercise.kind == "function" else 1)


@pytest.mark.parametrize("part", PARTS)
def test_importing_sections_does_nothing(part):
    code = f"""
import importlib, sys, torch
before = torch.get_rng_state()
def state():
    return torch.get_num_threads(), torch.get_default_device(), torch.is_grad_enabled()
settings = state()
for name in {[s.path.replace("/", ".") for s in PAIRS if s.path.startswith(part)]}:
    importlib.import_module(name)
    assert torch.equal(before, torch.get_rng_state()), f"{{name}} draws random numbers"
    assert settings == state(), name
    heavy = {{"sae_lens", "transformer_lens", "transformers"}} & set(sys.modules)
    assert {part == "part32_interp_with_saes"} or not heavy, f"{{name}} imports {{heavy}}"
import utils.course
assert "rfc3987_syntax" not in sys.modules, "seconds of every start: see utils/__init__.py"
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == "" and done.stderr == ""


@pytest.mark.parametrize("section", PAIRS, ids=by_id)
def test_the_starter_notebook_runs_up_to_its_first_blank(section, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    if section.number != "3.2.1":  # one on SmolLM2, as all solutions are
        monkeypatch.setenv("COURSE_PROFILE", "tiny")
    nb = nbformat.read(section.notebook("exercises"), as_version=4)
    first = next(i for i, c in enumerate(nb.cells) if "exercise" in c.metadata.get("tags", []))
    nb.cells = nb.cells[: first + 2]  # the blank, and the check below it
    NotebookClient(nb, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(str(o.get("data", {}).get("text/plain", "")) for o in nb.cells[-1].outputs)
    assert "not attempted yet" in said


@pytest.mark.parametrize("section", PAIRS, ids=by_id)
def test_notebooks_hold_no_path_no_plotly_js_and_starters_no_output(section):
    for room in ("exercises", "solutions"):
        path = section.notebook(room)
        assert build.problems_in(path.read_text(), path.name) == []
        nb = nbformat.read(path, as_version=4)
        outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
        assert room == "solutions" or not outputs
        for output in outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", "a warning or a progress bar is stored"
            data = output.get("data", {})
            assert not any("Plotly.newPlot" in str(v) for k, v in data.items() if k == "text/html")
            if "application/vnd.plotly.v1+json" in data:
                assert "image/png" in data, "a figure without a static picture"


def test_building_twice_writes_the_same_bytes():
    for section in PAIRS:
        assert build.exercise_text(section) == build.exercise_text(section)
        nb = notebooks.notebook(section, solved=True)
        assert build.with_old_outputs(section, nb)
        assert notebooks.to_text(nb) == section.notebook("solutions").read_text()


def test_a_later_section_changes_nothing_in_an_earlier_one():
    before = {
        s.path: {k: v for k, v in vars(s.reference()).items() if callable(v)} for s in SECTIONS
    }
    for section in reversed(SECTIONS):
        section.reference()
    for section in SECTIONS:
        for name, value in before[section.path].items():
            assert getattr(section.reference(), name) is value


def test_ids_and_names_are_unique():
    for key in ("id", "name"):
        values = [getattr(e, key) for e in EXERCISES]
        assert len(values) == len(set(values)), f"an exercise {key} is used twice"
    assert all(e.id.startswith(s.number + ".") for s in SECTIONS for e in s.exercises)
    assert all(
        1 <= e.difficulty <= 5 and 1 <= e.importance <= 5 and e.minutes > 0 for e in EXERCISES
    )


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."]])
def test_linters_are_clean(command):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
