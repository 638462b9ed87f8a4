"""What a learner's file defines, by its syntax alone: which statements an answer rests on.

The rule, for a notebook and a .py file alike: what is run is *what the answers need*. A function,
a class, an import or a value is needed when an exercise is made by it, or when something needed
names it; so are the statements that change a needed value (`TABLE["a"] = 1`). They run in their
order. All else (experiments, plots, training loops, magics) is not run.
A needed statement is refused where it reaches for a file, a process or a magic.
"""

import __future__

import ast
import dis
import functools
import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType

from utils.grading.cells import Cell

IN_PLACE = ("%%time", "%%capture", "%%prun")  # magics that run their cell where it stands
APART = re.compile(r"%%(\w+)")
TIMED = re.compile(r"^(\s*)%time (?=\S)")
STARTS = re.compile(r"(?:async )?(?:def|class) (\w+)|(\w+)\s*(?::[^=\n]+)?=(?!=)")
BEGINS = re.compile(r"[\w@]")  # a line with which a new statement can begin
HIDDEN = ("get_ipython", "open", "input", "exec", "eval", "__import__", "breakpoint")
MODULES = ("os", "subprocess", "shutil", "socket", "urllib", "requests", "ctypes", "signal")
FILES = ("load", "save", "read_text", "read_bytes", "write_text", "write_bytes", "unlink")
NAMED = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement at the top of a cell, or a piece of a cell that cannot be read."""

    cell: Cell
    node: ast.stmt | None  # None where it cannot be read
    source: str
    makes: frozenset[str]  # names that it defines
    alters: frozenset[str] = frozenset()  # names whose value it changes: `X.append(1)`
    flags: int = 0  # from `from __future__ import …` above it
    problem: str = ""  # why it cannot be read

    @property
    def where(self) -> str:
        """For the learner."""
        return self.cell.line(self.node.lineno) if self.node else self.cell.where

    @property
    def file(self) -> str:
        """The name under which tracebacks show its cell."""
        return f"<{self.cell.where} #{self.cell.number}>"

    @functools.cached_property
    def code(self) -> CodeType:
        """Compiled; raises SyntaxError for what only the compiler refuses."""
        assert self.node is not None
        with warnings.catch_warnings(action="ignore"):
            tree = ast.Module([self.node], [])
            return compile(tree, self.file, "exec", flags=self.flags, dont_inherit=True)

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        """Names from outside that it uses, at once or when its functions are called."""
        if self.node is None:
            return frozenset()
        try:
            return frozenset(_global_names(self.code))
        except (SyntaxError, ValueError, RecursionError):
            return frozenset()

    @functools.cached_property
    def is_stub(self) -> bool:
        """Whether it is an exercise as it was handed out."""
        node = self.node
        if isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            return bool(methods) and all(map(_raises_only, methods))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return _raises_only(node)
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        return isinstance(value, ast.Constant) and value.value is ...

    @functools.cached_property
    def refused(self) -> str:
        """Why it is not run though an answer needs it; empty where it is run."""
        for call in _calls_made_at_once(self.node) if self.node else ():
            root, _, rest = ast.unparse(call.func).partition(".")
            if root == "get_ipython":
                return "it is a magic or a shell command"
            if root in HIDDEN or (root in MODULES and not rest.startswith(("path.", "environ"))):
                return f"it calls {ast.unparse(call.func)[:60]}"
            if rest.rpartition(".")[2] in FILES or f"{root}.{rest}" == "sys.exit":
                return f"it calls {ast.unparse(call.func)[:60]}"
        return ""

    @property
    def is_value(self) -> bool:
        """Whether it computes something (else it is an import, a function or a class)."""
        return not isinstance(self.node, ast.Import | ast.ImportFrom | Definition)


def _raises_only(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    if len(body) != 1 or not isinstance(body[0], ast.Raise) or body[0].exc is None:
        return False
    error = body[0].exc
    return ast.unparse(error.func if isinstance(error, ast.Call) else error) == (
        "NotImplementedError"
    )


def _global_names(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in NAMED:
            yield step.argval
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _global_names(part)


def _calls_made_at_once(node: ast.AST) -> Iterator[ast.Call]:
    """Calls outside of the functions that a statement defines."""
    if isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls_made_at_once(child)


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _targets(node: ast.expr | None) -> Iterator[tuple[str, bool]]:
    """(name, whether it is only changed) for a target of an assignment."""
    if isinstance(node, ast.Name):
        yield node.id, False
    elif isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            yield from _targets(part)
    elif isinstance(node, ast.Starred):
        yield from _targets(node.value)
    elif isinstance(node, ast.Attribute | ast.Subscript) and (root := _root(node)):
        yield root, True


def _bound(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """(name, whether it is only changed) for what a statement binds in the learner's names."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, False
            return
        case ast.Import() | ast.ImportFrom():
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], False
            return
        case ast.Assign():
            for target in node.targets:
                yield from _targets(target)
        case ast.AnnAssign() if node.value is not None:
            yield from _targets(node.target)
        case ast.AugAssign():
            yield from _targets(node.target)
        case ast.For() | ast.AsyncFor():
            yield from _targets(node.target)
        case ast.withitem():
            yield from _targets(node.optional_vars)
        case ast.NamedExpr():
            yield from _targets(node.target)
        case ast.Expr(value=ast.Call(func=ast.Attribute() as function)):
            if root := _root(function):
                yield root, True
        case ast.Lambda():
            return
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _plain(code: str) -> str:
    """The cell without a magic above it that runs the cell where it stands; lines keep numbers."""
    lines = code.split("\n")
    for i, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            if line.split()[0] not in IN_PLACE:
                break
            lines[i] = ""
    return "\n".join(TIMED.sub(r"\1", line) for line in lines)


def _parsed(code: str) -> tuple[str, ast.Module]:
    """The text that was parsed, and its tree; magics and shell lines call `get_ipython` there."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return code, ast.parse(code)
        except SyntaxError as error:
            from IPython.core.inputtransformer2 import TransformerManager

            # IPython takes empty lines above away: with them, lines keep their numbers
            empty = re.match(r"(?:[^\S\n]*\n)*", code)
            try:
                changed = "\n" * (empty[0].count("\n") if empty else 0)
                changed += TransformerManager().transform_cell(code)
                return changed, ast.parse(changed)
            except SyntaxError:
                raise error from None


def syntax_problem(code: str, error: Exception) -> str:
    """What is wrong with a cell that cannot be read."""
    if "<<<<<<<" in code or ">>>>>>>" in code:
        return "it holds merge-conflict markers: keep one side and delete the marker lines"
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{error.msg} in line {error.lineno}: {(error.text or '').strip()[:200]}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _unreadable(cell: Cell, code: str, why: str) -> Statement:
    lines = [line for line in code.splitlines() if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    found = (STARTS.match(line[margin:]) for line in lines)  # what is indented makes no names here
    makes = frozenset(m[1] or m[2] for m in found if m)
    return Statement(cell, None, code, makes, problem=why)


def _pieces(code: str) -> Iterator[str]:
    """The statements of a file that cannot be read as a whole, each padded to its own line."""
    lines = code.split("\n")
    begins = [
        i for i, line in enumerate(lines)
        if BEGINS.match(line) and not line.startswith(("else", "elif", "except", "finally"))
        and not (i and lines[i - 1].startswith("@"))
    ]  # fmt: skip
    for i, start in enumerate(begins):
        end = begins[i + 1] if i + 1 < len(begins) else len(lines)
        yield "\n" * start + "\n".join(lines[start:end]) + "\n"


def statements(cells: Iterable[Cell], is_script: bool = False) -> list[Statement]:
    """Every statement of a file in its order. In a .py file a broken piece spares the others."""
    found: list[Statement] = []
    flags = 0
    for cell in cells:
        code = _plain(cell.code)
        if (apart := APART.match(code.lstrip())) and not is_script:
            why = f"begins with %%{apart[1]}, which runs the cell apart: it defines nothing"
            found.append(_unreadable(cell, code, f"{cell.where} {why}. Delete that line"))
            continue
        for piece, tree in _trees(code, is_script):
            if isinstance(tree, str):
                found.append(_unreadable(cell, piece, f"{cell.where} can't be read: {tree}"))
                continue
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    for alias in node.names:
                        flags |= getattr(getattr(__future__, alias.name, 0), "compiler_flag", 0)
                    continue
                found.append(_statement(cell, node, piece, flags))
    return found


def _trees(code: str, is_script: bool) -> Iterator[tuple[str, ast.Module | str]]:
    """(text, its tree or what is wrong) of a cell, or of each piece of a broken .py file."""
    try:
        yield _parsed(code)
        return
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = syntax_problem(code, error)
    if not is_script:
        yield code, problem
        return
    for piece in _pieces(code):
        try:
            yield _parsed(piece)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            yield piece, syntax_problem(piece, error)


def _statement(cell: Cell, node: ast.stmt, code: str, flags: int) -> Statement:
    names = list(_bound(node))
    above = [d.lineno for d in getattr(node, "decorator_list", [])]
    lines = code.split("\n")[min([node.lineno, *above]) - 1 : node.end_lineno]
    return Statement(
        cell, node, "\n".join(lines),
        frozenset(n for n, changed in names if not changed),
        frozenset(n for n, changed in names if changed), flags,
    )  # fmt: skip


def needed(everything: Sequence[Statement], names: Iterable[str]) -> list[Statement]:
    """The statements that these names rest on, in the file's order."""
    imported = {
        n for s in everything if isinstance(s.node, ast.Import | ast.ImportFrom) for n in s.makes
    }
    own = {n for s in everything if s.node for n in s.makes} - imported
    of: dict[str, list[Statement]] = {}
    for s in everything:
        # `torch.manual_seed(0)` changes a module, not a value of the learner's
        for name in s.makes | (s.alters & own):
            of.setdefault(name, []).append(s)
    chosen, todo = set(of.get("*", ())), set(names)
    seen = set(todo)
    while todo:
        new = {s for name in todo for s in of.get(name, ())} - chosen
        chosen |= new
        todo = {name for s in new for name in s.reads} - seen
        seen |= todo
    return [s for s in everything if s in chosen]


def fingerprint(chosen: Sequence[Statement]) -> str:
    """What the statements say, as a hash."""
    text = "\0".join(f"{s.flags} {s.problem} {s.source}" for s in chosen)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
