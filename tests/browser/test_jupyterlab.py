"""A learner's first minutes, in a real JupyterLab driven by a headless Chromium, with no network.

    make browser                          run this
    UPDATE_SCREENSHOTS=1 make browser     and renew the README's pictures in docs/
"""  # fmt: skip

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect, sync_playwright

from tools import setup
from tools.doctor import find_chromium
from utils.course import ROOT, find_exercise, find_section
from utils.grading.mistakes import mistakes_of, sentence

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SECTION = find_section("3.1.1")
EXERCISE = find_exercise("3.1.1.a")
FORGOTTEN = sentence(mistakes_of(SECTION, EXERCISE)["toy_forward__no_relu"])
TOKEN = "a-learner"
START = "work/start.ipynb"  # where `make lab` begins
FIGURE = """\
import plotly.graph_objects as go

go.Figure(go.Scatter(y=[1, 3, 2]), {"title": {"text": "drawn without a network"}}).show()"""
KERNEL_IS_IDLE = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const idle = panel?.sessionContext?.session?.kernel?.status === 'idle';
    return idle && panel.context.path === path && panel.context.isReady;
}"""
QUIET = """
    --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync
"""
# A cell outside the window is not in the page: go there first, by the notebook's model.
GO_TO = """async ([key, value, after]) => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const found = notebook.model.cells;
    let index = -1;
    for (let i = 0; i < found.length && index < 0; i++) {
        const cell = found.get(i);
        const here = key === 'id' ? [cell.id] : cell.getMetadata(key) || [];
        if (here.includes(value)) index = i + after;
    }
    if (index < 0) throw new Error(`no cell with ${key} ${value}`);
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    notebook.mode = 'command';
    await notebook.scrollToItem(index, 'smart');
    notebook.activate();
}"""

GO_TO_A_FIGURE = """async () => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const has = cell => cell.type === 'code' && cell.outputs.toJSON().some(
        output => output.data?.['application/vnd.plotly.v1+json']);
    notebook.activeCellIndex = [...notebook.model.cells].findIndex(has);
    await notebook.scrollToItem(notebook.activeCellIndex, 'start');
}"""


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_served(process: subprocess.Popen[bytes], url: str, log: Path, seconds: int) -> float:
    """Ask until the page is there; returns how long it took."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                if page.status == 200:
                    return time.monotonic() - start
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not serve {url} in {seconds} s:\n{log.read_text()[-2000:]}")


def own_jupyter(folder: Path) -> dict[str, str]:
    """An environment in which JupyterLab knows no settings of whoever runs the tests."""
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {name: str(folder / name.lower()) for name in names}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **own, "PYTHONPATH": path, "COURSE_PROGRESS": "0"}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server that this test started, with its kernels."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def chromium() -> str:
    """Debian's Chromium, or any Chrome; in CI it must be there."""
    found = find_chromium()
    if found is None:
        say = "there is no Chromium on this machine (make doctor says more)"
        pytest.fail(say) if os.environ.get("CI") == "true" else pytest.skip(say)
    return found


def as_make_lab() -> str:
    """The option of `make lab` that keeps saved notebooks as the course ships them."""
    return re.search(r"--ServerApp\.contents\S+", (ROOT / "Makefile").read_text())[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A JupyterLab in a folder with a copy of both notebooks, under git; gives its address."""
    work = tmp_path / "work"
    for room in ("exercises", "solutions"):
        (work / room).mkdir(parents=True)
        shutil.copy(SECTION.notebook(room), work / room)
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm all"):
        subprocess.run(["git", *command.split()], cwd=work, check=True)
    settings = tmp_path / "jupyter_config_dir" / "lab" / "user-settings" / "@jupyterlab"
    (settings / "apputils-extension").mkdir(parents=True)
    news = '{"fetchNews": "false", "checkForUpdates": false}'
    (settings / "apputils-extension" / "notification.jupyterlab-settings").write_text(news)
    port, log = free_port(), tmp_path / "server.log"
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}",
        f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser", as_make_lab(),
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=work, env=own_jupyter(tmp_path), stdout=out, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_served(process, f"{address}/lab?token={TOKEN}", log, 60)
            yield address
        finally:
            stop(process)


class Lab:
    """A JupyterLab page with one notebook open."""

    def __init__(self, page: Page, pictures: Path, server: str):
        self.page, self.pictures, self.server = page, pictures, server

    def open(self, room: str) -> None:
        """Open a notebook and wait for its kernel."""
        path = f"{room}/{SECTION.stem}.ipynb"
        self.page.goto(f"{self.server}/lab/tree/{path}?token={TOKEN}")
        self.page.wait_for_function(KERNEL_IS_IDLE, arg=path, timeout=120_000)
        self.page.evaluate("window.jupyterapp.shell.collapseLeft()")  # room for the notebook

    def save(self) -> None:
        """Save the notebook, whether or not it has changed."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.context.save()")

    @property
    def cell(self) -> Locator:
        """The active cell."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell.jp-mod-active")

    @property
    def output(self) -> Locator:
        """What the active cell shows."""
        return self.cell.locator(".jp-Cell-outputArea")

    def go_to(self, key: str, value: str, after: int = 0) -> None:
        """Make the cell with this id or tag active, or the one so many cells below it."""
        self.page.evaluate(GO_TO, [key, value, after])

    def run(self) -> None:
        """Run the active cell and wait until it has a new number: then it is done."""
        prompt = self.cell.locator(".jp-InputPrompt")
        before = prompt.inner_text().strip()
        self.page.keyboard.press("Control+Enter")
        done = re.compile(rf"^\s*(?!{re.escape(before)})\[\d+\]:\s*$")
        expect(prompt).to_have_text(done, timeout=120_000)

    def type(self, code: str) -> None:
        """Replace the active cell's text, as a learner would: click, select all, write."""
        self.cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(code)
        expect(self.cell.locator(".cm-content")).to_contain_text(code.splitlines()[-1].strip())

    def picture(self, name: str) -> None:
        """A screenshot of the page; into docs/ when asked to renew the README's."""
        self.page.mouse.move(0, 0)
        self.output.scroll_into_view_if_needed()
        self.page.screenshot(path=self.pictures / name)


@pytest.fixture
def lab(server: str, chromium: str, tmp_path: Path) -> Iterator[Lab]:
    """JupyterLab with the exercise notebook open; every address but its own is unreachable."""
    pictures = ROOT / "docs" if os.environ.get("UPDATE_SCREENSHOTS") == "1" else tmp_path
    asked: list[str] = []

    def own_address_only(route: Route) -> None:
        if route.request.url.startswith((server, "data:", "blob:")):
            route.continue_()
        else:
            asked.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET.split())
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        page.route("**/*", own_address_only)
        lab = Lab(page, pictures, server)
        lab.open("exercises")
        yield lab
        browser.close()
    assert not asked, f"the page asked the network for {asked}"


def answer(reference: str, wrong: bool) -> str:
    """What a learner types for exercise a: the worked cell, or the same without the ReLU."""
    if not wrong:
        return reference
    without = re.sub(r"\b(?:t|torch|F)\.relu\(|\brelu\(", "(", reference).replace(".relu()", "")
    assert without != reference, "the reference has no relu( to forget"
    return without


def test_jupyterlab__names_a_mistake_then_passes_and_draws(lab: Lab) -> None:
    """set up, give a wrong answer, see its mistake; give a right one, see progress; see a figure"""
    for tag in ("bootstrap", "setup"):
        lab.go_to("tags", tag)
        lab.run()
    expect(lab.output).to_contain_text(f"{SECTION.number}, {SECTION.title}")

    lab.go_to("id", EXERCISE.name)
    lab.type(answer(EXERCISE.source, wrong=True))
    lab.run()
    lab.go_to("id", EXERCISE.name, after=1)
    lab.run()
    verdict = lab.output.locator(".course-check")
    expect(verdict).to_contain_text("not yet")
    expect(verdict).to_contain_text(f"Likely mistake: {FORGOTTEN}")
    expect(verdict).to_contain_text(f"0 of {len(SECTION.exercises)}")
    expect(verdict).not_to_contain_text("In this notebook")  # nothing was changed
    lab.picture("mistake.png")

    lab.go_to("id", EXERCISE.name)
    lab.type(answer(EXERCISE.source, wrong=False))
    lab.run()
    lab.go_to("id", EXERCISE.name, after=1)
    lab.run()
    expect(verdict).to_contain_text("passed")
    expect(verdict).to_contain_text(f"1 of {len(SECTION.exercises)}")
    lab.picture("passed.png")

    lab.go_to("id", EXERCISE.name)
    lab.type(FIGURE)
    lab.run()
    expect(lab.output.locator("svg.main-svg").first).to_be_visible(timeout=60_000)
    expect(lab.output.locator("svg.main-svg .gtitle")).to_have_text("drawn without a network")


@pytest.mark.parametrize("room", ["exercises", "solutions"])
def test_opening_and_saving_changes_nothing(lab: Lab, tmp_path: Path, room: str) -> None:
    """what the course ships is what JupyterLab writes: `git pull` finds a clean folder"""
    place = tmp_path / "work" / room / f"{SECTION.stem}.ipynb"
    lab.open(room)
    before = place.stat().st_mtime_ns
    if room == "solutions":  # a figure is there to be moved as soon as it is seen
        lab.page.evaluate(GO_TO_A_FIGURE)
        shown = lab.output.locator("svg.main-svg").first
        expect(shown).to_be_visible(timeout=60_000)
        wide = lab.output.locator(".jp-OutputArea-output").first.bounding_box()["width"]
        assert shown.bounding_box()["width"] <= wide, "the figure is wider than its column"
        lab.page.wait_for_timeout(2000)  # the browser makes a picture of it, and keeps it
    lab.save()
    assert place.stat().st_mtime_ns > before, "nothing was saved"
    command = ["git", "diff", "--stat", "--patch", "--unified=0", str(place)]
    changed = subprocess.run(command, cwd=place.parent, capture_output=True, text=True, check=True)
    assert changed.stdout == ""


def test_make_lab__serves_the_exercises(tmp_path: Path) -> None:
    """the one command serves JupyterLab on work/, with whatever its environment is"""
    if not setup.is_ready(dev=False):
        pytest.skip("there is no finished .venv here: make lab would begin by making it")
    port, log = free_port(), tmp_path / "lab.log"
    arguments = f"--no-browser --port={port} --ServerApp.port_retries=0"
    arguments += f" --ServerApp.ip=127.0.0.1 --IdentityProvider.token={TOKEN}"
    command = ["make", "lab", f"LAB_ARGS={arguments}"]
    environment = own_jupyter(tmp_path)
    environment.pop("MAKEFLAGS", None)  # this test itself may run under make
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_served(process, f"{address}/lab/tree/{START}?token={TOKEN}", log, 60)
            listing = f"{address}/api/contents/{SECTION.notebook('work').relative_to(ROOT)}"
            wait_until_served(process, f"{listing}?content=0&token={TOKEN}", log, 10)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
    assert f"/lab/tree/{START}" in log.read_text()
