"""The sections that are this project's own: what is trained on, where it runs and what is made of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from distributed.config.section import PathText, Section

Difficulty = Annotated[float, Field(ge=0, le=1)]


class TerrainSampleConfig(Section):
    """Terrains drawn from families; ``terraprompt terrains sample`` shows them."""

    families: tuple[str, ...] = ()
    """Families that take turns, such as ``tunnel`` or ``tunnel+bumpy``; what a name says of parameters stays as it is.
    Empty for all that have something to draw."""
    count: int = Field(0, ge=0)
    """How many terrains are drawn; 0 for none."""
    difficulty: tuple[Difficulty, Difficulty] = (0.0, 1.0)
    """From how difficult to how difficult, each from 0 to 1; one number for terrains that are all alike."""
    split: Literal["train", "held_out"] = "train"
    """Terrains of the two splits share no seed and no drawn parameter, whatever the other settings are."""
    seed: int = 0
    """Another seed draws other terrains."""

    @field_validator("difficulty", mode="before")
    @classmethod
    def _one_for_both(cls, given: Any) -> Any:
        return (given, given) if isinstance(given, int | float) else given

    @model_validator(mode="after")
    def _can_be_drawn(self) -> TerrainSampleConfig:
        self.names()
        return self

    def names(self) -> tuple[str, ...]:
        """Returns the names of the terrains that are drawn."""
        return _sampled(self.families, self.count, self.difficulty, self.split, self.seed) if self.count else ()


@lru_cache(maxsize=32)
def _sampled(
    families: tuple[str, ...], count: int, difficulty: tuple[float, float], split: str, seed: int
) -> tuple[str, ...]:
    # Imported here: the world brings a compiler along, for which a command's --help has no time.
    from terrains.sodarace.ground.sampler import DRAWN_FAMILIES, sample_terrains

    return tuple(sample_terrains(families or DRAWN_FAMILIES, count, difficulty, split, seed))


class TerrainsConfig(Section):
    """What the prompts are trained on."""

    world: Literal["sodarace"] = "sodarace"
    """Kind of task."""
    names: tuple[PathText, ...] = ("left_wall", "right_wall", "tunnel")
    """Terrains, each with a soft prompt: a family with parameters, as in ``bumpy(amplitude=12, seed=3)``, several on
    top of each other, as in ``tunnel+bumpy``, or ``file(path=canyon.csv)``; `terraprompt terrains list` has all
    families. Where terrains are sampled and none named, there are none but those."""
    sample: TerrainSampleConfig = TerrainSampleConfig()
    """More terrains, drawn from families."""
    seconds: float = Field(20.0, gt=0)
    """Simulated time that a walker has."""

    def all_names(self) -> tuple[str, ...]:
        """Returns the names of all terrains, those that are sampled last."""
        return self.names + self.sample.names()

    @model_validator(mode="before")
    @classmethod
    def _sampled_only(cls, given: Any) -> Any:
        if isinstance(given, dict) and "names" not in given and isinstance(given.get("sample"), dict):
            return {**given, "names": ()} if given["sample"].get("count") else given
        return given

    @field_validator("names")
    @classmethod
    def _differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"must differ; {', '.join(twice)} is there more than once")
        return names


class RolloutsConfig(Section):
    """The workers that write programs and score them."""

    workers: int = Field(2, ge=1)
    """Rollout workers."""
    request_size: int = Field(16, ge=1)
    """Most programs a worker is asked for at a time. Results depend on it, but not on the number of workers."""
    in_flight: int = Field(2, ge=1)
    """Requests at a worker at a time, the running one included."""
    max_staleness: int = Field(0, ge=0)
    """Updates that the learner may be ahead of the prompts that wrote a program; 0 waits for every program."""
    deadline_s: float = Field(300.0, gt=0)
    """Longest a request may take, in seconds; then its worker is replaced and the request is sent again."""
    start_deadline_s: float = Field(300.0, gt=0)
    """Longest the first worker may take to start, in seconds; others that take longer are named and may come later."""
    max_attempts: int = Field(3, ge=1)
    """Failures of one request before the run ends with an error."""
    threads_per_worker: int = Field(1, ge=1)
    """Threads of the numerical libraries in a worker, and programs that it scores side by side. Another number can
    change what the language model writes, in the last digits; never a score."""
    cpus_per_worker: float = Field(1.0, gt=0)
    """CPUs that Ray sets aside for a worker."""
    gpus_per_worker: float = Field(0.0, ge=0)
    """GPUs, or parts of one, that Ray sets aside for a worker; above 0 the worker's language model is on it."""


class ComputeConfig(Section):
    """In which numbers the language model computes, and where."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the language model's weights; prompts are float32 whatever it is. A CPU is fastest in float32."""
    device: str = "auto"
    """Where the learner has it: auto takes a GPU where there is one, or cpu, cuda, cuda:1, mps. Workers on Ray have it
    where rollouts.gpus_per_worker says, the one without Ray where the learner has it."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
            raise ValueError(f"must be auto, cpu, cuda, cuda:1 and so on, or mps, not {device}")
        return device


class RayConfig(Section):
    """Where the workers run."""

    enabled: bool = True
    """Whether workers are Ray actors; without Ray one worker is in the training process itself."""
    address: str | None = None
    """Address of a Ray cluster; null starts one on this machine. RAY_ADDRESS in the environment comes first."""
    num_cpus: int | None = Field(None, ge=1)
    """CPUs of a cluster started on this machine; null for all."""
    include_dashboard: bool = False
    """Whether a cluster started on this machine serves Ray's dashboard; a line says where, and how to open it."""


class TrackingConfig(Section):
    """Where a run is recorded."""

    experiment: str = Field("terraprompt", min_length=1)
    """Experiment in MLflow."""
    uri: PathText | None = None
    """MLflow's store; null for MLFLOW_TRACKING_URI of the environment, else ``sqlite:///mlflow.db``."""
    register_prompts: bool = False
    """Whether the prompts are registered as models when the run ends, one a terrain."""


class TenConfig(Section):
    """The terrain embedding network, for ``method.prompt_source: ten``: a terrain's features become its prompt."""

    body: Literal["mlp", "conv"] = "mlp"
    """mlp reads the features as one vector; conv as profiles along the ground."""
    hidden: int = Field(128, ge=4)
    """Width of the layers."""
    layers: int = Field(2, ge=1)
    """Layers before the last, which starts at zero."""
    terrain_id: bool = True
    """Whether the network is also told which of the run's terrains it is; of a new one, which is most like it."""
    id_dropout: float = Field(0.0, ge=0, le=1)
    """Chance that a terrain is told as a new one instead, in a step, by the id of the nearest of the others."""


class WarmStartConfig(Section):
    """Before the first step: the best of the untuned language model's own programs, learnt by likelihood."""

    samples: int = Field(512, ge=1)
    """Programs drawn without a prompt and scored on every terrain; they are the best-of-n baseline too."""
    steps: int = Field(90, ge=0)
    """Steps of likelihood on the best programs; 0 turns the warm start off."""
    elites: int = Field(1, ge=1)
    """Programs a terrain that are learnt. One is learnt fastest."""
    lr: float = Field(0.05, gt=0)
    """Learning rate of these steps."""
    init_from_elite: bool = False
    """Each prompt's rows first become the tokens of its terrain's best program, repeated or cut to fit."""


class EvaluationConfig(Section):
    """What the final numbers are made from."""

    samples_per_terrain: int = Field(128, ge=2)
    """Programs under each prompt; every one is scored on every terrain."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples for each confidence interval."""


class Range(Section):
    """All values between two ends."""

    low: float
    """The least value."""
    high: float
    """The greatest value."""
    log: bool = False
    """Whether values are drawn evenly by their logarithm, as learning rates should be."""

    @model_validator(mode="after")
    def _is_one(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, and with log it has to be above 0")
        return self


def _form(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "list"


Choices = Annotated[Annotated[tuple[Any, ...], Tag("list")] | Annotated[Range, Tag("range")], Discriminator(_form)]
"""The values that a setting may have: a list of them, or a range."""


class SearchConfig(Section):
    """A population of runs, its members, that differ in some settings."""

    algorithm: Literal["pbt", "asha", "random"] = "pbt"
    """Population-based training, asynchronous successive halving, or a random choice of settings."""
    members: int = Field(8, ge=1)
    """Runs in the population."""
    concurrent: int | None = Field(None, ge=1)
    """Members at a time, for asha and random; null for as many as fit. With pbt all live, and take turns."""
    interval: int = Field(2, ge=1)
    """Steps of a round, at whose end a member is evaluated and it is decided who goes on."""
    total_rounds: int | None = Field(None, ge=1)
    """Rounds of all members together after which the search ends; null for as many as the members need."""
    synch: bool = True
    """Whether pbt waits for all members at the end of a round; else it compares each with the others as last seen."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """Share of the population that pbt replaces by copies of the best."""
    resample: float = Field(0.25, ge=0, le=1)
    """Chance that pbt draws a copied member's setting anew; else it moves to a neighbour, or by a fifth in a range."""
    reduction: float = Field(3.0, gt=1)
    """asha lets the best of so many members go on at each halving."""
    space: dict[str, Choices] = {
        "method.n_soft_tokens": (1, 4, 8, 20, 50),
        "method.initialize_from_vocab": (True, False),
        "optimizer.kwargs.lr": (0.01, 0.02, 0.05, 0.1),
    }
    """Settings that differ between members, by full name: the values each may have, or ``{low, high, log}``."""

    evaluation_samples: int = Field(32, ge=2)
    """Programs a terrain by which members are compared, drawn from the same seeds for every member and round."""
    stored_programs: int = Field(16, ge=1)
    """Programs a terrain of a member's last step on which surgery is measured and prompts are distilled."""
    distill_steps: int = Field(60, ge=0)
    """Steps that make a prompt of a new size say what the copied one said; 0 turns distillation off."""
    distill_lr: float = Field(0.02, gt=0)
    """Learning rate of these steps."""
    measure_surgery: bool = True
    """Whether programs are sampled to measure fitness behind surgery, before and after distillation."""

    cpus_per_member: float = Field(1.0, gt=0)
    """CPUs, or parts of one, that Ray sets aside for a member's learner; its workers come on top."""
    gpus_per_member: float = Field(0.0, ge=0)
    """GPUs, or parts of one, for a member's learner."""
    max_failures: int = Field(1, ge=0)
    """Times that a member which fails goes on from its last checkpoint; after that the others go on without it."""

    @field_validator("space")
    @classmethod
    def _has_choices(cls, space: dict[str, Any]) -> dict[str, Any]:
        for name, values in space.items():
            if not isinstance(values, Range) and not values:
                raise ValueError(f"{name} has no values to choose from")
        return space

    @model_validator(mode="after")
    def _has_a_population(self) -> SearchConfig:
        if self.algorithm == "pbt" and self.members < 2:
            raise ValueError("pbt needs at least 2 members to copy from each other; set search.members")
        if self.algorithm == "pbt" and self.concurrent is not None:
            raise ValueError("pbt compares all members, so concurrent is null; ray.num_cpus says how many fit")
        return self
