"""The shape of the package: no cycle among its modules, lazy imports counted, and no framework named by the core."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import autotrack

ROOT = Path(autotrack.__file__).parent
FRAMEWORKS = {
    "sklearn",
    "lightning",
    "pytorch_lightning",
    "transformers",
    "keras",
    "torch",
    "tensorflow",
    "jax",
    "xgboost",
}


def modules() -> dict[str, ast.Module]:
    """Our modules by name; the folder of integrations is read once, not through the link as well."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        words = [ROOT.name, *path.relative_to(ROOT).with_suffix("").parts]
        name = ".".join(words[:-1] if words[-1] == "__init__" else words)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of ours that a module imports, anywhere in it but under `if TYPE_CHECKING`."""
    typed = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typed:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known or {node.module}
    return found & known


def test_no_module_imports_itself_by_way_of_others() -> None:
    trees = modules()
    known = set(trees)
    graph = {name: imports(tree, known) - {name, "autotrack"} for name, tree in trees.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a cycle: {' -> '.join(error.args[1])}") from None


def test_the_core_imports_no_framework() -> None:
    for name, tree in modules().items():
        if name.startswith("autotrack.integrations"):
            continue
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {each.partition(".")[0] for each in names} & FRAMEWORKS, name


def test_the_training_side_reaches_the_reading_side_only_to_read_a_live_run_or_to_find_one_to_resume() -> (
    None
):
    reading = (
        "autotrack.index",
        "autotrack.catalog",
        "autotrack.checkpoints",
        "autotrack.cli",
        "autotrack.web",
        "autotrack.sync",
    )
    trees = modules()
    known = set(trees)
    found = {
        name
        for name, tree in trees.items()
        if not name.startswith((*reading, "autotrack.__main__"))
        and any(each.startswith(reading) for each in imports(tree, known))
    }
    assert found <= {
        "autotrack.earlier",
        "autotrack.face",
        "autotrack.readback",
        "autotrack.resuming",
        "autotrack.testing",
    }
