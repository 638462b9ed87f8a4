"""Docstrings of installed packages, read from their sources: nothing is imported."""

import ast
import importlib.util
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from tools.corpus.nltk_text import Text, TextMissing

STDLIB = "stdlib"
PACKAGES = (STDLIB, "torch", "numpy", "scipy", "sklearn", "pandas", "transformers", "plotly")
SKIPPED = {"tests", "test", "idlelib", "lib2to3", "_vendor", "site-packages", "__pycache__"}
MIN_CHARS = 40  # a shorter docstring repeats its function's name
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def package_folder(name: str) -> Path:
    """The folder of a package's sources; raises TextMissing where it is not installed."""
    if name == STDLIB:
        return Path(sysconfig.get_path("stdlib"))
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise TextMissing(f"the package {name!r} is not installed: its docstrings are not here")
    return Path(next(iter(spec.submodule_search_locations)))


def heading(node: Documented) -> str:
    """`class Name` or `def name(arguments)`, as a reader of the source sees it."""
    if isinstance(node, ast.Module):
        return ""
    if isinstance(node, ast.ClassDef):
        return f"class {node.name}:\n"
    return f"def {node.name}({ast.unparse(node.args)}):\n"


def module_text(source: str) -> str:
    """All docstrings of a module in their order, each under its heading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        tree = ast.parse(source)
    parts = []
    for node in ast.walk(tree):
        if isinstance(node, Documented):
            text = ast.get_docstring(node, clean=False) or ""
            if len(text) >= MIN_CHARS:
                parts.append((getattr(node, "lineno", 0), heading(node) + inspect.cleandoc(text)))
    return "\n\n".join(text for _, text in sorted(parts))


def docstring_texts(package: str) -> Iterator[Text]:
    """One document per module, of source `docstrings.torch` and so on; a text comes once."""
    folder, seen = package_folder(package), set[str]()
    for path in sorted(folder.rglob("*.py")):
        if SKIPPED & set(path.relative_to(folder).parts):
            continue
        try:
            text = module_text(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
            continue  # templates and old dialects among the sources
        if text and text not in seen:
            seen.add(text)
            yield f"docstrings.{package}", text
