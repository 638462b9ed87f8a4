"""Part 3.2's demos, from top to bottom, on the course's small models (`COURSE_PROFILE=tiny`)."""

import runpy

import pytest

from utils.course import Section, sections

QUICK = ("3.2.0", "3.2.1", "3.2.2")  # the others take 20 to 60 seconds each: `make claims` has them
PART = [
    pytest.param(s, id=s.number, marks=() if s.number in QUICK else pytest.mark.slow)
    for s in sections()
    if s.path.startswith("part32")
]


@pytest.mark.parametrize("section", PART)
def test_demos_run_on_the_tiny_models_and_say_what_they_loaded(
    section: Section, monkeypatch, capsys
):
    """every demo of a section ends well; the set-up names profile, model and SAE"""
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    runpy.run_module(section.path.replace("/", "."), run_name="__main__")
    said = capsys.readouterr().out
    assert "profile tiny: tiny_story_4l" in said
    assert "SAE at " in said
