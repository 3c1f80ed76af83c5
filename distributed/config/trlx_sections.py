"""The sections ``model``, ``tokenizer``, ``optimizer``, ``scheduler`` and ``train``, whose settings are all trlx's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distributed.config.section import LARGEST_SEED, Arguments, PathText, Section, unused

BUNDLED = "bundled"
BUNDLED_LM = Path(__file__).resolve().parents[2] / "softprompt" / "lm" / "tiny"
ADAM_BETAS = (0.9, 0.95)
OPTIMIZER_SETTINGS: dict[str, tuple[str, ...]] = {
    "adam": ("lr", "betas", "eps", "weight_decay"),
    "adamw": ("lr", "betas", "eps", "weight_decay"),
    "sgd": ("lr", "momentum", "nesterov", "weight_decay"),
}
SCHEDULER_SETTINGS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "cosine_annealing": ("T_max", "eta_min"),
    "linear": ("start_factor", "end_factor", "total_iters"),
}


class ModelConfig(Section):
    """The language model."""

    model_path: PathText = BUNDLED
    """The language model: ``bundled`` for the one that comes along, a directory, or a name on the Hugging Face hub."""
    model_arch_type: Literal["causal", "seq2seq"] = "causal"
    """Kind of language model. Only causal ones can be trained."""
    num_layers_unfrozen: int = Field(0, ge=-1)
    """Layers of the language model, from the top, that are trained too; 0 for none, -1 for all of it."""
    peft_config: dict[str, Any] | str | None = None
    """Adapter that trlx puts on the language model. Only null can be trained with."""
    model_extra_configs: dict[str, Any] = unused(factory=dict)
    """More of trlx's arguments for loading the language model."""


class TokenizerConfig(Section):
    """trlx's section for the tokenizer; here the one in the language model's directory is used."""

    tokenizer_path: str | None = unused()
    """Where trlx loads the tokenizer from."""
    padding_side: Literal["left", "right"] = unused("left")
    """Side that trlx pads on; here it makes no difference."""
    truncation_side: Literal["left", "right"] = unused("right")
    """Side that trlx cuts long prompts on; here none is cut."""
    tokenizer_extra_configs: dict[str, Any] = unused(factory=dict)
    """More of trlx's arguments for loading the tokenizer."""


class OptimizerKwargs(Arguments):
    """Arguments of the optimizer; what is not given is torch's default."""

    lr: float = Field(0.05, gt=0)
    """Learning rate. A soft prompt wants far more than a language model does."""
    betas: tuple[float, float] | None = None
    """Adam's decay rates of the two moments; 0.9 and 0.95 by default."""
    eps: float | None = Field(None, gt=0)
    """Adam's term against division by zero."""
    weight_decay: float | None = Field(None, ge=0)
    """Weight decay, towards zero."""
    momentum: float | None = Field(None, ge=0)
    """Momentum of sgd."""
    nesterov: bool | None = None
    """Nesterov momentum of sgd."""

    @field_validator("betas")
    @classmethod
    def _are_rates(cls, betas: tuple[float, float] | None) -> tuple[float, float] | None:
        if betas and not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"must both be in [0, 1), not {list(betas)}")
        return betas


class OptimizerConfig(Section):
    """What moves the prompts, and whatever else is trained."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """The optimizer, by its name in torch."""
    kwargs: OptimizerKwargs = OptimizerKwargs()
    """Its arguments."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments for the optimizer's class in torch."""
        defaults = {} if self.name == "sgd" else {"betas": ADAM_BETAS}
        return defaults | self.kwargs.model_dump()

    @model_validator(mode="after")
    def _takes_them(self) -> OptimizerConfig:
        _check_arguments(self.name, self.arguments, OPTIMIZER_SETTINGS)
        return self


class SchedulerKwargs(Arguments):
    """Arguments of the learning rate's schedule; what is not given is its default."""

    T_max: float | None = Field(None, gt=0)
    """Optimizer steps of cosine_annealing until the learning rate is at eta_min; all of the run's by default, which can
    then not be made longer when it is resumed."""
    eta_min: float | None = Field(None, ge=0)
    """Learning rate that cosine_annealing ends at."""
    start_factor: float | None = Field(None, gt=0, le=1)
    """Factor that linear starts at."""
    end_factor: float | None = Field(None, ge=0, le=1)
    """Factor that linear ends at."""
    total_iters: int | None = Field(None, ge=1)
    """Optimizer steps of linear; all of the run's by default, which can then not be made longer when it is resumed."""


class SchedulerConfig(Section):
    """How the learning rate moves."""

    name: Literal["constant", "cosine_annealing", "linear"] = "constant"
    """The schedule: constant is none, the others are torch's."""
    kwargs: SchedulerKwargs = SchedulerKwargs()
    """Its arguments."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that are set, for the schedule's class in torch."""
        return self.kwargs.model_dump()

    @model_validator(mode="after")
    def _takes_them(self) -> SchedulerConfig:
        _check_arguments(self.name, self.arguments, SCHEDULER_SETTINGS)
        return self


class TrainConfig(Section):
    """Length of a run, what it writes, and its seed."""

    total_steps: int = Field(8, ge=1)
    """Steps of a run. A step collects method.num_rollouts programs and updates on them; trlx counts steps of the
    optimizer, of which a step here has method.ppo_epochs for each train.batch_size programs."""
    batch_size: int = Field(32, ge=1)
    """Programs for each step of the optimizer."""
    minibatch_size: int | None = Field(None, ge=1)
    """Programs that go through the model at a time, their gradients added up; null for batch_size."""
    seed: int = Field(1000, ge=0, le=LARGEST_SEED)
    """Decides every random choice of a run."""
    seq_length: int | None = Field(None, ge=1)
    """Ignored: the length follows from method.n_soft_tokens, the instruction and method.gen_kwargs."""
    epochs: int = unused(100)
    """trlx's other limit; here total_steps alone says when a run ends."""

    checkpoint_dir: PathText = "runs"
    """Directory that holds a directory for each run. In all paths of a configuration ``~`` and ``${NAME}``, which is a
    variable of the environment, are expanded."""
    run_name: str | None = None
    """Name of the run and of its directory; null makes one up."""
    checkpoint_interval: int = Field(1, ge=1)
    """Steps between two checkpoints."""
    save_best: bool = True
    """Whether the checkpoint with the best mean fitness is kept beside the latest ones."""
    save_optimizer: bool = unused(True)
    """Checkpoints hold the optimizer always, so that a run continues as if it had not stopped."""
    resume_from_checkpoint: PathText | None = None
    """Checkpoint, or directory of a run, to continue from."""

    eval_interval: int = Field(8, ge=1)
    """Steps between two evaluations; one comes at the end in any case."""
    tracker: Literal["mlflow"] | None = "mlflow"
    """Where metrics are recorded: mlflow or null. The tracking section says the rest."""
    tags: tuple[str, ...] = ()
    """Tags of the run in its tracker."""

    pipeline: str = unused("PromptPipeline")
    """trlx's class for prompts."""
    trainer: str = unused("AcceleratePPOTrainer")
    """trlx's class for training."""
    trainer_kwargs: dict[str, Any] = unused(factory=dict)
    """Arguments of trlx's trainer."""
    project_name: str = unused("terraprompt")
    """Project of trlx's tracker; here tracking.experiment says it."""
    entity_name: str | None = unused()
    """Entity of trlx's tracker."""
    group_name: str | None = unused()
    """Group of trlx's tracker."""
    rollout_logging_dir: str | None = unused()
    """Where trlx writes rollouts."""
    logging_dir: str | None = unused()
    """Where trlx's tracker writes."""

    @field_validator("run_name")
    @classmethod
    def _is_a_directory_name(cls, name: str | None) -> str | None:
        if name is not None and (not name or name in (".", "..") or "/" in name or "\\" in name):
            raise ValueError(f"must be usable as the name of a directory, not {name!r}")
        return name

    @model_validator(mode="after")
    def _minibatch_divides(self) -> TrainConfig:
        if self.minibatch_size and self.batch_size % self.minibatch_size:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of minibatch_size {self.minibatch_size}")
        return self


def _check_arguments(name: str, arguments: dict[str, Any], known: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError for an argument that belongs to another name."""
    for argument in arguments:
        if argument not in known[name]:
            owner = next(other for other, theirs in known.items() if argument in theirs)
            raise ValueError(f"kwargs.{argument} is for {owner}; {name} takes {', '.join(known[name]) or 'none'}")
