"""Run every claim and write one table of what was measured: docs/claims.json and docs/claims.md.

python -m tools.claims            run all (an hour or more)
python -m tools.claims --claim-seeds 7,8,9    all from other seeds; printed, not stored
python -m tools.claims -k pent    those whose name fits; the table is printed, not stored
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.build import write
from utils.course import ROOT

HEAD = """# Claims

Every scientific claim of the course is a test that runs the real experiment. `make claims` runs
them all and writes this table.

| nr | source | claim | measured here | tolerance | seeds | holds |
|---|---|---|---|---|---|---|
"""


def row(claim: dict[str, Any]) -> str:
    """One line of the table."""
    seeds = ", ".join(map(str, claim["seeds"]))
    cells = [claim["number"], claim["paper"], claim["claim"], claim["measured"], claim["tolerance"]]
    text = " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in cells)
    return f"| {text} | {seeds} | {'yes' if claim.get('passed') else '**no**'} |"


def table(claims: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    return HEAD + "\n".join(map(row, claims)) + "\n"


def main(arguments: list[str]) -> int:
    """Run the claim tests; store the table only where each claim in it was measured again."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "claims.json"
        command = [sys.executable, "-m", "pytest", "-m", "claim or slow", "--timeout=1800"]
        # two files at a time, each on one thread: small models gain nothing from a second one
        command += [f"--claims-json={found}", "-n", "2", "--dist=loadfile"]
        env = {**os.environ, "COURSE_PROGRESS": "0", "OMP_NUM_THREADS": "1"}
        code = subprocess.run([*command, *arguments], cwd=ROOT, env=env).returncode
        if not found.exists():
            return code or 1
        claims = json.loads(found.read_text())
    file = ROOT / "docs" / "claims.json"
    before = json.loads(file.read_text()) if file.exists() else []
    lost = {row["test"] for row in before} - {row["test"] for row in claims}
    if arguments or lost or code not in (0, 1):
        print(table(claims))
        if not arguments:
            print("NOT STORED: the run ended before its end, or these were not measured (delete")
            print("the row of a claim that is no more from docs/claims.json):")
            print(*sorted(lost), sep="\n")
    else:
        write(file, json.dumps(claims, indent=1) + "\n")
        write(ROOT / "docs" / "claims.md", table(claims))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
