"""Asks trlx itself what it computes: fills data/trlx_3340c2f.json anew from the inputs that are written in it.

trlx's own functions are called, in float64, on a fixed batch. It needs a clone of trlx at that commit, and nothing
else than this project needs:

    git clone https://github.com/CarperAI/trlx && git -C trlx checkout 3340c2f
    PYTHONPATH=.:trlx python -m tests.softprompt.rl.record_trlx
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import BatchEncoding

from softprompt.trlx.compat import apply_repairs

FILE = Path(__file__).parent / "data" / "trlx_3340c2f.json"
PROMPT, PAD, END = 2, 0, 1
Case = dict[str, Any]


def tensor(numbers: Any) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def mask_of(lengths: list[int]) -> torch.Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).double()


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else float(value)


def method(**settings: Any) -> Any:
    from trlx.models.modeling_ppo import PPOConfig

    unset: Case = dict.fromkeys(("ppo_epochs", "num_rollouts", "chunk_size", "init_kl_coef", "target", "horizon"))
    unset |= dict.fromkeys(("gamma", "lam", "cliprange", "cliprange_value", "vf_coef", "scale_reward"))
    unset |= dict.fromkeys(("ref_mean", "ref_std", "cliprange_reward", "gen_kwargs"))
    return PPOConfig(**({"name": "PPOConfig"} | unset | settings))


class StandIn:
    """What make_experience reads of a trainer, with logits, values and scores that are given instead of computed."""

    def __init__(self, case: Case, **settings: Any) -> None:
        from trlx.models.modeling_ppo import FixedKLController
        from trlx.utils.modeling import RunningMoments

        self.config = SimpleNamespace(
            method=method(cliprange_reward=case["cliprange_reward"], **settings),
            model=SimpleNamespace(model_arch_type="causal"),
        )
        self.kl_ctl, self.running_moments = FixedKLController(case.get("kl_coef", 0.0)), RunningMoments()
        self.ref_mean, self.ref_std = settings.get("ref_mean"), settings.get("ref_std")
        self.stats: Case = {}
        self.tokenizer = lambda texts: SimpleNamespace(input_ids=[json.loads(text) for text in texts])
        self.tokenizer.pad_token_id, self.tokenizer.eos_token_id = PAD, END
        self.accelerator = SimpleNamespace(
            is_main_process=True,
            num_processes=1,
            device="cpu",
            pad_across_processes=lambda x, **_: x,
            gather=lambda x: x,
            log=lambda stats, step: self.stats.update(stats),
        )

    def collect(self, scores: list[Any], responses: list[list[int]], **given: Any) -> list[Any]:
        """The elements that make_experience makes of one chunk."""
        from trlx.trainer.accelerate_ppo_trainer import AcceleratePPOTrainer

        n, width = len(responses), 1 + max(map(len, responses))
        zeros = torch.zeros(n, width, 9, dtype=torch.float64)
        logits, reference = (tensor(given[k]) if k in given else zeros for k in ("logits", "ref_logits"))
        values = tensor(given["values"]) if "values" in given else zeros[..., 0]
        prompts = torch.full((n, 1), PROMPT)
        self.prompt_iterator = iter([BatchEncoding({"input_ids": prompts, "attention_mask": prompts})])
        self.generate = lambda *_: prompts
        self.decode = lambda *_, **__: ([""] * n, [""] * n, [json.dumps(row) for row in responses])
        self.reward_fn = lambda **_: scores

        class Model(SimpleNamespace):
            def __call__(self, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
                return logits, values

        self.model = Model(frozen_head=None, forward_hydra=lambda *_, **__: SimpleNamespace(logits=reference))
        found: list[Any] = []
        self.push_to_store = found.extend
        with doubles():
            AcceleratePPOTrainer.make_experience(self, n)
        return found


@contextmanager
def doubles() -> Iterator[None]:
    """make_experience converts scores to torch.float, which is float64 here."""
    before, torch.float = torch.float, torch.float64
    try:
        yield
    finally:
        torch.float = before


def advantages(case: Case) -> Case:
    ask = method(gamma=case["gamma"], lam=case["lam"]).get_advantages_and_returns
    rewards, values = tensor(case["rewards"]), tensor(case["values"])
    found, returns = ask(values, rewards, rewards.shape[1], use_whitening=False)
    return {"advantages": found, "returns": returns, "whitened": ask(values, rewards, rewards.shape[1])[0]}


def whiten(case: Case) -> Case:
    from trlx.utils.modeling import whiten

    return {"whitened": whiten(tensor(case["x"]))}


def loss(case: Case) -> Case:
    settings = {name: case[name] for name in ("cliprange", "cliprange_value", "vf_coef")}
    now = {name: tensor(case[name]).requires_grad_() for name in ("logprobs", "values")}
    old = {name: tensor(case[name]) for name in ("old_logprobs", "old_values", "advantages", "returns")}
    found, stats = method(**settings).loss(**now, **old, mask=mask_of(case["lengths"]))
    gradients = torch.autograd.grad(found, list(now.values()))
    return {
        "loss": found.detach(),
        "logprobs_gradient": gradients[0],
        "values_gradient": gradients[1],
        "stats": {name: plain(value) for name, value in stats.items()},
    }


def logprobs_of_labels(case: Case) -> Case:
    from trlx.utils.modeling import logprobs_of_labels

    return {"logprobs": logprobs_of_labels(tensor(case["logits"]), torch.tensor(case["labels"]))}


def running_moments(case: Case) -> Case:
    from trlx.utils.modeling import RunningMoments

    moments, updates = RunningMoments(), []
    for update in case["updates"]:
        moments.update(tensor(update["numbers"]))
        updates.append({"numbers": update["numbers"], "mean": plain(moments.mean), "std": plain(moments.std)})
    return {"updates": updates}


def kl_controller(case: Case) -> Case:
    from trlx.models.modeling_ppo import AdaptiveKLController, FixedKLController

    adaptive = AdaptiveKLController(case["init_kl_coef"], case["target"], case["horizon"])
    fixed, updates = FixedKLController(case["init_kl_coef"]), []
    for update in case["updates"]:
        for controller in (adaptive, fixed):
            controller.update(update["kl"], case["n"])
        updates.append({"kl": update["kl"], "value": plain(adaptive.value), "fixed": plain(fixed.value)})
    return {"updates": updates}


def score_scaling(case: Case) -> Case:
    kinds = {kind: _scaled(case, case["kinds"][kind], scale_reward=kind) for kind in case["kinds"]}
    given = case["ref_given"]
    deviation = {"ref_mean": given["ref_mean"], "ref_std": given["ref_std"]}
    return {"kinds": kinds, "ref_given": given | {"steps": _scaled(case, given["steps"], "ref", **deviation)}}


def _scaled(case: Case, steps: list[Case], scale_reward: str, **settings: Any) -> list[Case]:
    trainer, found = StandIn(case, scale_reward=scale_reward, **settings), []
    for step in steps:
        elements = trainer.collect(step["scores"], [[3, END]] * len(step["scores"]))
        found.append(
            {
                "scores": step["scores"],
                "scaled": [plain(element.rewards[-1]) for element in elements],
                "running_mean": plain(trainer.running_moments.mean),
                "running_std": plain(trainer.running_moments.std),
            }
        )
    return found


def token_rewards(case: Case) -> Case:
    trainer = StandIn(case, scale_reward="ignored")
    elements = trainer.collect(**{k: case[k] for k in ("scores", "responses", "logits", "ref_logits")})
    kept = [name for name in trainer.stats if not name.startswith("time/") and name != "kl_ctl_value"]
    return {
        "logprobs": torch.stack([element.logprobs for element in elements]),
        "rewards": torch.stack([element.rewards for element in elements]),
        "stats": {name: plain(trainer.stats[name]) for name in kept},
        "mean_kl": plain(trainer.mean_kl),
    }


def dense_rewards(case: Case) -> Case:
    """Scores for each token, of responses of several lengths; only cells of real tokens are kept, see ``differs``."""
    kinds = {}
    for kind in case["kinds"]:
        trainer, steps = StandIn(case, scale_reward=kind), []
        for step in case["steps"]:
            elements = trainer.collect(**step)
            lengths = [len(row) for row in step["responses"]]
            steps.append(
                {
                    "logprobs": [plain(e.logprobs[:n]) for e, n in zip(elements, lengths, strict=True)],
                    "rewards": [plain(e.rewards[:n]) for e, n in zip(elements, lengths, strict=True)],
                    "running_mean": plain(trainer.running_moments.mean),
                    "running_std": plain(trainer.running_moments.std),
                }
            )
        kinds[kind] = steps
    return {"kinds": kinds}


def whole_batch(case: Case) -> Case:
    """One batch from logits and dense scores to the loss and what it would do to the controller."""
    from trlx.models.modeling_ppo import AdaptiveKLController
    from trlx.pipeline.ppo_pipeline import ppo_collate_fn

    trainer = StandIn(case, scale_reward="running")
    given = {k: case[k] for k in ("scores", "responses", "logits", "ref_logits", "values")}
    batch = ppo_collate_fn("left", PAD, trainer.collect(**given))
    names = ("gamma", "lam", "cliprange", "cliprange_value", "vf_coef")
    own = method(**{name: case[name] for name in names})
    found, returns = own.get_advantages_and_returns(batch.values, batch.rewards, batch.rewards.shape[1])
    parts = {
        "logprobs": tensor(case["new_logprobs"]),
        "values": tensor(case["new_values"]),
        "old_logprobs": batch.logprobs,
        "old_values": batch.values,
    }
    total, stats = own.loss(**parts, advantages=found, returns=returns, mask=torch.ones_like(found))
    controller = AdaptiveKLController(case["kl_coef"], case["target"], case["horizon"])
    controller.update(trainer.mean_kl, len(case["responses"]))
    return {
        "rewards": batch.rewards,
        "advantages": found,
        "returns": returns,
        "loss": total,
        "policy_loss": stats["losses/policy_loss"],
        "value_loss": stats["losses/value_loss"],
        "mean_kl": plain(trainer.mean_kl),
        "next_kl_coef": plain(controller.value),
    }


SECTIONS: dict[str, Callable[[Case], Case]] = {
    function.__name__: function
    for function in (
        advantages,
        whiten,
        loss,
        logprobs_of_labels,
        running_moments,
        kl_controller,
        score_scaling,
        token_rewards,
        dense_rewards,
        whole_batch,
    )
}


def written(data: Any, indent: int = 0) -> str:
    """JSON with lists of numbers on one line."""
    flat = json.dumps(data)
    if not isinstance(data, dict | list) or (
        isinstance(data, list) and not any(isinstance(x, dict | list) for x in data)
    ):
        return flat
    inner = " " * (indent + 1)
    if isinstance(data, list):
        return "[\n" + ",\n".join(inner + written(x, indent + 1) for x in data) + f"\n{' ' * indent}]"
    rows = (f"{inner}{json.dumps(name)}: {written(value, indent + 1)}" for name, value in data.items())
    return "{\n" + ",\n".join(rows) + f"\n{' ' * indent}}}"


def main() -> None:
    apply_repairs()
    data = json.loads(FILE.read_text())
    packages = ("torch", "transformers", "accelerate", "peft", "numpy")
    data["versions"] = {name: version(name) for name in packages} | {"python": platform.python_version()}
    for name, function in SECTIONS.items():
        found = {
            key: value if isinstance(value, dict | list) else plain(value)
            for key, value in function(data[name]).items()
        }
        data[name] |= found
    FILE.write_text(written(data) + "\n")


if __name__ == "__main__":
    main()
