"""Every Python snippet of README.md and docs/ runs; an output shown below one is compared."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
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


def place_what_readers_have(folder):
    """The pictures, the clip and the weights that the pages speak of."""
    from visionkit.io.image import write_image
    from visionkit.io.writer import VideoWriter
    from visionkit.models.zoo import find

    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    for name in ("street.jpg", "new.jpg"):
        write_image(folder / name, picture)
    with VideoWriter(folder / "clip.mp4", 10) as clip:
        for _ in range(3):
            clip.write(picture)
    (folder / "runs" / "first").mkdir(parents=True)
    shutil.copy(find("yolo-nano-person"), folder / "runs" / "first" / "best.safetensors")


@pytest.mark.parametrize("snippet", list(snippets()), ids=lambda s: f"{s.page}:{s.line}")
def test_snippet(snippet, tmp_path, monkeypatch, capsys):
    for package in ("onnx", "onnxruntime"):
        if "onnx" in snippet.code:
            pytest.importorskip(package, reason=f"{package} is not installed: pip install 'visionkit[onnx]'")
    monkeypatch.chdir(tmp_path)
    place_what_readers_have(tmp_path)
    code = compile("\n" * (snippet.line - 1) + snippet.code, snippet.page, "exec")
    exec(code, {"__name__": "snippet"})
    if snippet.output is not None:
        assert capsys.readouterr().out == snippet.output
