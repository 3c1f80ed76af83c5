"""What a run hands out as its best."""

from __future__ import annotations

import numpy as np
import pytest

from distributed.checkpoint.manager import load_checkpoint, save_checkpoint
from distributed.learner.snapshot import BestTracker, Snapshot
from distributed.rollout.types import LayerWeights, PromptState


def moment(value: float, layers: bool = False) -> Snapshot:
    weights = LayerWeights.of({"w": np.full(3, value, np.float32)}) if layers else None
    state = PromptState(int(value), np.full((2, 1, 4), value, np.float32), weights)
    acting = PromptState(int(value), np.full((2, 1, 4), -value, np.float32), weights)
    return Snapshot(state, acting, {"head": np.full(2, value, np.float32)})


def rows(best: BestTracker) -> list[float]:
    return best.snapshot.state.prompts[:, 0, 0].tolist()


def test_each_terrain_keeps_its_own_best_prompt():
    best = BestTracker(moment(0), whole=False)
    best.note(moment(1), [5.0, 1.0])
    best.note(moment(2), [4.0, 3.0])
    best.note(moment(3), [5.0, 3.0])
    assert rows(best) == [1.0, 2.0] and best.fitness.tolist() == [5.0, 3.0]


def test_moments_that_are_whole_are_kept_whole_with_layers_and_network():
    best = BestTracker(moment(0, layers=True), whole=True)
    best.note(moment(1, layers=True), [5.0, 1.0])
    best.note(moment(2, layers=True), [4.0, 3.0])
    best.note(moment(3, layers=True), [6.0, 0.5])
    assert rows(best) == [2.0, 2.0] and best.fitness.tolist() == [4.0, 3.0]
    assert best.snapshot.state.layers.arrays["w"].tolist() == [2.0] * 3
    assert best.snapshot.source["head"].tolist() == [2.0] * 2


@pytest.mark.parametrize("whole", [False, True])
def test_it_comes_back_from_a_checkpoint(tmp_path, whole):
    best = BestTracker(moment(0, whole), whole)
    best.note(moment(2, whole), [4.0, 3.0])
    saved = load_checkpoint(save_checkpoint(tmp_path, 1, best.state_dict())).state
    other = BestTracker(moment(0, whole), whole)
    other.load_state_dict(saved)
    other.note(moment(5, whole), [4.0, 2.0])
    assert rows(other) == [2.0, 2.0] and other.fitness.tolist() == [4.0, 3.0]
    if whole:
        assert other.snapshot.acting.prompts[0, 0, 0] == -2.0
        assert other.snapshot.state.layers == best.snapshot.state.layers


def test_layers_are_told_apart_by_their_content_alone():
    one, same, other = (LayerWeights.of({"w": np.full(3, value, np.float32)}) for value in (1.0, 1.0, 2.0))
    assert one == same != other
    assert LayerWeights.of({"w": np.full((3, 1), 1.0, np.float32)}) != one
