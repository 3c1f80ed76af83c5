"""Stage 2: a small causal language model that writes programs and is ready for soft prompts."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from softprompt.finite import NotFiniteError
from softprompt.models.frozen import FrozenLM
from softprompt.models.source import quiet_bars
from softprompt.pretrain.config import PretrainConfig
from softprompt.pretrain.data import BatchOrder
from softprompt.pretrain.hint_prefixes import Hints, encode_hints
from softprompt.pretrain.prefixes import Batch, Slot, TunedPrefixes
from softprompt.pretrain.tokenizer import train_tokenizer


class Pretrainer:
    """Trains the model step by step.

    Args:
        programs: the corpus, each beginning with ``instruction``.
        instruction: the hard prompt; the loss is on what follows it, the end token included.
        config: settings.
        start: directory of an earlier Stage 2 on the same programs to go on from, in another order; None begins anew.
        hints: a text for each program, or None, that hinted prefixes are made of. A hint that is a held-out program is
            not used.

    Attributes:
        model: the language model.
        tokenizer: its tokenizer.
        instruction: what every program begins with.
        step: steps made.
        held_out: token ids of programs that are not trained on.
        training: token ids of the others.
        left_out: programs that are too long.

    Raises:
        ValueError: ``start`` has another tokenizer or shape, fewer than 100 programs are short enough, one does not
            begin with the instruction, or the settings want hints that are not given.
    """

    def __init__(
        self, programs: Sequence[str], instruction: str, config: PretrainConfig, start: Path | None = None,
        hints: Sequence[str | None] | None = None,
    ) -> None:  # fmt: skip
        if any(not p.startswith(instruction) for p in programs):
            raise ValueError(f"every program must begin with the instruction {instruction!r}")
        self.config, self.instruction = config, instruction
        self.tokenizer = train_tokenizer(programs, config.vocab_size, instruction)
        self.instruction_tokens = len(self.tokenizer(instruction)["input_ids"])
        encoded = self.encode(programs)
        kept = [k for k, ids in enumerate(encoded) if len(ids) <= config.max_tokens]
        self.left_out = len(encoded) - len(kept)
        if len(kept) < 100:
            raise ValueError(f"{len(kept)} programs of at most {config.max_tokens} tokens are too few to train on")
        random.Random(config.seed).shuffle(kept)
        cut = max(32, int(len(kept) * config.held_out))
        self.held_out, self.training = ([encoded[k] for k in part] for part in (kept[:cut], kept[cut:]))
        self._hints = self._encode_hints(programs, hints, kept[:cut], kept[cut:])
        self._mean_tokens = self._tokens(self.training) / len(self.training)
        self.token_counts = torch.bincount(
            torch.tensor([t for k in kept for t in encoded[k]]), minlength=len(self.tokenizer)
        )
        torch.manual_seed(config.seed)
        self.model = LlamaForCausalLM(_llama_config(config, self.tokenizer))
        if start:
            self._load(start)
        nn.Module.to(self.model, "cuda" if torch.cuda.is_available() else "cpu")
        self._order = BatchOrder(self.training, config.batch_size, config.seed + (1 if start else 0))
        self._prefixes = self._tuned_prefixes(1)
        self._optimizer = _optimizer(self.model, config)
        self.step = 0

    def encode(self, programs: Sequence[str]) -> list[list[int]]:
        """Returns the token ids of programs as it trains on them, the end token included."""
        return [ids + [self.tokenizer.eos_token_id] for ids in self.tokenizer(list(programs))["input_ids"]]

    def train(self) -> Iterator[dict[str, float]]:
        """Makes the steps that are left; yields ``step``, ``loss`` (nats a token, behind its prefix) and ``lr``.

        Raises:
            NotFiniteError: a loss or gradient is no number; nothing was moved by it.
        """
        config = self.config
        self.model.train()
        while self.step < config.steps:
            lr = config.lr * _schedule((self.step + 1) / config.steps)
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            programs, slot = self._prefixes.next(self._order)
            nats = self._backward(programs, slot)
            if slot:
                slot.tune()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            if not math.isfinite(nats) or not math.isfinite(float(norm)):
                raise NotFiniteError(f"step {self.step + 1} of {config.steps}: the loss or its gradient")
            self._optimizer.step()
            self._optimizer.zero_grad()
            self.step += 1
            yield {"step": self.step, "loss": nats / self._tokens(programs), "lr": lr}
        self.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything from which training goes on bit for bit."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "order": self._order.state_dict(),
            "prefixes": self._prefixes.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where a training of the same programs and settings was."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._order.load_state_dict(state["order"])
        self._prefixes.load_state_dict(state["prefixes"])

    def _backward(self, programs: Batch, slot: Slot | None) -> float:
        """Adds up the gradients of a batch, in as many parts as the settings say; returns its nats."""
        size, total = -(-len(programs) // self.config.accumulate), 0.0
        for first in range(0, len(programs), size):
            part = slice(first, first + size)
            nats = self._nats(programs[part], slot.rows[part] if slot else None).sum()
            # Not divided by the batch's own tokens: batches are of like length, and short programs would count more.
            (nats / (len(programs) * self._mean_tokens)).backward()
            total += nats.item()
        return total

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Nats of a held-out program, without a prefix; mean over at most 512."""
        chunks = [self.held_out[i : i + 64] for i in range(0, min(len(self.held_out), 512), 64)]
        return sum(self._nats(c, None).sum().item() for c in chunks) / sum(len(c) for c in chunks)

    def held_out_steered(self, steps: Sequence[int], rows: int = 20, count: int = 16, lr: float = 0.05) -> list[float]:
        """How well prompts steer: nats of a held-out program behind a prompt tuned on it by likelihood with Adam.

        Args:
            steps: numbers of steps after which to look, rising.
            rows: soft tokens of each prompt.
            count: programs; the mean over them is returned.
            lr: learning rate of the prompts.

        Returns:
            One mean a number of steps.
        """
        programs = self.held_out[:count]
        prompts = self._tuned_prefixes(2).from_vocabulary(len(programs), rows).requires_grad_()
        optimizer = torch.optim.Adam([prompts], lr=lr)
        seen: list[float] = []
        for step in range(max(steps) + 1):
            nats = self._nats(programs, prompts)
            if step in steps:
                seen.append(nats.mean().item())
            (prompts.grad,) = torch.autograd.grad(nats.sum(), prompts)
            optimizer.step()
        return seen

    def save(self, directory: Path) -> None:
        """Writes model (safetensors), tokenizer and token counts as transformers and `FrozenLM.load` read them."""
        directory.mkdir(parents=True, exist_ok=True)
        quiet_bars()
        # First whole under other names: a full disk leaves the model of before.
        with tempfile.TemporaryDirectory(dir=directory, prefix=".unfinished_") as drafts:
            self.model.save_pretrained(drafts, safe_serialization=True)
            self.tokenizer.save_pretrained(drafts)
            (Path(drafts) / "token_counts.json").write_text(json.dumps(self.token_counts.tolist()))
            for draft in sorted(Path(drafts).iterdir()):
                draft.replace(directory / draft.name)

    def _load(self, start: Path) -> None:
        earlier = FrozenLM.load(start)
        if earlier.tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(f"the model in {str(start)!r} was trained on other programs: its tokens differ")
        try:
            self.model.load_state_dict(earlier.model.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the model in {str(start)!r} has another shape than these settings ask for") from error

    def _encode_hints(
        self, programs: Sequence[str], hints: Sequence[str | None] | None, held_out: list[int], training: list[int]
    ) -> Hints | None:
        if hints is None:
            if self.config.prefixes.hinted:
                raise ValueError(f"prefixes.hinted {self.config.prefixes.hinted} needs hints, and there are none")
            return None
        if len(hints) != len(programs):
            raise ValueError(f"{len(hints)} hints for {len(programs)} programs: every program needs one, or None")
        texts, unseen = [hints[k] for k in training], {programs[k] for k in held_out}
        return encode_hints(self.tokenizer, self.training, texts, self.instruction, unseen)

    def _tuned_prefixes(self, salt: int) -> TunedPrefixes:
        embedding = cast(nn.Embedding, self.model.get_input_embeddings()).weight
        return TunedPrefixes(
            embedding,
            self.token_counts,
            self.config.prefixes,
            self.config.seed + salt,
            special_ids=self.tokenizer.all_special_ids,
            hints=self._hints,
        )

    def _tokens(self, programs: Batch) -> int:
        """Tokens that the loss is on."""
        return sum(len(p) - self.instruction_tokens for p in programs)

    def _nats(self, programs: Batch, rows: Tensor | None) -> Tensor:
        """Nats of each program after the instruction, shape (b,), behind prefixes of shape (b, n, d) or none."""
        pad = self.tokenizer.pad_token_id
        ids = nn.utils.rnn.pad_sequence([torch.tensor(p) for p in programs], batch_first=True, padding_value=pad)
        ids = ids.to(self.model.device)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            embeds = self.model.get_input_embeddings()(ids)
            if rows is not None:
                embeds = torch.cat([rows, embeds], dim=1)
            hidden = self.model.model(inputs_embeds=embeds).last_hidden_state
            targets = ids[:, self.instruction_tokens :]
            logits = self.model.lm_head(hidden[:, -targets.shape[1] - 1 : -1]).float()
        nats = nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=pad, reduction="none")
        return nats.sum(1)


def _llama_config(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _optimizer(model: nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)


def _schedule(progress: float) -> float:
    """Share of the peak learning rate at that progress in [0, 1]."""
    return min(1.0, progress / 0.03) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
