"""docs/worlds.md shows what new-world writes, and all that a world may add; test_new_world.py runs the same files."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.jobs.new_world import new_world
from terrains import optional
from tests.distributed.docs import DOCS, blocks


def test_the_page_shows_what_new_world_writes(tmp_path: Path) -> None:
    world, settings = new_world("letters", tmp_path)
    assert blocks("worlds.md", "python") == [world.read_text()]
    assert blocks("worlds.md", "yaml") == [settings.read_text()]
    assert len(world.read_text().splitlines()) <= 45


@pytest.mark.parametrize("protocol", optional.PROTOCOLS)
def test_the_page_names_every_protocol_and_its_members(protocol: type) -> None:
    [row] = [
        line for line in (DOCS / "worlds.md").read_text().splitlines() if line.startswith(f"| `{protocol.__name__}`")
    ]
    members = {each for each in (*vars(protocol), *protocol.__annotations__) if not each.startswith("_")}
    assert members and all(f"`{each}" in row or f" {each}(" in row for each in members)


@pytest.mark.parametrize("page", ["worlds.md", "rewards.md"])
def test_the_pages_are_found_from_the_readme(page: str) -> None:
    assert f"(docs/{page})" in (DOCS.parent / "README.md").read_text()
