"""The worked solutions and their tests on a device that refuses what CUDA refuses."""

import pytest

from tests.pretend import DEVICE, pretended
from utils.course import Section, sections
from utils.grading.run import run_tests


@pytest.mark.parametrize("section", sections(), ids=lambda s: s.number)
def test_worked_solutions_pass_on_another_device(section: Section):
    """`--device cuda` can be trusted: neither the answers nor their tests mix devices"""
    for exercise in section.exercises:
        if exercise.kind == "function":
            with pretended():
                session = run_tests(section, exercise, vars(section.reference()), str(DEVICE))
            failed = [(o.name, o.message) for o in session.outcomes if o.status != "PASS"]
            assert session.outcomes and not failed and not session.problems, failed[:2]
