"""Part 3.2's demos, from top to bottom, on the course's small models (`COURSE_PROFILE=tiny`)."""

import runpy

import pytest

from utils.course import Section, sections


@pytest.mark.parametrize(
    "section", [s for s in sections() if s.path.startswith("part32")], ids=lambda s: s.number
)
def test_demos_run_on_the_tiny_models_and_say_what_they_loaded(
    section: Section, monkeypatch, capsys
):
    """every demo of a section ends well; the set-up names profile, model and SAE"""
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    runpy.run_module(section.path.replace("/", "."), run_name="__main__")
    said = capsys.readouterr().out
    assert "profile tiny: tiny_story_4l" in said
    assert "SAE at " in said
