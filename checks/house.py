"""The house: rooms, floors and arrows, counted from the source.

    python -m checks.house

A room is a package of nncomp or a module beside the packages. An arrow leads from a room to another room that the first one
imports, wherever the import stands: at the top of a module, within a function or under TYPE_CHECKING. Arrows lead down, from a
higher floor to a lower one; rooms of one floor do not know one another. A circle is a set of rooms, or of modules, that
import one another.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS: tuple[tuple[str, ...], ...] = (  # the lowest first; CONTRIBUTING.md says what each room knows
    ("errors", "version"),
    ("machine",),
    ("format", "range_coder"),
    ("network", "mixing"),
    ("blocks",),
    ("stream",),
    ("bench", "cluster", "entropy", "training"),
    ("api", "plots"),
    ("cli",),
    ("nncomp",),  # nncomp/__init__.py: the names that a program may import, each loaded when it is used
)
MOST_ROOMS, MOST_LINES = 20, 400
MOST_PARAMETERS, MOST_KERNEL_PARAMETERS = 7, 10
KERNELS = {"compiled", "inlined", "parallel", "triton.jit"}  # decorators: of nncomp.machine.kernels, for training, of Triton

Graph = Mapping[str, set[str]]


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the modules of nncomp by dotted name; a package is its `__init__`."""
    found = {}
    for path in sorted((root / "nncomp").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return which modules each module imports."""
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                dotted = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {each if each in known else node.module for each in dotted}
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
        found[name] = {each for each in found[name] if each in known} - {name}
    return found


def room(module: str) -> str:
    """Return the room of a module.

    >>> room("nncomp.mixing.tables"), room("nncomp.errors"), room("nncomp")
    ('mixing', 'errors', 'nncomp')
    """
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def rooms(graph: Graph) -> dict[str, set[str]]:
    """Return which rooms each room imports, from the imports of modules."""
    found: dict[str, set[str]] = {room(name): set() for name in graph}
    for name, targets in graph.items():
        found[room(name)] |= {room(target) for target in targets} - {room(name)}
    return found


def circles(graph: Graph) -> list[set[str]]:
    """Return the sets of nodes that reach one another (strongly connected, two or more).

    >>> circles({"a": {"b"}, "b": {"a", "c"}, "c": set()}) == [{"a", "b"}]
    True
    """
    reached = {name: _reached(graph, name) for name in graph}
    found: list[set[str]] = []
    for name in graph:
        circle = {other for other in reached[name] if name in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def depth(graph: Graph) -> int:
    """Return on how many floors the rooms stand: the length of the longest way down."""
    depths: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depths:
            depths[name] = 0  # a circle ends here
            depths[name] = 1 + max((of(target) for target in graph[name]), default=0)
        return depths[name]

    return max(of(name) for name in graph)


def upward(graph: Graph) -> list[str]:
    """Return the imports of modules that do not lead to a lower floor, and rooms that have no floor."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names} | {"__main__": len(FLOORS)}
    strange = sorted({room(name) for name in graph} - set(floor))
    found = [f"{name} has no floor" for name in strange]
    for name, targets in graph.items():
        for target in sorted(targets):
            here, there = room(name), room(target)
            if here != there and here in floor and there in floor and floor[here] <= floor[there]:
                found.append(f"{name} imports {target}")
    return found


def long_modules(known: Mapping[str, Path]) -> list[str]:
    """Return the modules of more than MOST_LINES lines."""
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in known.items()}
    return [f"{name} has {count} lines" for name, count in lines.items() if count > MOST_LINES]


def long_signatures(known: Mapping[str, Path]) -> list[str]:
    """Return the functions that take more parameters than are allowed: kernels MOST_KERNEL_PARAMETERS, others MOST_PARAMETERS.

    Commands (functions decorated by `app`) are left out: there a parameter is an option of the command line.
    """
    found = []
    for name, path in known.items():
        for function in _functions(ast.parse(path.read_text(encoding="utf-8"))):
            decorators = {ast.unparse(each).split("(")[0] for each in function.decorator_list}
            if any(each.startswith("app.") for each in decorators):
                continue
            arguments = function.args
            given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = len([each for each in given if each.arg not in ("self", "cls")])
            most = MOST_KERNEL_PARAMETERS if decorators & KERNELS else MOST_PARAMETERS
            if count > most:
                found.append(f"{name}.{function.name} takes {count} parameters")
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def faults(root: Path = ROOT) -> list[str]:
    """Return what is wrong with the house, a sentence each."""
    known = modules(root)
    graph = imports(known)
    found = upward(graph)
    found += [f"circle of modules: {', '.join(sorted(each))}" for each in circles(graph)]
    found += [f"circle of rooms: {', '.join(sorted(each))}" for each in circles(rooms(graph))]
    if len(rooms(graph)) > MOST_ROOMS:
        found.append(f"{len(rooms(graph))} rooms, and {MOST_ROOMS} are allowed")
    return found + long_modules(known) + long_signatures(known)


def main() -> int:
    known = modules()
    graph = imports(known)
    between = rooms(graph)
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in known.items()}
    for name, targets in sorted(between.items(), key=lambda each: next((i for i, f in enumerate(FLOORS) if each[0] in f), 99)):
        inside = [count for module, count in lines.items() if room(module) == name]
        print(f"{name:12} {len(inside):3} modules {sum(inside):6,} lines -> {', '.join(sorted(targets))}")
    print(
        f"{len(between)} rooms on {depth(between)} floors, {sum(map(len, between.values()))} arrows between them, "
        f"{len(circles(between))} circles of rooms, {len(circles(graph))} of modules; "
        f"{len(known)} modules, {sum(lines.values()):,} lines, the longest {max(lines.values())}"
    )
    found = faults()
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
