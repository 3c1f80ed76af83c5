"""The configuration of a run: trlx's sections, and this project's own. Every setting is documented where it stands."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from distributed.config.generation import GenKwargs
from distributed.config.method import GROUPED, MethodConfig
from distributed.config.renamed import with_current_names
from distributed.config.search import Range, SearchConfig
from distributed.config.section import Section
from distributed.config.sections import (
    ChatConfig,
    ComputeConfig,
    EvaluationConfig,
    RayConfig,
    RolloutsConfig,
    TenConfig,
    TrackingConfig,
    WarmStartConfig,
)
from distributed.config.terrains import TerrainSampleConfig, TerrainsConfig
from distributed.config.trlx_sections import (
    BUNDLED,
    BUNDLED_LM,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    TokenizerConfig,
    TrainConfig,
)

__all__ = [
    "BUNDLED",
    "BUNDLED_LM",
    "TRLX_SECTIONS",
    "ChatConfig",
    "ComputeConfig",
    "EvaluationConfig",
    "GenKwargs",
    "MethodConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Range",
    "RayConfig",
    "RolloutsConfig",
    "RunConfig",
    "SchedulerConfig",
    "SearchConfig",
    "Section",
    "TenConfig",
    "TerrainSampleConfig",
    "TerrainsConfig",
    "TokenizerConfig",
    "TrackingConfig",
    "TrainConfig",
    "WarmStartConfig",
]

TRLX_SECTIONS = ("method", "model", "optimizer", "scheduler", "tokenizer", "train")


class RunConfig(Section):
    """All settings of a run. Read one from a file with ``distributed.config.load.load_config``."""

    method: MethodConfig = MethodConfig()
    """What is trained, and how the rewards train it."""
    model: ModelConfig = ModelConfig()
    """The language model."""
    chat: ChatConfig = ChatConfig()
    """Whether it is talked to."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """What moves the prompts, and whatever else is trained."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """How the learning rate moves."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """trlx's section for the tokenizer."""
    train: TrainConfig = TrainConfig()
    """Length of a run, what it writes, and its seed."""
    terrains: TerrainsConfig = TerrainsConfig()
    """What the prompts are trained on."""
    ten: TenConfig = TenConfig()
    """The network that prompts come from, where they do."""
    warm_start: WarmStartConfig = WarmStartConfig()
    """What happens before the first step."""
    rollouts: RolloutsConfig = RolloutsConfig()
    """The workers that write programs and score them."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What the final numbers are made from."""
    compute: ComputeConfig = ComputeConfig()
    """In which numbers the language model computes, and where."""
    ray: RayConfig = RayConfig()
    """Where the workers run."""
    tracking: TrackingConfig = TrackingConfig()
    """Where a run is recorded."""
    search: SearchConfig = SearchConfig()
    """A population of runs that differ in some settings."""

    @model_validator(mode="before")
    @classmethod
    def _has_current_names(cls, given: Any) -> Any:
        return with_current_names(given) if isinstance(given, dict) else given

    def sequence_length(self, instruction_tokens: int) -> int:
        """Most positions a program takes up: soft prompt, instruction and the program itself."""
        kwargs = (self.method.gen_kwargs, self.method.rollout_kwargs)
        longest = max(each.new_tokens(instruction_tokens) for each in kwargs)
        return self.method.n_soft_tokens + instruction_tokens + longest

    @model_validator(mode="after")
    def _world_takes_what_is_said(self) -> RunConfig:
        # Imported here, and only for worlds whose settings are read without the world: see TerrainsConfig.all_names.
        from terrains.registry import find_world, is_light, read_options

        if not is_light(self.terrains.world):
            return self
        try:
            self.terrains.sampled_names()
        except ValueError as error:
            raise ValueError(f"terrains.sample: {error}") from None
        try:
            read_options(find_world(self.terrains.world), self.terrains.options)
        except ValueError as error:
            raise ValueError(f"terrains.options.{error}") from None
        return self

    @model_validator(mode="after")
    def _programs_for_every_terrain(self) -> RunConfig:
        terrains = self.terrains.count
        if not terrains and self.terrains.world != "sodarace":
            return self  # those that the world lists; it is not looked at here
        if not terrains:
            raise ValueError("terrains.names: must have at least 1 of them, unless terrains.sample.count draws some")
        per_terrain = self.method.num_rollouts // terrains
        needed = 2 if self.method.estimator in GROUPED else 1
        if self.method.estimator == "es":
            needed = 2 * self.method.es_pairs
        if per_terrain < needed:
            what = "1 is needed" if needed == 1 else f"{self.method.estimator} needs {needed} to compare"
            raise ValueError(
                f"method.num_rollouts: {self.method.num_rollouts} programs a step for {terrains} "
                f"terrains are {per_terrain} each; {what}"
            )
        return self

    @model_validator(mode="after")
    def _only_whole_weights_are_trained(self) -> RunConfig:
        if self.compute.quantization and self.model.num_layers_unfrozen:
            raise ValueError(
                f"compute.quantization: weights of {self.compute.quantization} cannot be trained; set "
                "model.num_layers_unfrozen to 0"
            )
        return self

    @model_validator(mode="after")
    def _only_a_table_has_rows_of_elites(self) -> RunConfig:
        if self.warm_start.init_from_elite and (self.method.prompt_source, self.method.reparameterize) != (
            "table",
            "none",
        ):
            raise ValueError(
                "warm_start.init_from_elite: rows are a table's; method.prompt_source and reparameterize differ"
            )
        return self

    @model_validator(mode="after")
    def _evolution_is_synchronous_and_trains_prompts_only(self) -> RunConfig:
        if self.method.estimator == "es":
            if self.rollouts.max_staleness:
                raise ValueError("rollouts.max_staleness: estimator es waits for every program; set it to 0")
            if self.model.num_layers_unfrozen:
                raise ValueError("model.num_layers_unfrozen: estimator es moves prompts alone; set it to 0")
        return self
