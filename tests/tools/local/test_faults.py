"""The command that makes the runs of 3.2.8."""

from tools.local.faults import main
from utils.given.training_runs import read_run


def test_it_makes_what_is_missing_and_leaves_the_rest(tmp_path, capsys):
    main(tmp_path, only=["run_a", "run_c"], n_steps=3)
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["run_a", "run_c"]
    log = read_run(tmp_path / "run_c.jsonl")
    assert log.architecture == "relu" and log.opened()["fault"] == "L1 too small"
    before = (tmp_path / "run_a.jsonl").read_text()
    main(tmp_path, only=["run_a"], n_steps=3)
    assert "done, skipped" in capsys.readouterr().out
    main(tmp_path, again=True, only=["run_a"], n_steps=3)
    assert (tmp_path / "run_a.jsonl").read_text() == before
