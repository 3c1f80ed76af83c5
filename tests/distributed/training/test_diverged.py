"""Numbers that are not finite end a run in one line, move nothing, and are nobody's best."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.exceptions import RayTaskError

from distributed.checkpoint.manager import best, latest, load_checkpoint, save_checkpoint
from distributed.checkpoint.serialization import pack
from distributed.cli import main
from distributed.errors import DivergedError
from distributed.learner.learner import Learner
from distributed.learner.snapshot import BestTracker, Snapshot
from distributed.rollout.local_pool import LocalPool
from distributed.rollout.ray_pool import RayPool
from distributed.rollout.scoring import NOT_FINITE
from distributed.rollout.types import PromptState, RolloutRequest
from distributed.rollout.worker import RolloutWorker
from softprompt.finite import NotFiniteError
from softprompt.rl.elites import EliteBuffer
from tests.distributed.tiny_runs import config, instructions, loop_of, worker_arguments
from tests.distributed.tiny_workers import DivergingWorker, NoNumbersWorld

REQUEST = RolloutRequest(0, 3, ((0, 6), (1, 6)))
DRAWING = {
    "compiled": {},
    "shaped": {"method__gen_kwargs__temperature": 1.5, "method__gen_kwargs__top_p": 0.9},
    "likeliest": {"method__gen_kwargs__do_sample": False},
}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lm(tiny_lm):
    return tiny_lm[0]


def worker_of(run, lm, **arguments):
    small, shared = worker_arguments(run, lm)
    return RolloutWorker(**(small | arguments), **shared)


def broken(lm, value=np.nan) -> PromptState:
    """Prompts the second of which is none."""
    prompts = np.random.default_rng(0).normal(size=(2, 3, lm.d_model)).astype(np.float32)
    prompts[1, 1, 2] = value
    return PromptState(4, prompts)


@pytest.mark.parametrize("settings", DRAWING.values(), ids=DRAWING)
def test_a_worker_names_the_terrains_whose_logits_are_no_numbers(lm, settings):
    with pytest.raises(NotFiniteError) as error:
        worker_of(config(**settings), lm).generate(REQUEST, broken(lm))
    assert error.value.terrains == (1,)
    again = pickle.loads(pickle.dumps(error.value))
    assert (again.what, again.terrains) == (error.value.what, (1,))


def test_no_worker_is_asked_a_second_time(local_ray, tmp_path):
    for pool in (
        LocalPool(DivergingWorker, {"deeds": str(tmp_path)}, {"weights": np.ones(3)}),
        RayPool(DivergingWorker, {"deeds": str(tmp_path)}, {"weights": np.ones(3)}, n_workers=1, cpus_per_worker=0.5),
    ):
        with pool, pytest.raises(NotFiniteError) as error:
            pool.run([REQUEST], PromptState(0, None))
        assert error.value.terrains == (1,) and not isinstance(error.value, RayTaskError)
        asked = list(tmp_path.glob("asked-*"))
        assert len(asked) == 1 and pool.counters["errors"] == 0
        asked[0].unlink()


def test_a_loop_says_terrain_step_and_remedy_in_one_line(lm):
    loop = loop_of(config(method__replay_weight=0, warm_start__steps=0), lm)
    while loop.step < 1:
        loop.advance()
    with torch.no_grad():
        loop.learner.source.rows[1, 0, 0] = torch.nan
    with pytest.raises(
        DivergedError, match=r"^step 2, e: a token's log-probability is NaN or infinite; lower opt"
    ) as e:
        loop.advance()
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("estimator", ["rloo", "gae"])
def test_a_loss_that_is_no_number_moves_nothing(lm, estimator):
    run = config(method__estimator=estimator, method__advantage_shaping="none", method__replay_weight=0)
    learner = Learner(run, lm, instructions(lm))
    answer = worker_of(run, lm).generate(REQUEST, learner.prompt_state())
    logprobs = np.where((answer.terrain == 1)[:, None], np.nan, answer.logprobs)
    before, _ = pack(learner.state_dict())
    with pytest.raises(NotFiniteError):
        learner.update([dataclasses.replace(answer, logprobs=logprobs)])
    after, _ = pack(learner.state_dict())
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith(("source", "value_head")))


def test_a_learner_names_the_terrain_of_a_gradient_that_is_none(lm):
    learner = Learner(config(), lm, instructions(lm))
    learner.elites.add(0, [5, 6, lm.eos_id], 1.0)
    learner.elites.add(1, [9, 9, lm.eos_id], 1.0)
    with torch.no_grad():
        learner.source.rows[1] *= torch.inf
    with pytest.raises(NotFiniteError) as error:
        list(learner.warm_start())
    assert error.value.terrains == (1,)


def test_what_an_optimizer_makes_infinite_is_never_handed_out(lm):
    run = config(method__ppo_epochs=1, train__batch_size=12)
    learner = Learner(run, lm, instructions(lm))
    learner._optimizer.param_groups[0]["lr"] = float("inf")
    for terrain in (0, 1):
        learner.elites.add(terrain, [5, 6, lm.eos_id], 1.0)
    with pytest.raises(NotFiniteError, match="a trained parameter is not finite"):
        learner.update([worker_of(run, lm).generate(REQUEST, learner.prompt_state())])


def test_a_score_that_is_no_number_is_a_counted_failure(lm):
    run = config(method__replay_transfer=1, warm_start__samples=60)
    loop = loop_of(run, lm, LocalPool(RolloutWorker, *_with_world(run, lm)))
    while loop.step < 1:
        loop.advance()
    assert not np.isnan(loop.untuned["fitness"]).any() and not loop.untuned["valid"].any()
    assert len(loop.learner.elites) == 0
    step = loop.history[-1]
    assert step["fitness/a"] == step["fitness/e"] == 0
    answers = worker_of(run, lm, make_world=NoNumbersWorld).generate(
        dataclasses.replace(REQUEST, groups=((0, 60), (1, 60))), loop.learner.prompt_state()
    )
    kinds = {row[0] for row in answers.failures}
    assert NOT_FINITE in kinds and None not in kinds and np.isfinite(answers.rewards).all()


def _with_world(run, lm):
    small, shared = worker_arguments(run, lm)
    return small | {"make_world": NoNumbersWorld}, shared


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_nobodys_best(tmp_path: Path, value):
    elites = EliteBuffer(1, 2)
    assert not elites.add(0, [1, 2], value) and len(elites) == 0
    state = PromptState(0, np.zeros((2, 1, 4), np.float32))
    for whole in (False, True):
        kept = BestTracker(Snapshot(state, state), whole)
        kept.note(Snapshot(PromptState(1, state.prompts + 1), state), [1.0, 1.0])
        kept.note(Snapshot(PromptState(2, state.prompts + 2), state), [value, value])
        assert kept.fitness.tolist() == [1.0, 1.0] and kept.snapshot.state.prompts.max() == 1
    save_checkpoint(tmp_path, 1, {"x": 1}, score=2.0)
    save_checkpoint(tmp_path, 2, {"x": 2}, score=value)
    assert best(tmp_path).name == "checkpoint_000001"


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TERRAPROMPT_HOME", raising=False)
    settings = (
        "terrains.names=[left_wall]", "terrains.seconds=1", "warm_start.samples=8", "warm_start.steps=0",
        "method.n_soft_tokens=4", "method.num_rollouts=8", "train.total_steps=4", "train.batch_size=8",
        "ray.enabled=false", "train.tracker=null", "method.gen_kwargs.max_new_tokens=20",
        "method.estimator=rloo", "method.advantage_shaping=none", "method.init_kl_coef=3e38", "method.replay_steps=0",
    )  # fmt: skip
    quickstart = Path(__file__).parents[3] / "configs/quickstart.yml"
    threads = torch.get_num_threads()
    try:
        with pytest.raises(SystemExit) as end:
            main(["train", "--config", str(quickstart), *settings])
    finally:
        torch.set_num_threads(threads)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    kept = latest(tmp_path / "runs" / "quickstart")
    assert (
        end.value.code == 2
        and "terraprompt: step 1, " in error
        and error.endswith(f"the last good checkpoint is {kept}")
    )
    tensors, _ = pack(load_checkpoint(kept).state)
    own = [t for name, t in tensors.items() if "learner" in name and t.is_floating_point()]
    assert own and all(bool(torch.isfinite(t).all()) for t in own)
