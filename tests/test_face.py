"""What readers see: sorted public names, docstrings everywhere, files that fit in a head."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for top in ("visionkit", "models", "datasets", "apps", "benchmarks", "tests")
    for path in (ROOT / top).rglob("*.py")
)  # fmt: skip
SOURCES = [path for path in FILES if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks")]
MOST_LINES = 400


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_public_things_have_docstrings(path):
    """Modules, public classes and public functions; kernels' helpers included."""
    missing = []

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                setter = any(ast.unparse(one).endswith(".setter") for one in node.decorator_list)
                if node.name.startswith("_") or setter:
                    continue
                if not ast.get_docstring(node):
                    missing.append(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")

    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body and not ast.get_docstring(tree):
        missing.append("the module")
    visit(tree.body, "")
    assert not missing


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_public_names_are_sorted_and_real(path):
    """An __all__ is a sorted list of literals without doubles, and each name exists in the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names = ast.literal_eval(node.value)
            assert len(set(names)) == len(names)
            assert sorted(names) == sorted(set(names))
            assert list(names) in (sorted(names), sorted(names, key=_isort))


def _isort(text: str) -> tuple[int, str]:
    """Ruff's order of __all__: CONSTANTS, Classes, functions."""
    if text.isupper():
        return 0, text
    return (1 if text[0].isupper() else 2), text


def test_only_programs_print():
    prints = [
        name(path)
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] != "apps"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not prints


def test_the_version_is_in_the_changelog():
    import visionkit

    assert f"## {visionkit.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_links_in_the_documents_lead_somewhere():
    import re

    broken = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{name(page)}: {target}")
    assert not broken
