"""The house rules that a machine can read: floors, the wall, circles, sizes, and nothing that could run a pickle.

Every file of the package is read as text (`ast`), so imports inside functions and under TYPE_CHECKING count too. This
is an implementation of its own, on purpose: it shares no code with what it checks.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "scrutable"
FLOORS = (
    ("core",),
    ("world", "report"),
    ("models", "envs"),
    ("programs",),
    ("train", "measure"),
    ("evolve", "organisms"),
    ("lenses",),
    ("catalog",),
    ("bench",),
    ("cli",),
    ("__main__",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS, start=1) for name in names}
WALLED = ("programs", "train", "measure", "evolve", "lenses")
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 350, 60, 8  # self counts as a parameter


def module_name(file: Path) -> str:
    """`core.stats`; a package's face has the package's name; the face of all is the empty name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def absolute(node: ast.ImportFrom, name: str) -> list[str]:
    """The dotted path that `from ... import` starts at, as a list that begins with `scrutable` where it is ours."""
    stated = node.module.split(".") if node.module else []
    if not node.level:
        return stated
    here = ["scrutable", *name.split(".")] if name else ["scrutable"]
    if FILES[name].name != "__init__.py":
        here = here[:-1]
    return here[: len(here) - node.level + 1] + stated


@cache
def imports(name: str) -> tuple[tuple[list[str], int], ...]:
    """Every dotted path inside the package that the module names, without the package's own name, and its line."""
    return tuple(_imports(name))


def _imports(name: str) -> Iterator[tuple[list[str], int]]:
    for node in ast.walk(tree_of(name)):
        found: list[list[str]] = []
        if isinstance(node, ast.Import):
            found = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [[*absolute(node, name), alias.name] for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                found = [node.args[0].value.split(".")]
        for path in found:
            if path[0] == "scrutable":
                yield path[1:], getattr(node, "lineno", 0)


def resolve(path: list[str]) -> str:
    """The module that a dotted path means: its longest start that is a file. Empty for the package's face."""
    while path and ".".join(path) not in FILES:
        path = path[:-1]
    return ".".join(path)


@cache
def edges(name: str) -> frozenset[str]:
    """The modules that importing this one imports: those named, and the faces of packages they lie in."""
    found: set[str] = set()
    for path, _ in imports(name):
        target = resolve(path)
        parts = target.split(".")
        starts = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
        found |= {start for start in starts if start in FILES and not f"{name}.".startswith(f"{start}.")}
        if target and target != name:
            found.add(target)
    return frozenset(found - {name})


def top(name: str) -> str:
    return name.split(".")[0]


def test_every_part_of_the_package_has_a_floor() -> None:
    assert {top(name) for name in FILES} - {""} <= FLOOR.keys()


def test_imports_go_down() -> None:
    strays = [
        f"{FILES[name]}:{line} {top(name)} (floor {FLOOR[top(name)]}) imports {path[0]} (floor {FLOOR[path[0]]})"
        for name in FILES
        if name
        for path, line in imports(name)
        if path and path[0] in FLOOR and path[0] != top(name) and FLOOR[path[0]] >= FLOOR[top(name)]
    ]
    assert not strays, "\n".join(strays)


def test_nothing_imports_the_packages_face() -> None:
    strays = [f"{FILES[name]}:{line}" for name in FILES if name for path, line in imports(name) if not resolve(path)]
    assert not strays, "\n".join(strays)


def test_the_face_imports_nothing_of_the_package() -> None:
    assert not imports("")


@pytest.mark.parametrize("part", WALLED)
def test_what_searches_and_reads_never_reaches_the_grammar(part: str) -> None:
    """Neither by itself nor through what it imports: otherwise a search could list the grammar."""
    for start in (name for name in FILES if top(name) == part):
        paths = {start: start}
        queue = [start]
        while queue:
            here = queue.pop()
            for target in edges(here) - paths.keys():
                paths[target] = f"{paths[here]} -> {target}"
                assert top(target) != "world", paths[target]
                queue.append(target)


def test_no_circles() -> None:
    """A depth-first walk never meets a module that it is still inside of."""
    done: set[str] = set()

    def walk(name: str, inside: tuple[str, ...]) -> None:
        assert name not in inside, f"circle: {' -> '.join((*inside[inside.index(name) :], name))}"
        if name not in done:
            for target in sorted(edges(name)):
                walk(target, (*inside, name))
            done.add(name)

    for name in FILES:
        walk(name, ())


def test_modules_are_short() -> None:
    sizes = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES.values()}
    strays = [f"{file}: {size} lines" for file, size in sizes.items() if size > MODULE_LINES]
    assert not strays, "\n".join(strays)


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, file in FILES.items():
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file, node


def test_functions_are_short() -> None:
    strays = [
        f"{file}:{node.lineno} {node.name}: {size} lines"
        for file, node in functions()
        if (size := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not strays, "\n".join(strays)


def test_functions_take_few_parameters() -> None:
    strays = [
        f"{file}:{node.lineno} {node.name}: {count} parameters"
        for file, node in functions()
        if (count := len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)) > PARAMETERS
    ]
    assert not strays, "\n".join(strays)


def test_every_module_says_what_it_is() -> None:
    silent = [str(file) for name, file in FILES.items() if tree_of(name).body and not ast.get_docstring(tree_of(name))]
    assert not silent, "\n".join(silent)


def test_nothing_reads_or_writes_pickles() -> None:
    banned = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    strays = []
    for name, file in FILES.items():
        for node in ast.walk(tree_of(name)):
            named: list[str] = []
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                named = [node.module or ""]
            if any(module.split(".")[0] in banned for module in named):
                strays.append(f"{file}:{node.lineno} imports {named}")
            if isinstance(node, ast.Call) and unsafe(node):
                strays.append(f"{file}:{node.lineno} {ast.unparse(node)[:80]}")
    assert not strays, "\n".join(strays)


def unsafe(call: ast.Call) -> bool:
    """torch.load that is not weights-only, torch.save (it pickles), and numpy's pickled arrays."""
    said = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if said.endswith("torch.load"):
        return given.get("weights_only") != "True"
    return said.endswith("torch.save") or given.get("allow_pickle") == "True"
