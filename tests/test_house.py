"""The house keeps its plan: who may import whom, how, how long a file may be, and that the docs name every room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 450
HUB = (
    *(
        f"{part}_finener"
        for part in (
            "answers",
            "building",
            "configuration",
            "decoding",
            "json",
            "layers",
            "modeling",
            "naming",
            "numpy",
            "onnx",
            "ontology",
            "pipeline",
            "windows",
            "words",
        )
    ),
    "handler",
)
# What a Hub repo's files may import beside each other and the standard library.
HUB_PACKAGES = {"torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "numpy", "onnxruntime"}
# From the bottom to the top; a room imports itself and what is below it.
ORDER = ["paths", "hub", "data_scripts", "prediction", "metrics", "publishing", "training", "export", "top"]
TOP = {
    "experiments",
    "release",
    "scripts",
    "space",
    "benchmarks",
    "cli",
    "__main__",
    "train_finener",
    "predict_finener",
}
LAZY = {"__init__"}  # names its modules as text, and imports them when they are asked for


def python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if not {".venv", "outputs", "build"} & set(path.relative_to(ROOT).parts))


ROOMS = (
    *("data_scripts", "prediction", "metrics", "publishing", "training", "export"),
    *("experiments", "release", "scripts", "space", "benchmarks"),
)
OURS = [*sorted(ROOT.glob("*.py")), *python_files(*ROOMS)]


def room_of(parts: tuple[str, ...]) -> str:
    """The room of a module, given as the parts of its name below ``finener``."""
    first = parts[0]
    return "hub" if first in HUB else "top" if first in TOP else first


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(level, module) of every import, also of those inside functions; what a package is asked for counts as its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""
            yield from ((node.level, f"{node.module or ''}.{alias.name}".lstrip(".")) for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def wrong_arrows(path: Path, tree: ast.AST) -> list[str]:
    """The modules of ours that the file imports from a room above its own."""
    own = room_of(path.relative_to(ROOT).with_suffix("").parts)
    wrong = []
    for level, module in imports(tree):
        parts = tuple(module.split("."))
        if level == 0 and parts[0] == "finener" and len(parts) > 1:
            other = room_of(parts[1:])
            if other in ORDER and ORDER.index(other) > ORDER.index(own):
                wrong.append(module)
    return wrong


def guards_our_imports(tree: ast.AST) -> bool:
    """Whether a ``try … except ImportError`` stands around an import of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            caught = ast.unparse(ast.Module([*(h.type for h in node.handlers if h.type)], [])) if node.handlers else ""
            inside = [item for part in (node.body, *(h.body for h in node.handlers)) for item in part]
            ours = [m for item in inside for level, m in imports(item) if level or m.partition(".")[0] == "finener"]
            if ("ImportError" in caught or "ModuleNotFoundError" in caught) and ours:
                return True
    return False


def hub_faults(tree: ast.AST) -> list[str]:
    """What a Hub file imports that its repo does not carry or that it does not import relatively."""
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            faults += [name for name in names if node.level > 1 or name not in HUB]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            packages = {name.partition(".")[0] for name in names}
            faults += sorted(packages - HUB_PACKAGES - sys.stdlib_module_names)
    return faults


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_arrow_leads_back_up_and_no_import_of_ours_is_guarded(path):
    tree = parsed(path)
    if path.stem not in LAZY or path.parent != ROOT:
        assert room_of(path.relative_to(ROOT).with_suffix("").parts) in ORDER, (
            "a new file of the root needs its room here"
        )
        assert wrong_arrows(path, tree) == []
    assert not guards_our_imports(tree)


@pytest.mark.parametrize("name", [name for name in HUB if (ROOT / f"{name}.py").is_file()])
def test_a_hub_file_imports_only_what_its_repo_has(name):
    assert hub_faults(parsed(ROOT / f"{name}.py")) == []


def test_the_space_stands_alone():
    own = {path.stem for path in (ROOT / "space").glob("*.py")}
    modules = {
        m.partition(".")[0] for path in (ROOT / "space").glob("*.py") for n, m in imports(parsed(path)) if n == 0
    }
    assert own >= {"app", "reading"} and modules - own - sys.stdlib_module_names - {"gradio", "transformers"} == set()


def test_outside_the_hub_files_ours_are_imported_by_their_full_name():
    for path in OURS:
        if path.stem not in HUB:
            assert [module for level, module in imports(parsed(path)) if level] == [], path


def test_the_checks_see_what_they_look_for():
    path = ROOT / "data_scripts" / "corpora" / "made.py"
    assert wrong_arrows(path, ast.parse("def f():\n    from finener.training import trainer")) == [
        "finener.training",
        "finener.training.trainer",
    ]
    assert wrong_arrows(path, ast.parse("from finener import metrics")) == ["finener.metrics"]
    assert wrong_arrows(path, ast.parse("from finener.pipeline_finener import TextEncoder")) == []
    guarded = (
        "try:\n    from .layers_finener import x\nexcept (ImportError, OSError):\n    from layers_finener import x"
    )
    assert guards_our_imports(ast.parse(guarded))
    assert not guards_our_imports(ast.parse("try:\n    import spacy\nexcept ImportError:\n    pass"))
    assert hub_faults(ast.parse("import datasets\nfrom finener.paths import ROOT\nfrom .trainer import x")) == [
        "datasets",
        "finener",
        "trainer",
    ]


def test_no_file_of_ours_is_too_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*OURS, *python_files("tests")]}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_every_room_is_named_in_the_house_plan():
    plan = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.relative_to(ROOT) for path in OURS if path.parent != ROOT}
    assert [str(room) for room in sorted(rooms) if f"`{room}/`" not in plan] == []
    assert set(map(str, rooms)) >= set(ROOMS)


def test_every_package_goes_into_the_wheel_or_is_for_maintainers():
    import tomllib

    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    packages = {path.parent.relative_to(ROOT) for path in OURS if path.parent != ROOT}
    shipped = [p for p in packages if p.parts[0] not in ("experiments", "release", "scripts", "space", "benchmarks")]
    assert sorted(told) == sorted(["finener", *(".".join(["finener", *p.parts]) for p in shipped)])


def test_importing_the_package_is_cheap():
    check = "import finener, sys; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
