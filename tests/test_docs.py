"""Every Python snippet of README.md and docs/ runs; an output shown below one is compared."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.is_file()]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    page: str
    line: int
    code: str
    output: str | None


def snippets():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if "# needs data" not in block[1]:
                line = text.count("\n", 0, block.start(1)) + 1
                yield Snippet(str(page.relative_to(ROOT)), line, block[1], block[2])


def test_there_are_snippets():
    assert len(list(snippets())) >= 5


@pytest.mark.parametrize("snippet", list(snippets()), ids=lambda s: f"{s.page}:{s.line}")
def test_snippet(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = compile("\n" * (snippet.line - 1) + snippet.code, snippet.page, "exec")
    exec(code, {"__name__": "snippet"})
    if snippet.output is not None:
        assert capsys.readouterr().out == snippet.output
