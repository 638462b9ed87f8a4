"""What a GPU shows, in one table and at most eight minutes: `make gpu`, or bare:

    python3 tools/gpu.py                     a machine with torch and CUDA; no network, no set-up
    python3 tools/gpu.py --device cpu        the same at toy sizes, to try the script itself
    python3 tools/gpu.py --only "SAE trainer"

Every line is a process of its own with a time limit, so that one that hangs or fails costs only
itself. A line that needs a package which is not installed says which, and is skipped. The status
is 1 if a line failed, 0 otherwise.
"""

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 480  # seconds in all
MARK = "@@result@@"


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    needs: tuple[str, ...]  # modules beside torch
    seconds: int  # at most
    run: Callable[[str, bool], str]  # device, whether it is a GPU; what was measured


def timed(step: Callable[[], object], n: int, device: str) -> float:
    """Seconds of a call, after a few that do not count."""
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(max(2, n // 5)):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(n):
        step()
    wait()
    return (time.perf_counter() - start) / n


def peak(device: str, gpu: bool) -> float:
    """Operations a second of a large square product in bfloat16 (float32 on a CPU)."""
    import torch

    n, dtype = (8192, torch.bfloat16) if gpu else (512, torch.float32)
    A, B = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / timed(lambda: A @ B, 10, device)


def machine(device: str, gpu: bool) -> str:
    """Who is measured."""
    import torch

    name = torch.cuda.get_device_name() if gpu else "CPU"
    return f"{name}, torch {torch.__version__}, {peak(device, gpu) / 1e12:.3g} TFLOP/s measured"


def exercises(device: str, gpu: bool) -> str:
    """The exercises' tests on the worked solutions; files that cannot be imported are named."""
    parts = ["tests/part31_superposition", "tests/part32_interp_with_saes"]
    chosen = parts if gpu else [f"{parts[0]}/test_s2_correlated_features.py"]
    command = [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors", "--tb=line"]
    command += ["-p", "no:cacheprovider", "-m", "not claim and not slow", f"--device={device}"]
    if importlib.util.find_spec("beartype") is None:
        command += ["-o", "addopts=--import-mode=importlib"]
    if importlib.util.find_spec("xdist") is not None:
        command += ["-n", "4" if gpu else "1"]
    done = subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, text=True)
    said_in_all = done.stdout + done.stderr
    missing = sorted(set(re.findall(r"No module named '([\w.]+)'", said_in_all)))
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    last = next(
        (li for li in reversed(done.stdout.splitlines()) if " in " in li), done.stdout[-200:]
    )
    said = last.strip("= ") + (
        f"; not importable for want of {', '.join(missing)}" if missing else ""
    )
    if failed or not re.search(r"\d passed", last):
        raise AssertionError(f"{said}; {' '.join(failed[:20])}")
    return said


def toy_trainer(device: str, gpu: bool) -> str:
    """A step of the toy models, replayed as one graph of kernels on a GPU."""
    import torch

    from utils.toy import ToyConfig, ToyGradient, TrainConfig, init_toy, replayed, train_toy_fast

    toy = ToyConfig(inst=8, feature=100, hidden=20)
    gen = torch.Generator(device).manual_seed(0)
    W, b = init_toy(toy, gen, device) if gpu else init_toy(toy, gen)
    gradient = ToyGradient(W, b, 1.0, 0.05, 1024, gen)
    step = replayed(gradient) if gpu else gradient
    plain, fast = timed(lambda: gradient(False), 50, device), timed(lambda: step(False), 50, device)
    run = train_toy_fast(W, b, 1.0, 0.05, TrainConfig(n_steps=300, batch=1024), gen)
    losses = run.losses.float()
    assert bool(losses.isfinite().all()) and float(losses[-1].sum()) < float(losses[0].sum())
    kind = "as one graph" if gpu else "the same"
    return f"kernel by kernel {1e6 * plain:.0f} µs, {kind} {1e6 * fast:.0f} µs; loss falls"


def sae_trainer(device: str, gpu: bool) -> str:
    """A TopK SAE's step against the card's own measured peak."""
    import torch

    from utils.saes.coder import init_coder
    from utils.saes.config import SAEConfig, SAETrainConfig
    from utils.saes.train import Trainer

    d, latent, batch, k = (768, 24_576, 8192, 32) if gpu else (32, 128, 128, 8)
    dtype = torch.bfloat16 if gpu else torch.float32
    gen = torch.Generator().manual_seed(0)
    coder = init_coder(SAEConfig(d, latent, k=k), gen, device, dtype)
    rows = [torch.randn(batch, d, generator=gen).to(device, dtype) for _ in range(4)]
    trainer = Trainer(coder, rows, SAETrainConfig(10**6, mean_bias=False, dead_window=10**9))
    seconds, top = timed(trainer.step, 20, device), peak(device, gpu)
    dense = 2 * batch * d * latent
    needed = dense + 8 * batch * d * k  # encoder, and four products on what is active
    share = needed / seconds / top
    return (
        f"{1e3 * seconds:.2f} ms a step of {batch} rows, {d} → {latent}, k {k}: "
        f"{batch / seconds:,.0f} rows/s; {share:.0%} of the measured peak"
    )


def stacks(device: str, gpu: bool) -> str:
    """Sixteen small SAEs together against one after another."""
    from tools.bench.sweeps import CASES, compare

    cases = CASES if gpu else CASES[:1]
    told = []
    for case in cases:
        alone, together, off = compare(case, device)
        told.append(f"{case.architecture} {case.d_in}→{case.latent} {alone / together:.1f}×")
        assert off < 0.1, f"{case}: weights are {off:.1e} apart"
    return "stack against one after another: " + ", ".join(told)


def dashboards(device: str, gpu: bool) -> str:
    """Every latent of a story SAE."""
    import torch

    from utils.course import ARTIFACTS
    from utils.dashboards import collect
    from utils.given.in_model import sample_rows
    from utils.models.loaded import Loaded
    from utils.models.sae import load_sae
    from utils.models.tiny import load_tiny

    model = load_tiny(ARTIFACTS / "tiny_story_1l", device)
    loaded = Loaded(model, model.tokenizer, "tiny_story_1l")
    sae = load_sae(ARTIFACTS / "tiny_story_1l" / "residual_0_256", device=device)
    rows = sample_rows(loaded, 200 if gpu else 20, 0)
    start = time.perf_counter()
    found = collect(loaded, sae, rows, progress=False)
    seconds = time.perf_counter() - start
    assert torch.as_tensor(len(found.latents)) > 0
    return f"{len(found.latents)} latents on {rows.ids.numel():,} tokens in {seconds:.1f} s"


def graphs(device: str, gpu: bool) -> str:
    """An attribution graph of the story model; its rows add up."""
    from utils.course import ARTIFACTS
    from utils.graphs import attribute, freeze
    from utils.models.loaded import Loaded
    from utils.models.sae import load_sae
    from utils.models.tiny import load_tiny

    folder = ARTIFACTS / "tiny_story_4l"
    model = load_tiny(folder, device)
    loaded = Loaded(model, model.tokenizer, "tiny_story_4l")
    saes = [load_sae(folder / f"transcoder_{i}_192", device=device) for i in range(4)]
    ids = model.to_tokens("after Daisy and Henry walk to the market , Henry talks to Daisy .")[0]
    start = time.perf_counter()
    graph = attribute(freeze(loaded, ids), saes)
    seconds, gap = time.perf_counter() - start, graph.gap()
    assert gap < 1e-4, f"rows are {gap:.1e} off"
    return f"{len(graph.nodes)} nodes in {seconds:.2f} s, rows off by {gap:.0e}"


LANGUAGE = ("jaxtyping", "transformer_lens", "sae_lens", "safetensors", "tqdm")
TRAINER = ("jaxtyping", "safetensors", "tqdm", "numpy")
TESTED = ("pytest", "jaxtyping", "einops", "plotly", "nbformat", "jupytext")
LINES = (
    Line("machine", (), 60, machine),
    Line("toy trainer", ("jaxtyping", "einops", "tqdm"), 60, toy_trainer),
    Line("SAE trainer", TRAINER, 90, sae_trainer),
    Line("stacks of SAEs", (*TRAINER, "rich", "nbformat"), 90, stacks),
    Line("dashboards", LANGUAGE, 90, dashboards),
    Line("attribution graph", LANGUAGE, 90, graphs),
    Line("exercises' tests", TESTED, 300, exercises),
)


def missing(line: Line) -> list[str]:
    """Packages that the line needs and that are not here."""
    return [name for name in line.needs if importlib.util.find_spec(name) is None]


def in_process(line: Line, device: str, limit: float) -> tuple[str, str]:
    """(passed, failed or skipped; what it said), from a process of its own."""
    if absent := missing(line):
        return "skipped", f"not installed: {', '.join(absent)}"
    if limit < 5:
        return "skipped", "no time left"
    command = [sys.executable, str(Path(__file__)), "--device", device, "--inside", line.name]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "COURSE_PROGRESS": "0"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        process.communicate()
        return "failed", f"not done after {limit:.0f} s"
    for said in out.splitlines():
        if said.startswith(MARK):
            outcome, text = json.loads(said.removeprefix(MARK))
            return outcome, text
    return "failed", (err.strip().splitlines() or ["no word"])[-1]


def inside(line: Line, device: str) -> None:
    """Run a line here, and say what came of it in one line."""
    try:
        outcome = "passed", line.run(device, device == "cuda")
    except ModuleNotFoundError as error:
        outcome = "skipped", f"not installed: {error.name}"
    except (Exception, SystemExit) as error:  # whatever it is, it belongs into the table
        outcome = "failed", f"{type(error).__name__}: {error}".replace("\n", " ")[:600]
    print(MARK + json.dumps(outcome), flush=True)


def arguments() -> argparse.Namespace:
    """From the command line."""
    parser = argparse.ArgumentParser(description="What a GPU shows, in one table.")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--only", default=None, choices=[line.name for line in LINES])
    parser.add_argument("--inside", default=None, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Print the table, line by line as they come."""
    asked = arguments()
    if asked.inside:
        inside(next(line for line in LINES if line.name == asked.inside), asked.device)
        return 0
    if importlib.util.find_spec("torch") is None:
        print("no torch in this Python: take the one that has it, or `make setup`", file=sys.stderr)
        return 1
    import torch

    if asked.device == "cuda" and not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no GPU here; `--device cpu` tries the script itself",
            file=sys.stderr,
        )
        return 1
    start, failures = time.monotonic(), 0
    for line in LINES:
        if asked.only not in (None, line.name):
            continue
        begin = time.monotonic()
        left = BUDGET - (begin - start)
        outcome, said = in_process(line, asked.device, min(line.seconds, left))
        failures += outcome == "failed"
        spent = time.monotonic() - begin
        print(f"{line.name:18} {outcome:8} {spent:5.0f} s  {said}", flush=True)
    print(f"{time.monotonic() - start:.0f} s in all, {failures} failed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
