"""The library's rooms: a module imports from its own room and from rooms below it, and no imports go in a circle."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# From the ground up; `cli` and `__main__` are single modules on top of the commands.
ORDER = (
    "base sql engines dataset sources scoring databases models training generation judge report experiments ask "
    "publish commands cli __main__"
).split()
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "text2sql").rglob("*.py"))
}
BESIDE = ("stages", "ci", "benchmarks", "tests")


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            for alias in node.names:  # of a package, a name may be a module
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in MODULES else node.module or "")
    return names


IMPORTS = {name: imported(path) & MODULES.keys() for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_is_in_a_room():
    assert {room(name) for name in MODULES} == {"", *ORDER}


@pytest.mark.parametrize("name", ORDER)
def test_a_room_imports_only_from_rooms_below_it(name):
    below = ORDER[: ORDER.index(name) + 1]
    upward = {
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        if room(module) == name
        for other in others
        if room(other) not in below
    }
    assert upward == set()


def test_no_imports_go_in_a_circle():
    def circle(module: str, path: tuple[str, ...] = ()) -> tuple[str, ...] | None:
        if module in path:
            return path[path.index(module) :]
        if module in whole:
            return None
        found = next(filter(None, (circle(other, (*path, module)) for other in sorted(IMPORTS[module]))), None)
        whole.add(module)
        return found

    whole: set[str] = set()  # modules from which no circle is reached
    assert [found for module in MODULES if (found := circle(module))] == []


def test_the_library_imports_nothing_that_stands_beside_it():
    everything = set().union(*(imported(path) for path in MODULES.values()))
    assert {name for name in everything if name.split(".")[0] in BESIDE} == set()


SCRIPTS = [path for path in sorted((ROOT / "stages").glob("*.py")) if path.stem != "checkout"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_stage_imports_its_checkout_first_and_no_other_script(script):
    _docstring, first, *_rest = ast.parse(script.read_text(encoding="utf-8")).body
    assert ast.unparse(first) == "import checkout"
    neighbours = {path.stem for path in SCRIPTS}
    assert {name for name in imported(script) if name.split(".")[0] in {*neighbours, *BESIDE}} == set()
