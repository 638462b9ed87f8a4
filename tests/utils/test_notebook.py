"""What a person is told in a notebook: cells run in a real IPython, in a process of its own."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from utils.course import find_section, sections
from utils.grading.kernel import Watch, experiments
from utils.grading.shows import side_by_side
from utils.notebook import Check

SECTION = find_section("3.1.1")
FUNCTION = next(e for e in SECTION.exercises if e.kind == "function")
CHOICE = next(e for e in SECTION.exercises if e.choices)
RIGHT = getattr(SECTION.reference(), CHOICE.name)
WRONG = next(c for c in CHOICE.choices if c != RIGHT)
NAME, CALL = FUNCTION.name, f"check({FUNCTION.name})"
DEMO = experiments(SECTION)[CHOICE.name]
RUN = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

shell, said = InteractiveShell.instance(colors="NoColor"), []
for cell in json.load(sys.stdin):
    with capture_output() as out:
        shell.run_cell(cell, store_history=True)
    shown = [o.data.get("text/markdown") or o.data["text/plain"] for o in out.outputs]
    said.append(out.stdout + "\\n".join(map(str, shown)))
print(json.dumps(said))
"""
SET_UP = f"""
from utils.notebook import open_section
check = open_section("{SECTION.path}", globals())
"""


def told(*cells: str) -> list[str]:
    """What each cell shows, one after the other in one kernel, after the set-up cell."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps([SET_UP, *cells]), text=True,
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])[1:]


def test_a_cell_that_did_not_run_is_not_judged_by_what_stood_there_before():
    """after a syntax error, an exception or a rename the check says so, and judges again later"""
    renamed = FUNCTION.source.replace(f"def {NAME}(", f"def {NAME}_2(")
    fails = FUNCTION.source + "\n\nraise ValueError('late')"
    early = "1 / 0\n\n" + FUNCTION.source
    cells = [
        FUNCTION.source, CALL,
        FUNCTION.source.replace("):", ")", 1).replace(") ->", ") - >", 1), CALL,
        early, CALL,
        renamed, CALL,
        FUNCTION.source, CALL,
        fails, CALL,
    ]  # fmt: skip
    right, syntax, stopped, other, again, late = told(*cells)[1::2]
    assert "passed" in right and "In this notebook" not in right
    assert "its cell did not run" in syntax and "SyntaxError" in syntax and "passed" not in syntax
    assert "ZeroDivisionError" in stopped and "was not checked" in stopped
    assert f"defines {NAME}_2; the check looks for {NAME}" in other
    assert "passed" in again
    assert "passed" in late, "the definition came to be before the error: it is the one to judge"


def test_a_copy_in_another_cell_is_no_new_version():
    """an old version that is kept under another name does not block the check of the new one"""
    names: dict = {}
    watch = Watch(SECTION, names)

    def run(code, cell_id):
        watch._begins()
        exec(f"import torch\n{code}", names)
        info = SimpleNamespace(raw_cell=code, cell_id=cell_id)
        watch._ended(SimpleNamespace(info=info, error_before_exec=None, error_in_exec=None))

    body = FUNCTION.source
    doc = body[body.index('"""') : body.index('"""', body.index('"""') + 3) + 3]
    mine = f"def {NAME}(x, W, b):\n    {doc}\n    return x\n"
    run(mine, "one")
    run(mine.replace(NAME, f"{NAME}_old"), "scratch")
    assert NAME not in watch.stale
    run(mine.replace(NAME, f"{NAME}_2"), "one")
    assert f"defines {NAME}_2" in watch.stale[NAME].why
    run(f"other = {CHOICE.name} = {WRONG!r}", "p")
    run(f"other = {CHOICE.name} = {WRONG!r}", "p")
    assert CHOICE.name not in watch.stale


def test_predictions_outlive_the_set_up_cell():
    """right ones, too, though a short text or a number may be the reference's very object"""
    from utils.notebook import open_section

    names: dict = {}
    open_section(SECTION.path, names)
    predictions = [e for e in SECTION.exercises if e.kind == "prediction"]
    assert all(names[e.name] is ... for e in predictions)
    for e in predictions:
        names[e.name] = getattr(SECTION.reference(), e.name)
    mine = {e.name: names[e.name] for e in predictions}
    open_section(SECTION.path, names)
    assert {e.name: names[e.name] for e in predictions} == mine


def test_what_is_no_function_of_an_exercise_gets_a_sentence():
    """nothing, a number, a result, a lambda, another section's function, a slip of the pen"""
    later = sections()[-1]
    foreign = next(e for e in later.exercises if e.kind == "function")
    nothing, number, result, unnamed, named, elsewhere, slip = told(
        "check()", "check(3)", "check(torch.ones(3))", "check(lambda x: x)",
        f"{NAME} = lambda x, W, b: x\n{CALL}", f'check("{foreign.name}")', f'check("{NAME[:-1]}")',
    )  # fmt: skip
    assert f"`check({NAME})`" in nothing
    assert "takes a function, and 3 is none" in number
    assert "a Tensor is none" in result and "Leave out the arguments" in result
    assert "lambda has no name" in unnamed
    assert "not yet" in named, "a lambda under the exercise's name is an answer"
    assert f"one of {later.number}" in elsewhere
    assert f"Do you mean `{NAME}`?" in slip


CHANGES = {
    "torch.set_grad_enabled(False)": "gradients are off",
    "torch.set_default_dtype(torch.float64)": "default dtype is torch.float64",
    'torch.set_default_device("meta")': "default device is meta",
    'import warnings; warnings.simplefilter("error")': "warnings are errors",
}
USUAL = """
torch.set_grad_enabled(True), torch.set_default_dtype(torch.float32)
torch.set_default_device(None)"""
STATE = "print(torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device())"


def test_what_a_notebook_left_on_does_not_fail_a_right_answer():
    """the check runs under the usual settings, says so, and leaves the notebook's as they were"""
    cells = [[f"{change}\n{STATE}", CALL, STATE, USUAL] for change in CHANGES]
    shown = told(FUNCTION.source, *(cell for group in cells for cell in group))[1:]
    for number, says in enumerate(CHANGES.values()):
        before, verdict, after, _ = shown[4 * number : 4 * number + 4]
        assert "passed" in verdict and says in verdict
        assert verdict.count("In this notebook") == 1, "what nobody changed is not spoken of"
        assert before == after


def test_a_prediction_is_judged_after_its_experiment_and_without_blame():
    """before: noted, and the answer is not told; after: what happens, in a neutral colour"""
    run = "\n".join(f"{name} = 1" for name in sorted(DEMO.leaves)) or DEMO.source
    early, _, late, changed = told(
        f'{CHOICE.name} = "{WRONG}"\ncheck("{CHOICE.name}")',
        run,
        f'check("{CHOICE.name}")',
        f'{CHOICE.name} = "{RIGHT}"\ncheck("{CHOICE.name}")',
    )
    assert f"Noted: '{WRONG}'" in early and RIGHT not in early
    assert f"You predicted '{WRONG}'; what happens is '{RIGHT}'." in late
    assert "✗" not in late and "mistake" not in late and "1 of" in late
    assert f"Before the run you said '{WRONG}'" in changed and "passed" in changed


def test_every_experiment_leaves_a_trace():
    """each prediction is revealed by an experiment that is known to have run"""
    for section in sections():
        found = experiments(section)
        for exercise in section.exercises:
            if exercise.kind == "prediction":
                assert exercise.name in found, f"no demo reveals {exercise.id}"
                check = Check(section, dict.fromkeys(found[exercise.name].leaves))
                assert check.watch.has_seen(exercise)


def test_the_last_hint_names_the_solution_and_a_pass_what_comes_next():
    """hints end; after the last function of a section comes the next section"""
    hints = [f"check.hint({NAME})"] * (len(FUNCTION.hints) + 1)
    *shown, passed = told(*hints, f"{FUNCTION.source}\n{CALL}")
    assert all("check.solution" not in text for text in shown[: len(FUNCTION.hints) - 1])
    assert all(f"check.solution({NAME})" in text for text in shown[len(FUNCTION.hints) - 1 :])
    following = SECTION.exercises[SECTION.exercises.index(FUNCTION) + 1]
    assert f"{following.id}, {following.title}." in passed


def test_a_section_that_is_done_leads_to_the_next():
    """nothing is left here"""
    check = Check(SECTION, {})
    check._answered = {e.name for e in SECTION.exercises}
    assert f"Next: {sections()[1].number}, {sections()[1].title}." in check._next(FUNCTION)
    assert check._next(FUNCTION).startswith("That was the last one")


def shown_exercises():
    return [(s, e) for s in sections() for e in s.exercises if e.shows]


@pytest.mark.parametrize(
    ("section", "exercise"),
    shown_exercises(),
    ids=lambda x: x.path if hasattr(x, "path") else x.name,
)
def test_a_picture_shows_both_and_survives_any_answer(section, exercise):
    """a figure of right and right; none, and no crash, of what fails or returns nonsense"""
    right = getattr(section.reference(), exercise.name)
    figure = side_by_side(section, exercise, right)
    assert figure is not None
    text = figure.to_json()
    assert "yours" in text and "the course" in text

    def fails(*_args, **_options):
        raise SystemExit("no")

    for wrong in (fails, lambda *_a, **_k: None, lambda *_a, **_k: "a text", ...):
        assert side_by_side(section, exercise, wrong) is None
