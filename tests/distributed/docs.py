"""Code that the documentation shows, for tests that run it."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a language on a page such as ``rewards.md``, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def documented(page: str, folder: Path) -> Path:
    """Writes ``letters.py`` and ``letters.yml``, word by word those of a page, and returns the path of the second."""
    [code], [settings] = blocks(page, "python"), blocks(page, "yaml")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "letters.py").write_text(code)
    (folder / "letters.yml").write_text(settings)
    return folder / "letters.yml"
