"""The smaller sections that are this project's own: workers, devices, Ray, tracking, warm start and evaluation."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from distributed.config.section import PathText, Section


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
    max_worker_memory_gb: float | None = Field(None, gt=0)
    """Memory that a worker may come to hold, in GB, before it is started anew, as where a world leaks; null for its
    share of four fifths of its machine's. Without Ray there is a warning instead."""
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
    quantization: Literal["4bit", "8bit"] | None = None
    """Bits of the language model's weights, by bitsandbytes, which has to be installed; null for those of dtype, which
    is the type that layers of fewer bits compute in. Workers then load the model from its path themselves."""
    device: str = "auto"
    """Where the learner has it: auto takes a GPU where there is one, or cpu, cuda, cuda:1, mps. Workers on Ray have it
    where rollouts.gpus_per_worker says, the one without Ray where the learner has it."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
            raise ValueError(f"must be auto, cpu, cuda, cuda:1 and so on, or mps, not {device}")
        return device


class ChatConfig(Section):
    """Whether instructions are said to the language model as a user's turns, as models tuned to follow them expect."""

    template: bool = False
    """Whether the template that comes with the language model's tokenizer is written around each instruction; else a
    program goes on from the instruction's own text. The soft prompt stands before all of it."""
    system_prompt: str | None = None
    """What the system's turn says before the user's; null for what the template itself says, if anything."""

    @model_validator(mode="after")
    def _system_has_a_template(self) -> ChatConfig:
        if self.system_prompt is not None and not self.template:
            raise ValueError("system_prompt is a turn of a conversation: set chat.template to true, or leave it out")
        return self


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
    elites_per_step: int | None = Field(None, ge=1)
    """How many of them each step learns, in turn, so that many can be learnt at the price of few; null for all."""
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
