"""The ``method`` section: the soft prompt, PPO and what helps it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from distributed.config.generation import GenKwargs
from distributed.config.section import Section, unused

GROUPED = ("rloo", "grpo", "dr_grpo")


class MethodConfig(Section):
    """What is trained, and how the rewards train it.

    For trlx's own PPO set ``estimator: gae``, ``advantage_shaping: none``, ``replay_weight: 0`` and
    ``warm_start.steps: 0``.
    """

    name: str = "PPOSoftpromptConfig"
    """Name of the method: PPOSoftpromptConfig or PPOConfig, in upper or lower case. They mean the same here."""

    n_soft_tokens: int = Field(20, ge=1)
    """Rows of the soft prompt of each terrain."""
    prompts_per_terrain: int = Field(1, ge=1)
    """Soft prompts of each terrain. Above 1, each owns a cell of the archive of elites and learns the cell's best
    program, and a terrain's programs are written behind all of them evenly. A ten makes them from where their cells
    lie, too."""
    prompt_rests_at: float = Field(0.0, ge=0)
    """Nats of its own program at which one of several prompts learns that no further, until a better one is found."""
    closing_rests_at: float = Field(0.0, ge=0)
    """The same for closing_steps, where the last steps decide how close prompts keep to their programs."""
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

    replay_from: Literal["best", "cells", "spread"] = "best"
    """Which programs are replayed: a terrain's best; the best of cells, that is of its best kinds of programs; or the
    best and others of the archive that are far from it and from one another."""
    replay_bar: float = Field(0.5, ge=0, le=1)
    """Share of a terrain's best fitness that programs of cells need to be replayed; the bar rises with the best."""
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
    down_sample_to: int | None = Field(None, ge=2)
    """Of a step's programs, how many are learnt from, each group's lowest and highest rewards; null for all. Worth it
    where drawing is cheap beside updates (Xu et al. 2025, arXiv 2504.13818)."""
    samples_per_instruction: int = Field(1, ge=1)
    """Programs drawn side by side behind an instruction of a terrain that has several. Above 1, a program is compared
    with the others of its instruction, else with all of its terrain."""
    repeat_discount: float = Field(0.0, ge=0, le=4)
    """Of a program that stands k times in its group, each keeps 1/k^this of its reward (1 shares it out, as fitness
    sharing does: Goldberg & Richardson 1987); 0 lets a prompt come to write one program alone."""
    unique_target: float | None = Field(None, gt=0, le=1)
    """Share of unique programs in a group that repeat_discount is steered to, once a step; null keeps it."""
    unique_rate: float = Field(1.0, gt=0)
    """How fast repeat_discount is steered: a share that is off by 20% or more moves it by a fifth of this."""
    repeats_by: Literal["outcome", "program", "cell"] = "outcome"
    """What makes a program a repeat: an equal outcome, as the world tells (in sodarace a walker, whatever text makes
    it), an equal text, or a place in the same cell of the world's niches."""
    distinct_by: Literal["none", "tokens", "descriptors"] = "none"
    """Rewards are multiplied by a program's mean distance from its group, in tokens (Levenshtein) or the world's
    descriptors, as a share of the longest possible: quality times distinctness (Li et al. 2025, arXiv 2509.02534)."""
    novelty_weight: float = Field(0.0, ge=0)
    """Weight of a reward for valid programs whose descriptors are far from those of the archive's, in [0, 1]
    (Lehman & Stanley 2011)."""
    novelty_neighbours: int = Field(10, ge=1)
    """To how many of the nearest of the archive's programs that distance is taken."""
    entropy_coef: float = Field(0.0, ge=0)
    """Reward of each nat by which a token was unlikely under the policy that drew it: maximum-entropy RL (Haarnoja et
    al. 2017, arXiv 1702.08165, section 2)."""

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

    @property
    def pays_for_variety(self) -> bool:
        """Whether a program's reward depends on the other programs of its step, or on the archive."""
        discounts = self.repeat_discount > 0 or self.unique_target is not None
        return discounts or self.distinct_by != "none" or self.novelty_weight > 0

    @model_validator(mode="after")
    def _several_prompts_are_rows_or_of_a_ten(self) -> MethodConfig:
        if self.prompts_per_terrain > 1 and self.reparameterize != "none":
            raise ValueError("prompts_per_terrain above 1 is for rows or a ten: set reparameterize to none")
        if self.prompts_per_terrain > 1 and self.estimator == "es":
            raise ValueError("estimator es moves one prompt a terrain: set prompts_per_terrain to 1")
        return self

    @model_validator(mode="after")
    def _evolution_compares_rewards_as_they_are(self) -> MethodConfig:
        if self.estimator == "es" and (self.pays_for_variety or self.entropy_coef):
            raise ValueError(
                "estimator es compares rewards as they are: leave repeat_discount, unique_target, distinct_by, "
                "novelty_weight and entropy_coef as they were"
            )
        return self

    @model_validator(mode="after")
    def _value_head_is_needed(self) -> MethodConfig:
        if self.estimator == "gae" and not self.tune_v_head:
            raise ValueError("estimator gae with tune_v_head false would judge by an untrained value head")
        return self
