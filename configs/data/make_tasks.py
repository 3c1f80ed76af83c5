"""Writes the data of two tasks: sentences to be answered in JSON, and arithmetic word problems of one step.

    python configs/data/make_tasks.py                # json_{train,eval}.jsonl and arithmetic_{train,eval}.jsonl, here

The rows follow from --seed alone. What is evaluated on has names, things and places of its own, and no problem that is
trained on.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

PEOPLE = {
    "train": "Anna Carl Emma Hugo Ivan Jane Lena Leo Lucy Maria Mia Nina Noah Omar Paul Peter Rosa Ruth Sven Tom",
    "eval": "Alice Ben Clara Felix Greta Max Sofia Victor",
}
CITIES = {
    "train": "Athens Berlin Boston Cairo Chicago Dublin Lisbon London Madrid Oslo Paris Prague Rome Tokyo Vienna",
    "eval": "Milan Moscow Seattle Sydney Toronto Warsaw",
}
THINGS = {
    "train": "apples books cards coins cups eggs pencils shells stamps stones",
    "eval": "balls keys marbles oranges",
}
ABOUT = (
    "{name} is {age} years old and lives in {city}.",
    "{name}, who is {age}, lives in {city}.",
    "At the age of {age}, {name} moved to {city}.",
    "{name} from {city} is {age} years old.",
)
MORE = (
    "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?",
    "There are {a} {things} on a table. {name} puts {b} more there. How many {things} are on the table?",
    "{name} finds {a} {things} in the morning and {b} in the evening. How many {things} are that in all?",
)
FEWER = (
    "{name} has {a} {things} and gives {b} away. How many {things} does {name} have left?",
    "There are {a} {things} in a box. {name} takes {b} out. How many {things} are left in the box?",
    "{name} had {a} {things} and lost {b}. How many {things} does {name} still have?",
)


def _one(words: str, chance: random.Random) -> str:
    return chance.choice(words.split())


def people(part: str, chance: random.Random) -> Iterator[Row]:
    """Sentences with a name, an age and a city, which are the answer."""
    while True:
        row = {"name": _one(PEOPLE[part], chance), "age": chance.randint(11, 79), "city": _one(CITIES[part], chance)}
        yield {"prompt": chance.choice(ABOUT).format(**row), **row}


def problems(part: str, chance: random.Random) -> Iterator[Row]:
    """Sums up to 18 and differences of such, as stories."""
    while True:
        a, b = chance.randint(2, 9), chance.randint(1, 9)
        story = {"name": _one(PEOPLE[part], chance), "things": _one(THINGS[part], chance)}
        if chance.random() < 0.5:
            text, answer = chance.choice(MORE).format(a=a, b=b, **story), a + b
        else:
            text, answer = chance.choice(FEWER).format(a=a + b, b=b, **story), a
        yield {"prompt": text, "answer": answer}


KINDS: dict[str, Callable[[str, random.Random], Iterator[Row]]] = {"json": people, "arithmetic": problems}
SIZES = {"train": 240, "eval": 64}


def rows(kind: str, part: str, count: int, seed: int = 0) -> list[Row]:
    """Returns so many rows, no two with the same text.

    Args:
        kind: ``json`` or ``arithmetic``.
        part: ``train`` or ``eval``.
        count: of rows.
        seed: decides all of them.
    """
    chance, found = random.Random(f"{seed} {kind} {part}"), {}
    for row in KINDS[kind](part, chance):
        found.setdefault(row["prompt"], row)
        if len(found) == count:
            break
    return list(found.values())


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    for kind in KINDS:
        for part, count in SIZES.items():
            lines = (json.dumps(row) + "\n" for row in rows(kind, part, count, a.seed))
            (a.out / f"{kind}_{part}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
