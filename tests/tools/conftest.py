"""What the tests of the commands share."""

import pytest


@pytest.fixture
def tiny_here(monkeypatch, tmp_path):
    """The small models, no progress bars, an empty folder to write into."""
    monkeypatch.setenv("COURSE_PROFILE", "tiny")
    monkeypatch.setenv("COURSE_PROGRESS", "0")
    monkeypatch.chdir(tmp_path)
