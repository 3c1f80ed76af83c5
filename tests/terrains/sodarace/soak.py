"""Scores thousands of programs, most of them broken, while somebody kills the sandbox's processes.

    python -m tests.terrains.sodarace.soak 10000        # prints its figures as JSON

Until half-way a sandbox process is killed every fiftieth of a second. Memory is compared between the first fifth and
the end, that of sandboxes between the two quarters after half-way. A process of its own is what makes these figures
mean something.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import psutil

from terrains.base import Attempt
from terrains.sodarace import failures
from terrains.sodarace.programs.seeds import SEEDS
from terrains.sodarace.programs.styles import STYLES
from terrains.sodarace.sandbox import SandboxLimits
from terrains.sodarace.world import SodaraceWorld, WorldConfig
from tests.terrains.sodarace.any_programs import flip

BATCH = 250
TERRAINS = ("flat", "bumpy", "tunnel")
KNOWN = [Attempt(terrain, program) for program in SEEDS.values() for terrain in TERRAINS]
BODIES = [
    "return [0] * 10**10",
    "return make_walker()",
    "return 9**9**9",
    "return 1 / 0",
    "x = 'a'\n    while 1: x += x",
]


def draw(rng: random.Random) -> str:
    """A program that was not there before: whole, mangled, cut, noise, a bomb, now and then an endless loop."""
    real = STYLES[rng.choice(list(STYLES))](rng)
    chance = rng.random()
    if chance < 0.35:
        return real
    if chance < 0.65:
        return flip(real, [rng.randrange(2**16) for _ in range(rng.randint(1, 4))])
    if chance < 0.8:
        return real[: rng.randrange(len(real))]
    if chance < 0.9:
        return "".join(chr(rng.randrange(1, 0x3000)) for _ in range(rng.randrange(400)))
    body = "while True: pass" if chance > 0.998 else rng.choice(BODIES)
    return f"import math\ndef make_walker():\n    y = {rng.random()}\n    {body}\n"


@contextmanager
def killing(every: float) -> Iterator[list[int]]:
    """Kills one of this process' children again and again; yields the list of those that died."""
    stop, killed, rng = threading.Event(), [], random.Random(1)

    def work() -> None:
        while not stop.wait(every):
            children = psutil.Process().children()
            if children:
                victim = rng.choice(children)
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
                    killed.append(victim.pid)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def megabytes() -> dict[str, float]:
    """Memory of this process, and of the greatest of its children."""
    me = psutil.Process()
    children = [0]
    for child in me.children():
        with suppress(psutil.NoSuchProcess):
            children.append(child.memory_info().rss)
    return {"own": me.memory_info().rss / 2**20, "sandbox": max(children) / 2**20}


def soak(count: int) -> dict[str, object]:
    """Scores that many programs, and the known ones in between; returns what was seen."""
    rng, kinds, memory, wrong, scored = random.Random(0), Counter(), [], 0, 0
    killed: list[int] = []
    crashed: list[Attempt] = []
    config = WorldConfig(seconds=1.0, threads=2, cache=1000, limits=SandboxLimits(seconds=0.5))
    with SodaraceWorld(config.model_copy(update={"cache": 0})) as calm:
        truth = calm.score(KNOWN)
    with SodaraceWorld(config) as world:
        while scored < count:
            attempts = [Attempt(rng.choice(TERRAINS), draw(rng)) for _ in range(min(BATCH, count - scored))]
            # A comment makes the known programs new ones, that the cache does not hold.
            known = [Attempt(each.terrain, f"{each.program}# {scored}\n") for each in KNOWN]
            every = 0.02 if scored < count / 2 else 1e9
            with killing(every) as dead:
                scores = world.score([*attempts, *known])
            killed += dead
            assert len(scores) == len(attempts) + len(known)
            wrong += sum(a != b for a, b in zip(scores[len(attempts) :], truth, strict=True))
            kinds.update(str(score.failure) for score in scores[: len(attempts)])
            crashed += [a for a, s in zip(attempts, scores, strict=False) if s.failure == failures.CRASH]
            scored += len(attempts)
            memory.append(megabytes())
        again = [score.failure for score in world.score(crashed)]
    early, late = memory[len(memory) // 5], memory[-1]
    # A sandbox that has just begun is small, and one grows with the greatest program it has had: quarters tell more.
    third, fourth = np.array_split([each["sandbox"] for each in memory[len(memory) // 2 :]], 2)
    return {
        "programs": scored,
        "killed": len(killed),
        "known_programs_scored_wrong": wrong,
        "crashed": len(crashed),
        "crashed_again": again.count(failures.CRASH),
        "kinds": dict(kinds.most_common()),
        "processes_left": len(psutil.Process().children(recursive=True)),
        "threads_left": threading.active_count() - 1,
        "megabytes_early": early["own"],
        "megabytes_late": late["own"],
        "sandbox_megabytes_third_quarter": float(third.max()),
        "sandbox_megabytes_last_quarter": float(fourth.max()),
    }


if __name__ == "__main__":
    print(json.dumps(soak(int(sys.argv[1])), indent=2))
