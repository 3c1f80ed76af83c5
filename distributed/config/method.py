"""The ``method`` section: the soft prompt, PPO and what helps it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from distributed.config.section import Arguments, Section, unused

DEFAULT_NEW_TOKENS = 160
GROUPED = ("rloo", "grpo", "dr_grpo")


class GenKwargs(Arguments):
    """How programs are sampled; the names are those of transformers."""

    max_new_tokens: int | None = Field(None, ge=1)
    """Most tokens of a program behind its instruction, its end token included; 160 without max_length either."""
    max_length: int | None = Field(None, ge=2)
    """Most tokens of instruction and program together; max_new_tokens comes before it. Soft tokens do not count."""
    min_new_tokens: int | None = Field(None, ge=0)
    """Fewest tokens of a program; before, its end token cannot be drawn."""
    min_length: int = Field(0, ge=0)
    """Fewest tokens of instruction and program together; min_new_tokens comes before it. Soft tokens do not count."""
    temperature: float = Field(1.0, gt=0)
    """Logits are divided by it."""
    top_k: int = Field(0, ge=0)
    """Only the k likeliest tokens are drawn; 0 for all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Only the fewest tokens that hold this much probability are drawn."""
    do_sample: bool = True
    """False takes the likeliest token every time."""
    stop_strings: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts at which a program ends, behind the token that completes one of them; it may end before its min_length."""
    eos_token_id: int | tuple[int, ...] | None = None
    """Tokens that end a program, by their numbers; null for the language model's own, -1 for none."""
    num_beams: int = Field(1, ge=1)
    """Only 1, as programs are drawn one by one."""

    @field_validator("num_beams")
    @classmethod
    def _is_one(cls, beams: int) -> int:
        if beams > 1:
            raise ValueError(
                f"must be 1, not {beams}: the best of many beams is no sample of the policy, which PPO needs"
            )
        return beams

    @property
    def end_tokens(self) -> tuple[int, ...] | None:
        """The tokens that end a program, None for the language model's own; no number below 0 is a token."""
        said = self.eos_token_id
        return None if said is None else tuple(t for t in ((said,) if isinstance(said, int) else said) if t >= 0)

    @field_validator("stop_strings", mode="before")
    @classmethod
    def _may_be_one_or_none(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else () if value is None else value

    @model_validator(mode="after")
    def _shortest_is_no_longer_than_the_longest(self) -> GenKwargs:
        for low, high in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} is {least}, which is above {high}, {most}")
        return self

    def new_tokens(self, instruction_tokens: int) -> int:
        """Most tokens of a program whose instruction has so many tokens; at least 1."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is not None:
            return max(1, self.max_length - instruction_tokens)
        return DEFAULT_NEW_TOKENS

    def sampler_settings(self, instruction_tokens: int) -> dict[str, Any]:
        """The arguments of ``softprompt.sampling.draw.GenerationConfig``."""
        longest = self.new_tokens(instruction_tokens)
        least = self.min_length - instruction_tokens if self.min_new_tokens is None else self.min_new_tokens
        return {
            "max_new_tokens": longest,
            "min_new_tokens": min(max(0, least), longest),
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "do_sample": self.do_sample,
            "stop_strings": self.stop_strings,
            "end_tokens": self.end_tokens,
        }


class MethodConfig(Section):
    """What is trained, and how the rewards train it.

    For trlx's own PPO set ``estimator: gae``, ``advantage_shaping: none``, ``replay_weight: 0`` and
    ``warm_start.steps: 0``.
    """

    name: str = "PPOSoftpromptConfig"
    """Name of the method: PPOSoftpromptConfig or PPOConfig, in upper or lower case. They mean the same here."""

    n_soft_tokens: int = Field(20, ge=1)
    """Rows of the soft prompt of each terrain."""
    prompt_source: Literal["table", "ten"] = "table"
    """What prompts come from: table has rows for each terrain; ten is a network that makes them from its features."""
    initialize_from_vocab: bool = True
    """Whether rows start as embeddings of tokens drawn from those that programs use often; else as random rows."""
    initialize_from: str | None = None
    """What rows start as instead: ``text:`` and a text, a file of text, the directory of a PEFT prompt, or a run."""
    match_norms: bool = False
    """Whether rows are made as long at the start as the vocabulary's are on average; random rows always are."""
    reparameterize: Literal["none", "residual"] = "none"
    """residual trains rows through a network with a skip connection; workers and exports get the resulting prompts."""
    residual_width: int = Field(64, ge=1)
    """Width of that network's bottleneck."""
    network_lr: float = Field(1e-3, gt=0)
    """Learning rate of a network that prompts come from, or through; their rows have the optimizer's."""
    unfrozen_lr: float | None = Field(None, gt=0)
    """Learning rate of unfrozen layers of the language model; null for the optimizer's, but 1e-4 at most."""
    value_lr: float | None = Field(None, gt=0)
    """Learning rate of the value head; null for the optimizer's."""
    tune_v_head: bool = True
    """Whether the value head is trained; only the estimator gae has one."""
    measure_soft_embedding_drift: bool = True
    """Whether the distance of the prompts from their start is logged, and in the end the tokens nearest to them."""

    estimator: Literal["gae", "rloo", "grpo", "dr_grpo", "reinforce_pp", "es"] = "rloo"
    """How advantages are estimated; gae needs the value head. es is evolution strategies, which need no gradient."""
    es_pairs: int = Field(8, ge=1)
    """Pairs of opposite perturbations of a prompt that es compares in a step, by their programs' rewards alone."""
    es_noise: float = Field(0.1, gt=0)
    """Size of a perturbation, as a share of the prompt's own numbers (root mean square)."""
    advantage_shaping: Literal["none", "rank", "log"] = "rank"
    """What tames a heavy tail: log takes logarithms; rank, ranks, with which rloo, grpo and reinforce_pp are equal."""
    log_unit: float = Field(0.1, gt=0)
    """Reward below which log is about linear."""
    replay_weight: float = Field(1.0, ge=0)
    """Weight of the likelihood of each terrain's best programs so far, added to the loss; 0 turns replay off."""
    replay_size: int = Field(1, ge=1)
    """How many of a terrain's best programs are replayed. One is learnt fastest; more keep programs varied."""

    replay_steps: int = Field(0, ge=0)
    """Steps of likelihood alone, on the replayed programs, after each PPO step; cheap, as they are few."""

    closing_steps: int = Field(0, ge=0)
    """Steps of likelihood on each terrain's best program when the PPO steps are over. A prompt then writes that program
    nearly always: there is hardly any variety, and with many terrains a higher mean (docs/networks.md)."""

    replay_transfer: int = Field(8, ge=0)
    """On how many other terrains, drawn by chance, a terrain's best program of a request is tried, to be elite there;
    it costs simulation, no sampling. Without replay nothing is tried."""

    ppo_epochs: int = Field(2, ge=1)
    """Passes over the rollouts of a step."""
    num_rollouts: int = Field(96, ge=1)
    """Programs a step, over all terrains; shared out as evenly as can be, and at least one a terrain."""
    samples_per_instruction: int = Field(1, ge=1)
    """Programs drawn side by side behind an instruction of a terrain that has several. Above 1, a program is compared
    with the others of its instruction, else with all of its terrain."""
    chunk_size: int = unused(128)
    """Programs trlx samples at a time; here rollouts.request_size says it."""

    init_kl_coef: float = Field(0.05, ge=0)
    """Coefficient of the divergence from the language model without its prompt, at the start."""
    target: float | None = Field(None, gt=0)
    """Nats of divergence a program that the coefficient is adapted to, once a pass over the rollouts as in trlx; null
    keeps it. Measured by the mean of log p/q, where trlx takes that of p/q - 1 - log p/q, which is larger."""
    horizon: int = Field(10_000, ge=1)
    """Programs over which the coefficient adapts; as in trlx a pass counts as train.batch_size of them."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the divergence counts: taken from the reward of each token, or added to the loss."""

    gamma: float = Field(1.0, ge=0, le=1)
    """Discount for each token."""
    lam: float = Field(0.95, ge=0, le=1)
    """Lambda of gae."""
    cliprange: float = Field(0.2, gt=0)
    """Clip range of the probability ratio."""
    cliprange_value: float = Field(0.2, gt=0)
    """Clip range of the value function."""
    vf_coef: float = Field(1.0, ge=0)
    """Weight of the value loss."""

    scale_reward: Literal["running", "terrain", "ref", "ignored"] | bool | None = "ignored"
    """What rewards are divided by: their running deviation, over all or by terrain, ref_std, or nothing (ignored)."""
    ref_mean: float | None = unused()
    """Mean reward of the reference, which nothing is taken from; in trlx, null has ref_std measured whatever it is."""
    ref_std: float | None = Field(None, gt=0)
    """What scale_reward: ref divides by; null takes the deviation of the first step's clipped rewards, for good."""
    cliprange_reward: float | None = Field(10.0, ge=0)
    """Rewards are clipped to plus and minus this before their deviation is taken; null or 0 does not clip."""

    gen_kwargs: GenKwargs = GenKwargs()
    """How programs are sampled for evaluation, and for rollouts unless gen_experience_kwargs is set."""
    gen_experience_kwargs: GenKwargs | None = None
    """How programs are sampled for rollouts."""
    num_value_layers_unfrozen: int = Field(0, ge=0)
    """Layers that the value function has to itself. Only 0 can be trained with."""

    @property
    def rollout_kwargs(self) -> GenKwargs:
        """How programs are sampled for rollouts."""
        return self.gen_experience_kwargs or self.gen_kwargs

    @field_validator("name")
    @classmethod
    def _is_ppo(cls, name: str) -> str:
        if name.casefold() not in ("ppoconfig", "pposoftpromptconfig"):
            raise ValueError(f"must be PPOSoftpromptConfig or PPOConfig, not {name}: PPO is the one method here")
        return name

    @field_validator("scale_reward")
    @classmethod
    def _says_by_what(cls, value: str | bool | None) -> str | bool | None:
        if value is True:
            raise ValueError("must be running, terrain, ref or false: true does not say what to scale by")
        return value

    @model_validator(mode="after")
    def _network_has_no_rows_of_its_own(self) -> MethodConfig:
        if self.prompt_source == "ten" and self.reparameterize != "none":
            raise ValueError("reparameterize is for prompt_source table; a ten is a network already")
        return self

    @model_validator(mode="after")
    def _evolution_moves_rows(self) -> MethodConfig:
        if self.estimator == "es" and (self.prompt_source != "table" or self.reparameterize != "none"):
            raise ValueError("estimator es moves rows: set prompt_source to table and reparameterize to none")
        return self

    @model_validator(mode="after")
    def _value_head_is_needed(self) -> MethodConfig:
        if self.estimator == "gae" and not self.tune_v_head:
            raise ValueError("estimator gae with tune_v_head false would judge by an untrained value head")
        return self
