"""What a run's settings are to trlx, and which of them it has nothing for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.config import BUNDLED, BUNDLED_LM, RunConfig
from distributed.errors import UserError
from softprompt.models.frozen import FrozenLM
from softprompt.models.loading import ModelFiles
from softprompt.trlx.registration import PIPELINE, TRAINER

BY_HAND = "train with --backend ray, or set it to"


def check_for_trlx(config: RunConfig) -> str | None:
    """Checks that trlx can make what a configuration asks for.

    Returns:
        One line that names the settings of which trlx has no equal, and which are ignored; None where there are none.

    Raises:
        UserError: the result would be another kind of thing than what is asked for.
    """
    method = config.method
    refused = (
        ("method.prompt_source", method.prompt_source, "table"),
        ("method.reparameterize", method.reparameterize, "none"),
        ("model.num_layers_unfrozen", config.model.num_layers_unfrozen, 0),
        ("method.tune_v_head", method.tune_v_head, True),
        ("method.prompts_per_terrain", method.prompts_per_terrain, 1),
    )
    for name, value, needed in refused:
        if value != needed:
            raise UserError(f"{name}: trlx trains no {value} here; {BY_HAND} {str(needed).lower()}")
    if config.compute.quantization:
        raise UserError(f"compute.quantization: trlx loads whole weights here; {BY_HAND} null")
    if method.scale_reward == "terrain":
        raise UserError(f"method.scale_reward: trlx does not scale by terrain; {BY_HAND} running, ref or ignored")
    ignored = (
        ("method.estimator", method.estimator != "gae"),
        ("method.advantage_shaping", method.advantage_shaping != "none"),
        ("method.kl_in", method.kl_in != "reward"),
        ("method.down_sample_to", method.down_sample_to is not None),
        ("method.replay_weight", method.replay_weight > 0),
        ("method.replay_steps", method.replay_steps > 0),
        ("method.closing_steps", method.closing_steps > 0),
        ("method.repeat_discount", method.repeat_discount > 0),
        ("method.unique_target", method.unique_target is not None),
        ("method.distinct_by", method.distinct_by != "none"),
        ("method.novelty_weight", method.novelty_weight > 0),
        ("method.entropy_coef", method.entropy_coef > 0),
        ("warm_start.steps", config.warm_start.steps > 0),
        ("warm_start.init_from_elite", config.warm_start.init_from_elite),
        ("rollouts.max_staleness", config.rollouts.max_staleness > 0),
        ("train.eval_interval", config.train.eval_interval < config.train.total_steps),
    )
    names = [name for name, is_set in ignored if is_set]
    return f"trlx has no equal of, and ignores: {', '.join(names)}" if names else None


def by_trlx(config: RunConfig) -> bool:
    """Whether a run is trained by trlx: its ``train.trainer`` says so, as in trlx."""
    return config.train.trainer == TRAINER


def for_trlx(config: RunConfig) -> RunConfig:
    """Returns a run's settings with trlx as what trains, in one process and without Ray."""
    train = config.train.model_copy(update={"trainer": TRAINER, "pipeline": PIPELINE})
    return config.model_copy(update={"train": train, "ray": config.ray.model_copy(update={"enabled": False})})


def optimizer_steps(config: RunConfig) -> int:
    """How many steps the optimizer makes in a run; trlx counts these."""
    batches = -(-config.method.num_rollouts // config.train.batch_size)
    return config.train.total_steps * config.method.ppo_epochs * batches


def trlx_settings(
    config: RunConfig, instruction_tokens: int, folder: Path, ends: Sequence[int] | None = None, **trainer: Any
) -> dict[str, Any]:
    """Returns a run's settings as trlx's ``TRLConfig.from_dict`` takes them.

    Args:
        config: settings of the run.
        instruction_tokens: tokens of the longest instruction.
        folder: where trlx may write.
        ends: tokens that end a program where the settings name none; None for those that the language model names.
        **trainer: arguments of the trainer.
    """
    model = str(BUNDLED_LM) if config.model.model_path == BUNDLED else config.model.model_path
    method, train, steps = config.method, config.train, optimizer_steps(config)
    same: tuple[str, ...] = (
        "ppo_epochs",
        "num_rollouts",
        "init_kl_coef",
        "target",
        "horizon",
        "gamma",
        "lam",
        "cliprange",
    )
    same += ("cliprange_value", "vf_coef", "ref_std", "cliprange_reward")
    divisors = [n for n in range(1, method.num_rollouts + 1) if method.num_rollouts % n == 0]
    kwargs = method.gen_kwargs, method.rollout_kwargs
    drawing = [_drawing(each.sampler_settings(instruction_tokens), ends) for each in kwargs]
    return {
        "method": {
            "name": "PPOConfig",
            **{name: getattr(method, name) for name in same},
            "chunk_size": max(n for n in divisors if n <= method.chunk_size),
            "scale_reward": method.scale_reward or "ignored",
            # trlx measures the deviation itself wherever the mean is null, whatever else is given.
            "ref_mean": 0.0 if method.ref_mean is None and method.ref_std is not None else method.ref_mean,
            "gen_kwargs": drawing[0],
            "gen_experience_kwargs": drawing[1],
        },
        "model": {
            "model_path": model,
            "num_layers_unfrozen": 0,
            "model_extra_configs": {"dtype": config.compute.dtype},
        },
        "optimizer": {"name": config.optimizer.name, "kwargs": config.optimizer.arguments},
        "scheduler": _schedule(config, steps),
        "tokenizer": {"tokenizer_path": model, "padding_side": "left"},
        "train": {
            "total_steps": steps,
            "epochs": train.total_steps,
            "batch_size": train.batch_size,
            "minibatch_size": train.minibatch_size,
            "seq_length": config.sequence_length(instruction_tokens),
            "seed": train.seed % 2**32,  # numpy's seeds are of 32 bits
            "checkpoint_interval": steps + 1,
            "eval_interval": steps + 1,
            "checkpoint_dir": str(folder),
            "save_best": False,
            "save_optimizer": False,
            "tracker": None,
            "pipeline": PIPELINE,
            "trainer": TRAINER,
            "trainer_kwargs": trainer,
        },
    }


def readable_by_trlx(config: RunConfig, lm: FrozenLM, folder: Path) -> RunConfig:
    """Returns settings whose language model is a plain one: an adapter's is written out, with the adapter in it.

    Args:
        config: settings of the run.
        lm: its language model.
        folder: where it may be written.
    """
    path = config.model.model_path
    if path == BUNDLED or ModelFiles.find(path).adapter is None:
        return config
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return config.model_copy(update={"model": config.model.model_copy(update={"model_path": str(folder)})})


def _schedule(config: RunConfig, steps: int) -> dict[str, Any]:
    """The learning rate's schedule; a constant one is a line of slope 0, since trlx has no other."""
    name, arguments = config.scheduler.name, config.scheduler.arguments
    if name == "constant":
        return {"name": "linear", "kwargs": {"start_factor": 1.0, "end_factor": 1.0, "total_iters": steps}}
    length = {"cosine_annealing": "T_max", "linear": "total_iters"}[name]
    return {"name": name, "kwargs": {length: steps, **arguments}}


def _drawing(settings: dict[str, Any], usual: Sequence[int] | None) -> dict[str, Any]:
    """How programs are drawn, as transformers' ``generate`` takes it."""
    ends, stops = settings.pop("end_tokens"), settings.pop("stop_strings")
    ends = usual if ends is None else ends
    return (
        settings
        | ({} if ends is None else {"eos_token_id": list(ends) or None})
        | ({"stop_strings": list(stops)} if stops else {})
    )
