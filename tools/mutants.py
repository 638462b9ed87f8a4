"""Try the tests: make many wrong versions of each worked function and list those that pass.

python -m tools.mutants 3.1.1            a section, or an exercise
python -m tools.mutants 3.1.1 --named    and what a learner would be told about each

Each version differs from the worked one in one place: a comparison with the other boundary, an
axis, a sign, a floor, no `abs`, a reshape for a transpose, a loop that stops after its first pass.
What passes is either equal to the right answer after all, or a hole in the tests.
"""

import ast
import copy
import linecache
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console

from utils.course import CourseError, Exercise, Section, find_section, sections
from utils.grading.run import run_exercise, run_tests
from utils.progress import track

LIMIT_S = 3.0  # per test: a version that loops for ever is rejected, and cheaply

COMPARED: dict[type, type] = {
    ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}  # fmt: skip
COMBINED: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,), ast.FloorDiv: (ast.Mult,), ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}  # fmt: skip
RENAMED = {
    "mean": "sum", "sum": "mean", "max": "min", "min": "max", "amax": "amin", "amin": "amax",
    "argmax": "argmin", "argmin": "argmax", "any": "all", "all": "any", "floor": "ceil",
    "ceil": "floor", "cumsum": "cumprod", "triu": "tril", "tril": "triu", "std": "var",
    "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "maximum": "minimum", "minimum": "maximum", "log": "log2", "rand": "randn", "median": "mean",
    "rand_like": "randn_like",
}  # fmt: skip
# calls that may be left out: f(x) and x.f() become x
LEFT_OUT = {
    "abs", "relu", "sqrt", "square", "detach", "clone", "exp", "log", "clamp", "clamp_min", "triu",
    "tril", "normalize", "item", "float", "to", "sort", "flip", "contiguous", "softmax", "sigmoid",
    "round", "floor", "ceil", "sign", "reversed", "sorted", "set", "frozenset",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A wrong version: what was changed, and the whole cell."""

    change: str
    source: str


def _variants(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every replacement of one node, with a word on it."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            yield "other comparison", _with(node, ops=[COMPARED[type(op)]()])
        case ast.BinOp(op=op) if type(op) in COMBINED:
            for other in COMBINED[type(op)]:
                yield "other operator", _with(node, op=other())
            if isinstance(op, ast.Mult | ast.Add):
                yield "left part only", node.left
            if isinstance(op, ast.Sub | ast.Div | ast.MatMult):
                yield "operands swapped", _with(node, left=node.right, right=node.left)
                yield "left part only", node.left
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield "sign or `not` left out", node.operand
        case ast.BoolOp(op=op):
            yield (
                "`and` for `or`",
                _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And()),
            )
        case ast.IfExp():
            yield "first case only", node.body
            yield "second case only", node.orelse
        case ast.Constant(value=bool(flag)):
            yield "the other of true and false", ast.Constant(not flag)
        case ast.Constant(value=int(count)):
            for n in {count + 1, count - 1, -count - 1}:
                yield f"{n} for {count}", ast.Constant(n)
        case ast.Constant(value=float(number)):
            small = (number * 100, number * 2, 0.0, 0.1)
            for x in small if number < 0.05 else (number * 2, number + 1):
                if x != number:
                    yield f"{x:g} for {number:g}", ast.Constant(x)
        case ast.Constant(value=str(text)) if "->" in text:
            yield from _patterns(text)
        case ast.Attribute(value=inner, attr="T" | "mT" | "H"):
            yield "no transpose", inner
            yield "reshape for a transpose", _reshaped(inner, -1, -2)
        case ast.Slice():
            for part in ("lower", "upper"):
                if getattr(node, part) is not None:
                    yield f"slice without its {part} end", _with(node, **{part: None})
        case ast.Call():
            yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = _name(node.func)
    inner = node.func.value if isinstance(node.func, ast.Attribute) else None
    on_module = isinstance(inner, ast.Name) and inner.id in ("torch", "F", "math", "np", "linalg")
    subject = node.args[0] if (inner is None or on_module) and node.args else inner
    if name in LEFT_OUT and subject is not None and not isinstance(subject, ast.Starred):
        yield f"no {name}", subject
    if name in RENAMED and inner is not None:
        yield f"{RENAMED[name]} for {name}", _with(node, func=_with(node.func, attr=RENAMED[name]))
    if name in ("randn", "randn_like") and inner is not None:
        # a uniform law of the same variance
        draw = _with(node, func=_with(node.func, attr=name.replace("randn", "rand")))
        centred = ast.BinOp(
            ast.BinOp(draw, ast.Sub(), ast.Constant(0.5)), ast.Mult(), ast.Constant(12**0.5)
        )
        yield "uniform for normal", centred
    if name == "transpose" and inner is not None and len(node.args) == 2:
        yield "no transpose", inner
        yield "reshape for a transpose", _reshaped(inner, -1, -2)
    for i, keyword in enumerate(node.keywords):
        rest = node.keywords[:i] + node.keywords[i + 1 :]
        if keyword.arg in (
            "min",
            "max",
            "keepdim",
            "unbiased",
            "correction",
            "generator",
            "descending",
        ):
            yield f"no {keyword.arg}", _with(node, keywords=rest)
        if keyword.arg in ("dim", "axis"):
            yield f"no {keyword.arg}", _with(node, keywords=rest)
    if len(node.args) == 2 and name not in (
        "isinstance",
        "zip",
        "getattr",
        "rearrange",
        "repeat",
        "reduce",
    ):
        yield "arguments swapped", _with(node, args=node.args[::-1])
    if name == "where" and len(node.args) == 3:
        yield "cases swapped", _with(node, args=[node.args[0], node.args[2], node.args[1]])


def _patterns(text: str) -> Iterator[tuple[str, ast.AST]]:
    """An einsum with two axes of one operand exchanged: a transpose that is lost."""
    left, _, right = text.partition("->")
    operands = [part.split() for part in left.split(",")]
    for i, axes in enumerate(operands):
        for j in range(len(axes) - 1):
            swapped = [*axes[:j], axes[j + 1], axes[j], *axes[j + 2 :]]
            parts = [" ".join(a) for a in [*operands[:i], swapped, *operands[i + 1 :]]]
            yield "einsum axes exchanged", ast.Constant(f"{', '.join(parts)} ->{right}")
    out = right.split()
    for j in range(len(out) - 1):
        swapped = [*out[:j], out[j + 1], out[j], *out[j + 2 :]]
        yield "result's axes exchanged", ast.Constant(f"{left}-> {' '.join(swapped)}")


def _statements(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Every body with one statement changed: left out, a loop cut short, a condition forced."""
    for i, node in enumerate(body):
        before, after = body[:i], body[i + 1 :]
        match node:
            case ast.Return() | ast.FunctionDef() | ast.Import() | ast.ImportFrom():
                continue
            case ast.Expr(value=ast.Constant()):
                continue  # the docstring
            case ast.For():
                stop = _with(node, body=[*node.body, ast.Break()])
                yield "the loop stops after its first pass", [*before, stop, *after]
            case ast.If():
                yield "condition always true", [*before, *node.body, *after]
                yield "condition always false", [*before, *(node.orelse or [ast.Pass()]), *after]
            case ast.With():
                yield "no `with`", [*before, *node.body, *after]
            case ast.Continue():
                yield "break for continue", [*before, ast.Break(), *after]
                yield "return for continue", [*before, ast.Return(None), *after]
            case ast.Break():
                yield "continue for break", [*before, ast.Continue(), *after]
            case ast.Expr() | ast.AugAssign() | ast.Raise():
                yield "a line left out", [*before, ast.Pass(), *after]
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if len(body) > 1:
                if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(value)):
                    yield "a line left out", [*before, ast.Pass(), *after]


def _with(node: ast.AST, **changes: Any) -> Any:
    new = copy.copy(node)
    for key, value in changes.items():
        setattr(new, key, value)
    return new


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def _reshaped(inner: ast.expr, a: int, b: int) -> ast.expr:
    """`inner` with the shape of its transpose and the order of its numbers kept."""
    text = f"(lambda m: m.reshape(m.transpose({a}, {b}).shape))(x)"
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)
    return _with(call, args=[inner])


def mutants(source: str) -> list[Mutant]:
    """All wrong versions of a cell, each once."""
    tree = ast.parse(source)
    known, found = {ast.unparse(tree)}, []
    for change, text in _edits(tree):
        if text not in known:
            known.add(text)
            found.append(Mutant(change, text))
    return found


def _edits(tree: ast.Module) -> Iterator[tuple[str, str]]:
    [top] = tree.body
    inside = [n for f in ast.walk(top) if isinstance(f, ast.FunctionDef) for n in f.body]
    skip = {id(n) for n in inside if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    for holder in ast.walk(top):
        if isinstance(holder, ast.FunctionDef):
            holder_annotations = {id(a) for a in ast.walk(holder.args)}
            skip |= holder_annotations | (
                {id(n) for n in ast.walk(holder.returns)} if holder.returns else set()
            )
            for decorator in holder.decorator_list:
                skip |= {id(n) for n in ast.walk(decorator)}
        if isinstance(holder, ast.AnnAssign):
            skip |= {id(n) for n in ast.walk(holder.annotation)}
        if isinstance(holder, ast.Raise):
            skip |= {id(n) for n in ast.walk(holder)}
    for holder in ast.walk(top):
        if id(holder) in skip:
            continue
        for field, value in ast.iter_fields(holder):
            if isinstance(holder, ast.FunctionDef) and field in (
                "args",
                "returns",
                "decorator_list",
            ):
                continue
            if field in ("body", "orelse") and isinstance(value, list):
                for change, body in _statements(value):
                    yield _edited(tree, holder, field, value, body, change)
            children = value if isinstance(value, list) else [value]
            for i, child in enumerate(children):
                if not isinstance(child, ast.AST) or id(child) in skip:
                    continue
                for change, new in _variants(child):
                    whole = (
                        [*children[:i], new, *children[i + 1 :]] if isinstance(value, list) else new
                    )
                    yield _edited(tree, holder, field, value, whole, change)


def _edited(
    tree: ast.Module, holder: ast.AST, field: str, old: Any, new: Any, change: str
) -> tuple[str, str]:
    setattr(holder, field, new)
    try:
        text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
    finally:
        setattr(holder, field, old)
    line = getattr(holder, "lineno", 0)
    return f"line {line}: {change}", text


def load(exercise: Exercise, source: str, names: dict[str, Any]) -> Callable[..., Any] | None:
    """The wrong version as a function, or None where it cannot even be defined."""
    file = f"<mutant of {exercise.name}>"
    space = dict(names)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    try:
        exec(compile(source, file, "exec"), space)
    except Exception:
        return None
    return space[exercise.name]


def _changed(source: str, mutant: Mutant) -> str:
    """The lines of a version that the worked one does not have."""
    old = set(ast.unparse(ast.parse(source)).splitlines())
    new = [line.strip() for line in mutant.source.splitlines() if line not in old]
    return " / ".join(new[:3]) or "(a line is gone)"


def try_exercise(exercise: Exercise, section: Section, named: bool, console: Console) -> Counter:
    """Run the tests on all wrong versions of one exercise and print those that pass."""
    names, count = dict(vars(section.reference())), Counter[str]()
    for mutant in mutants(exercise.source):
        wrong = load(exercise, mutant.source, names)
        if wrong is None:
            continue
        answers = {**names, exercise.name: wrong}
        if named:
            result = run_exercise(exercise, answers, seconds=LIMIT_S)
            passed, told = result.verdict == "PASS", result.advice or ""
        else:
            outcomes = run_tests(exercise, answers, seconds=LIMIT_S).outcomes
            passed, told = bool(outcomes) and all(t.status == "PASS" for t in outcomes), ""
        count["versions"] += 1
        count["passed"] += passed
        count["named"] += bool(told)
        if passed or named:
            mark = "PASSES" if passed else "named" if told else "no name"
            line = f"{exercise.id} {exercise.name}: {mark}: {mutant.change}: "
            line += _changed(exercise.source, mutant)
            console.print(line + (f"\n      {told}" if told else ""), markup=False, soft_wrap=True)
    return count


def main(
    target: Annotated[str, typer.Argument(help="a section (3.1.1) or an exercise (3.1.1.c)")],
    named: Annotated[bool, typer.Option(help="also say what a learner would be told")] = False,
) -> None:
    """Make wrong versions of the worked functions and list those that the tests let pass."""
    console = Console(highlight=False)
    holder = next((s for s in sections() if s.exercise(target)), None)
    try:
        section = holder or find_section(target)
    except CourseError as error:
        raise typer.BadParameter(str(error)) from None
    chosen = [section.exercise(target)] if holder else list(section.exercises)
    total = Counter[str]()
    for exercise in track([e for e in chosen if e and e.kind == "function"], "exercises"):
        total += try_exercise(exercise, section, named, console)
    tail = f", {total['named']} named" if named else ""
    console.print(f"{total['versions']} wrong versions, {total['passed']} pass{tail}")


if __name__ == "__main__":
    typer.run(main)
