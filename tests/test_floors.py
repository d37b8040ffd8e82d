"""The floors of ARCHITECTURE.md: imports go down, never up or in a circle; nothing heavy comes along."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fastreg

PACKAGE = Path(fastreg.__file__).parent
FLOORS = {
    0: "ops csr checks errors threads version atomic strict",
    1: "_core kernels reference config",
    2: "layers penalties losses optimizers schedules averages callbacks history data targets metrics initial settings "
    "functional container calibration balance custom augment preprocessing",
    3: "layout builder reverse plan inference summary values transformed",
    4: "model state lap train progress",
    5: "network",
    6: "plot files checkpoint safetensors estimators presets",
    7: "__init__ __main__ demo",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
HEAVY = {"matplotlib", "pandas", "scipy", "sklearn"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def import_statements(node, functions_too=True):
    """All import statements below a node; without `functions_too` those that run when the module loads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif functions_too or not isinstance(child, FUNCTIONS):
            yield from import_statements(child, functions_too)


def targets(statement, package):
    """Dotted names that a statement imports, as tuples; `package` is where relative imports start."""
    if isinstance(statement, ast.Import):
        return [tuple(alias.name.split(".")) for alias in statement.names]
    above = package[: len(package) - statement.level + 1] if statement.level else ()
    source = (*above, *(statement.module.split(".") if statement.module else ()))
    return [(*source, alias.name) for alias in statement.names]


def imports_of_fastreg(source, package=("fastreg",)):
    """Modules of fastreg that source imports, lazily too; what is no module comes from __init__."""
    known = FLOOR.keys() | {path.stem for path in PACKAGE.iterdir()}
    found = (target for s in import_statements(ast.parse(source)) for target in targets(s, package))
    below = (target[1:] for target in found if target[0] == "fastreg")
    return {rest[0] if rest and rest[0] in known else "__init__" for rest in below}


def heavy_at_load(source):
    statements = import_statements(ast.parse(source), functions_too=False)
    return {target[0] for s in statements for target in targets(s, ())} & HEAVY


def upward(name, imported):
    return sorted(other for other in imported if FLOOR[other] > FLOOR[name])


PATHS = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {relative: Path(relative).parts[0].removesuffix(".py") for relative in PATHS}
every_module = pytest.mark.parametrize("relative", PATHS)


def read_imports(relative):
    package = ("fastreg", *Path(relative).parts[:-1])
    return imports_of_fastreg(PATHS[relative].read_text(encoding="utf-8"), package)


def test_every_module_has_a_floor_and_every_floor_its_modules():
    assert set(MODULES.values()) == set(FLOOR)


@every_module
def test_imports_go_down(relative):
    assert upward(MODULES[relative], read_imports(relative)) == []


def test_no_circles():
    graph = {name: set() for name in FLOOR}
    for relative, name in MODULES.items():
        graph[name] |= read_imports(relative) - {name}
    TopologicalSorter(graph).prepare()


@every_module
def test_nothing_heavy_is_imported_at_load(relative):
    if FLOOR[MODULES[relative]] <= 5:
        assert heavy_at_load(PATHS[relative].read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("pattern", ["*.pyx", "*.pxd"])
def test_compiled_core_stands_on_its_own_floor(pattern):
    for path in PACKAGE.glob(f"_core/{pattern}"):
        source = path.read_text(encoding="utf-8")
        names = re.findall(r"^\s*(?:from|c?import)\s+fastreg\.(\w+)", source, re.MULTILINE)
        assert upward("_core", names) == [], path.name


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import numpy", set()),
        ("import fastreg.plan", {"plan"}),
        ("from fastreg.plan import lower", {"plan"}),
        ("from fastreg import plan, ops", {"plan", "ops"}),
        ("from . import plan", {"plan"}),
        ("from .plan import lower", {"plan"}),
        ("from fastreg import Network", {"__init__"}),
        ("def f():\n    from fastreg.network import Network", {"network"}),
    ],
)
def test_the_walk_sees_each_way_to_import(source, imported):
    assert imports_of_fastreg(source) == imported


def test_the_rules_can_be_broken():
    assert upward("layers", imports_of_fastreg("from fastreg.network import Network")) == ["network"]
    assert heavy_at_load("if True:\n    from scipy.special import expit") == {"scipy"}
    assert heavy_at_load("def f():\n    import scipy") == set()
    with pytest.raises(CycleError):
        TopologicalSorter({"layout": {"plan"}, "plan": {"layout"}}).prepare()
