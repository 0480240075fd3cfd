"""Print what `run.py` wrote as one table for the documents: `python benchmarks/table.py FILE ...`."""

import json
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """A row a network and file, a column a tool: its figure, in brackets how often ours goes into it."""
    rows = [row for path in sys.argv[1:] for row in rows_of(json.loads(Path(path).read_text()))]
    tools = list(dict.fromkeys(tool for _, cells in rows for tool in cells))
    print(
        "\n".join(
            lines([["", *tools], *([name, *(cells.get(t, "") for t in tools)] for name, cells in rows)])
        )
    )
    return 0


def rows_of(facts: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """What a row is about, and its cells by tool; ours is the only one without brackets."""
    settings, rows = facts["settings"], []
    for name, result in facts["networks"].items():
        figures = result.get("ms") or result["memory_mb"]
        first = next(iter(figures))
        cells = {tool: f"{rounded(one)} ({result['ratio'][tool]:.2f})" for tool, one in figures.items()}
        cells[first] = rounded(figures[first])
        cells |= dict.fromkeys(result["failed"], "failed")
        about = [name, f"batch {result['input'][0]}", f"{settings['threads']} threads"]
        about += [facts["kind"]] if facts["kind"] != "inference" else []
        rows.append((", ".join(about), cells))
    return rows


def rounded(figure: float) -> str:
    """Three digits."""
    return f"{figure:#.3g}".rstrip(".") if figure < 1000 else f"{figure:.0f}"


def lines(rows: list[list[str]]) -> list[str]:
    """Markdown."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "|---" * len(rows[0]) + "|", *body]


if __name__ == "__main__":
    raise SystemExit(main())
