"""What authors call: set-up, build, reset, doctor, bench."""

import sys
from importlib.util import find_spec

import utils  # noqa: F401  # first: it makes the imports that follow fast

# the doctor explains a Python without the course's packages; all else needs them
if find_spec("nbformat") is None and "tools.doctor" not in getattr(sys, "orig_argv", ()):
    sys.exit(
        f"{sys.executable} does not have the course's packages. From the course's folder run "
        "`make setup-dev` once, then .venv/bin/python in place of this one, or a target of `make`."
    )
