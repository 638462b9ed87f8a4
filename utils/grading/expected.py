"""How many tests an exercise has, counted in the test file's syntax: nothing is imported."""

import ast
import functools
from pathlib import Path

from utils.course import Exercise, Section


class _File:
    """One test file: its functions, and the values at its top that parametrize them."""

    def __init__(self, tree: ast.Module) -> None:
        self.values: dict[str, ast.expr] = {}
        self.tests: list[ast.FunctionDef] = []
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                self.tests.append(node)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.values[node.targets[0].id] = node.value

    def length(self, node: ast.expr) -> int | None:
        """The number of cases in a parametrize's list; None where the syntax does not tell."""
        match node:
            case ast.Name() if node.id in self.values:
                return self.length(self.values[node.id])
            case ast.List() | ast.Tuple() | ast.Set():
                parts = [
                    self.length(e.value) if isinstance(e, ast.Starred) else 1 for e in node.elts
                ]
                return None if None in parts else sum(p for p in parts if p is not None)
            case ast.Dict():
                return len(node.keys) if None not in node.keys else None
            case ast.Call(func=ast.Name(id="range"), args=args):
                try:
                    return len(range(*(int(ast.literal_eval(a)) for a in args)))
                except (ValueError, TypeError):
                    return None
            case ast.Call(func=ast.Name(id="list" | "sorted" | "tuple"), args=[inner]):
                return self.length(inner)
        return None

    def cases(self, test: ast.FunctionDef) -> int | None:
        """How often a test runs."""
        count = 1
        for decorator in test.decorator_list:
            while isinstance(decorator, ast.Name) and decorator.id in self.values:
                decorator = self.values[decorator.id]
            if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute):
                if decorator.func.attr == "parametrize" and len(decorator.args) > 1:
                    length = self.length(decorator.args[1])
                    if length is None:
                        return None
                    count *= length
        return count


@functools.lru_cache
def _read(path: Path, _modified: float) -> _File:
    return _File(ast.parse(path.read_text()))


def expected_tests(section: Section, exercise: Exercise) -> int | None:
    """The number of an exercise's tests; None where only pytest can say."""
    path = section.home(exercise).test_file()
    try:
        file = _read(path, path.stat().st_mtime)
    except (OSError, SyntaxError):
        return None
    counts = [
        file.cases(test) for test in file.tests if test.name.startswith(f"test_{exercise.name}__")
    ]
    return None if None in counts or not counts else sum(c for c in counts if c is not None)
