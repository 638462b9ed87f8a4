"""`make claims`: the table is stored only where every claim was measured again."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from tools import claims


def measured(test: str) -> dict:
    return {
        "test": test, "number": 1, "paper": "p", "claim": "c", "measured": "m",
        "tolerance": "t", "seeds": [0], "passed": True,
    }  # fmt: skip


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Run with stubbed tests: their status, and the claims that they leave; the stored names."""
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()

    def run(code: int, *tests: str) -> tuple[int, list[str]]:
        def stub(command, **options):
            [file] = [a.split("=", 1)[1] for a in command if a.startswith("--claims-json=")]
            with open(file, "w") as out:
                json.dump([measured(test) for test in tests], out)
            return SimpleNamespace(returncode=code)

        monkeypatch.setattr(subprocess, "run", stub)
        status = claims.main([])
        file = tmp_path / "docs" / "claims.json"
        return status, [r["test"] for r in json.loads(file.read_text())] if file.exists() else []

    return run


def test_claims__are_stored_where_all_were_measured(table):
    assert table(0, "a", "b") == (0, ["a", "b"])
    assert table(1, "a", "b", "c") == (1, ["a", "b", "c"])  # one fails: the table says so


@pytest.mark.parametrize(("code", "tests"), [(1, ("a",)), (2, ("a", "b")), (0, ("b",))])
def test_claims__a_run_that_lost_some_is_told_and_not_stored(table, capsys, code, tests):
    table(0, "a", "b")
    assert table(code, *tests) == (code, ["a", "b"])
    said = capsys.readouterr().out
    assert "NOT STORED" in said
    for test in {"a", "b"} - set(tests):
        assert f"\n{test}\n" in said
