"""The MLflow model of one soft prompt: an instruction goes in, a program comes out.

MLflow copies this file into every exported model and runs it where the model is loaded (models from code). It therefore
imports torch, transformers, peft and MLflow, and nothing of this project but `merge_adapter`, which MLflow copies along
where the base model is an adapter on another one. Tokens are drawn as the project's own sampler
draws them, from the same numbers for the same seed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from torch import Tensor

BASE_MODEL_VARIABLE = "TERRAPROMPT_BASE_MODEL"
"""Environment variable with the directory of the base model, for machines where it lies elsewhere."""

SAME_DATE = "{%- macro strftime_now(format) -%}01 Jan 2025{%- endmacro -%}"
"""What a chat template takes for today's date, as in the run."""

FRESH = -1
"""The seed that asks for other programs at every call."""


class SoftPromptWriter(PythonModel):
    """Writes programs with a frozen base model behind a soft prompt.

    The model's config says ``base_model`` (directory or hub id), ``base_model_hash``, its ``dtype`` and
    ``quantization``, and where programs end: ``ends`` (token ids), ``min_new_tokens`` and ``stop_strings``. ``chat``
    says whether an instruction is a user's turn (``template``), and what the system's turn says before it
    (``system_prompt``). Its artifact ``prompt`` is a PEFT prompt-tuning directory, or has several in it, which take
    turns. A second one, ``world``, is for those who score programs: it is not opened here.

    Attributes:
        tokenizer: the base model's, once it is loaded.
        world_file: path of the artifact ``world``, None for a model without one.
    """

    tokenizer: Any = None
    world_file: str | None = None

    def load_context(self, context: Any) -> None:
        """Loads the base model, makes sure that it is the one the prompt was tuned for, and puts the prompt on it.

        Raises:
            MlflowException: the base model is not there, or it is another one.
        """
        from peft import PeftModel

        settings = context.model_config
        self.world_file = context.artifacts.get("world")
        base = os.environ.get(BASE_MODEL_VARIABLE) or settings["base_model"]
        self._base, self.tokenizer = _load_base(base, settings.get("dtype", "float32"), settings.get("quantization"))
        end = self.tokenizer.eos_token_id
        self._rows = self._base.get_input_embeddings().weight.shape[0]
        ends = settings.get("ends", [] if end is None or end >= self._rows else [end])
        self._ends = torch.tensor(ends, dtype=torch.int64)
        self._cached = settings.get("cached", True)
        self._min_new_tokens = settings.get("min_new_tokens", 0)
        self._stop_strings = settings.get("stop_strings", [])
        self._chat = settings.get("chat") or {}
        found, expected = weights_hash(self._base), settings["base_model_hash"]
        if found != expected:
            raise MlflowException.invalid_parameter_value(
                f"the soft prompt was tuned for the base model {settings['base_model']!r} with hash {expected[:12]}, "
                f"and {base!r} has hash {found[:12]}: set {BASE_MODEL_VARIABLE} to the directory of the right one"
            )
        folder = Path(context.artifacts["prompt"])
        several = sorted(each for each in folder.iterdir() if each.is_dir())
        self._prompts = []
        for place in [folder] if (folder / "adapter_config.json").is_file() else several:
            prompted = PeftModel.from_pretrained(self._base, str(place)).eval().requires_grad_(False)
            self._prompts.append(prompted.get_prompt(batch_size=1).detach())

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Writes one program for each row.

        Args:
            context: not used.
            model_input: column ``instruction``, what the programs begin with.
            params: ``temperature``, ``top_k``, ``top_p``, ``do_sample``, ``max_new_tokens`` and ``seed``. Row i depends
                on its instruction, the seed and i, and on no other row. Seed -1 draws afresh. Of n prompts, row i is
                written behind that of number (seed + i) modulo n.

        Returns:
            Column ``program``, the whole texts, instruction included.

        Raises:
            MlflowException: a parameter is out of its range, or the program would not fit the base model.
        """
        options = dict(params or {})
        _check(options)
        instructions = _texts_of(model_input["instruction"])
        generator = torch.Generator()
        generator.seed() if options["seed"] == FRESH else generator.manual_seed(options["seed"])
        uniforms = torch.rand(len(instructions), options["max_new_tokens"], generator=generator)
        programs = [""] * len(instructions)
        first = generator.initial_seed() % len(self._prompts)
        asked = [(text, (first + row) % len(self._prompts)) for row, text in enumerate(instructions)]
        for instruction, which in dict.fromkeys(asked):
            rows = [row for row, each in enumerate(asked) if each == (instruction, which)]
            written = self._write(instruction, self._prompts[which], uniforms[rows], options)
            for row, program in zip(rows, written, strict=True):
                programs[row] = program
        return pd.DataFrame({"program": programs})

    def _write(self, instruction: str, prompt: Tensor, uniforms: Tensor, options: dict[str, Any]) -> list[str]:
        """Programs of one instruction behind one prompt, one for each row of uniform numbers (n, max_new_tokens)."""
        before = self._instruction(instruction)
        written = self._decode(before, prompt, uniforms, options)
        start, *whole = self._texts([before, *(before + tokens for tokens in written)])
        return [instruction + text[len(start) :] for text in whole]

    def _instruction(self, text: str) -> list[int]:
        """Token ids of an instruction; of a user's turn, the conversation up to where the model's turn begins."""
        if self._chat.get("template"):
            said = self._chat.get("system_prompt")
            turns = [] if said is None else [{"role": "system", "content": said}]
            try:
                text = self.tokenizer.apply_chat_template(
                    [*turns, {"role": "user", "content": text}],
                    chat_template=SAME_DATE + self.tokenizer.get_chat_template(),
                    add_generation_prompt=True,
                    tokenize=False,
                )
            except Exception as error:  # of whatever kind the template's expressions raise
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise MlflowException.invalid_parameter_value(
                    f"the base model's chat template does not take this instruction: {first}"
                ) from error
        ids = self.tokenizer(text, add_special_tokens=not self._chat.get("template"))["input_ids"]
        # Tokens that were added to the tokenizer alone mean nothing to the model.
        ids = [token for token in ids if token < self._rows]
        if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id and not self._chat.get("template"):
            return ids[:-1]
        return ids

    def _decode(self, before: list[int], prompt: Tensor, uniforms: Tensor, options: dict[str, Any]) -> list[list[int]]:
        """Draws tokens row by row, one forward a token; rows that are done leave. A prompt is read once if it may."""
        from transformers import DynamicCache

        n, length = uniforms.shape
        config = self._base.config
        positions = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
        needed = prompt.shape[1] + len(before) + length
        if positions is not None and needed > positions:
            raise MlflowException.invalid_parameter_value(
                f"{prompt.shape[1]} soft tokens, an instruction of {len(before)} and {length} new tokens need "
                f"{needed} positions; the base model has {positions}"
            )
        written: list[list[int]] = [[] for _ in range(n)]
        alive = torch.arange(n)
        cache = DynamicCache(config=self._base.config)
        with torch.inference_mode():
            embedded = self._base.get_input_embeddings()(torch.tensor([before], dtype=torch.int64))
            inputs: dict[str, Tensor] = {"inputs_embeds": torch.cat([prompt.to(embedded), embedded], dim=1)}
            for step in range(length):
                reading = {"past_key_values": cache, "use_cache": True} if self._cached else {"use_cache": False}
                logits = self._base(**inputs, **reading).logits[:, -1].float()
                if step == 0:
                    if self._cached:
                        cache.batch_repeat_interleave(n)
                    else:
                        inputs["inputs_embeds"] = inputs["inputs_embeds"].expand(n, -1, -1)
                    logits = logits.expand(n, -1)
                if step < self._min_new_tokens:
                    logits = logits.index_fill(1, self._ends, -torch.inf)
                if not bool(torch.isfinite(logits.logsumexp(dim=-1)).all()):
                    raise MlflowException("the logits are NaN or infinite: the prompt or the base model is damaged")
                chosen = draw(logits, uniforms[alive, step], options)
                for row, token in zip(alive.tolist(), chosen.tolist(), strict=True):
                    written[row].append(token)
                ended = torch.isin(chosen, self._ends)
                if self._stop_strings:
                    ended |= torch.tensor([self._has_stopped(before + written[row]) for row in alive.tolist()])
                going = (~ended).nonzero()[:, 0]
                if len(going) == 0:
                    break
                left, alive = len(alive) - len(going), alive[going]
                if self._cached:
                    if left:
                        cache.batch_select_indices(going)
                    inputs = {"input_ids": chosen[going, None]}
                else:
                    new = self._base.get_input_embeddings()(chosen[going, None])
                    inputs = {"inputs_embeds": torch.cat([inputs["inputs_embeds"][going], new], dim=1)}
        return written

    def _has_stopped(self, tokens: list[int]) -> bool:
        """Whether the last token completes a stop string."""
        known, text = (self.tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in (tokens[:-1], tokens))
        return any(text.find(s, max(0, len(known) - len(s) + 1)) >= 0 for s in self._stop_strings)

    def _texts(self, rows: Sequence[list[int]]) -> list[str]:
        return self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def draw(logits: Tensor, uniforms: Tensor, options: dict[str, Any]) -> Tensor:
    """Draws one token a row by inverting the cumulative distribution at the row's uniform number.

    Args:
        logits: shape (n, vocab_size).
        uniforms: numbers in [0, 1), shape (n,).
        options: temperature, top_k, top_p and do_sample.

    Returns:
        Token ids, shape (n,).
    """
    if not options["do_sample"]:
        return logits.argmax(dim=-1)
    if options["temperature"] != 1:
        logits = logits / options["temperature"]
    if 0 < options["top_k"] < logits.shape[-1]:
        smallest = logits.topk(options["top_k"], dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    if options["top_p"] < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        likely = ordered.softmax(dim=-1)
        ruled_out = likely.cumsum(dim=-1) - likely >= options["top_p"]
        logits = logits.masked_fill(ruled_out.scatter(1, order, ruled_out), -torch.inf)
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    # Below the total even after rounding: the first entry above the threshold always exists and is never ruled out.
    total = cumulative[:, -1:]
    threshold = torch.minimum(uniforms[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0]


def weights_hash(model: Any) -> str:
    """Returns the hex sha256 over names, types, shapes and bits of a model's weights, tied ones once."""
    saved = model.state_dict()
    own, every = (dict(model.named_parameters(remove_duplicate=each)) for each in (True, False))
    digest = hashlib.sha256()
    for name in sorted((*own, *(name for name in saved if name not in every))):
        tensor = saved[name]
        bits = tensor.detach().cpu().contiguous()
        array = (bits.view(torch.uint16) if bits.dtype == torch.bfloat16 else bits).numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _load_base(base: str, dtype: str, quantization: str | None) -> tuple[Any, Any]:
    """The base model, frozen, and its tokenizer. Code that comes with a model is never run."""
    from transformers import AutoTokenizer

    try:
        model, home = _read(base, getattr(torch, dtype), quantization)
        return model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(home, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise MlflowException.invalid_parameter_value(
            f"cannot load the base model from {base!r}; set {BASE_MODEL_VARIABLE} to its directory: "
            f"{str(error).strip().partition(chr(10))[0]}"
        ) from None


def _read(base: str, dtype: torch.dtype, quantization: str | None = None) -> tuple[Any, str]:
    """The base model, and where its tokenizer is. An adapter of PEFT's is merged into the model that it is on."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import cached_file
    from transformers.utils.peft_utils import find_adapter_config_file

    found = find_adapter_config_file(base)
    if found is None:
        bits: dict[str, dict[str, Any]] = {
            "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype},
            "8bit": {"load_in_8bit": True},
        }
        how: dict[str, Any] = {}
        if quantization:
            how = {"quantization_config": BitsAndBytesConfig(**bits[quantization]), "device_map": {"": "cpu"}}
        # transformers' class of many bases, which a type checker cannot follow.
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, trust_remote_code=False, **how)
        for module in model.modules() if quantization else ():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False  # it would compute in other numbers than the run did
        return model, base
    merge_adapter = import_module("merge_adapter")
    cached_file(base, merge_adapter.WEIGHTS_FILE)
    folder = Path(found).parent
    below, home = _read(merge_adapter.base_of(folder), torch.float32)
    return merge_adapter.merge(below, folder).to(dtype), str(folder) if any(folder.glob("tokenizer*")) else home


def _texts_of(cells: Iterable[Any]) -> list[str]:
    """The instructions of a column. Of a dict with a list MLflow makes one row whose cell is that list."""
    texts: list[str] = []
    for cell in cells:
        texts += [cell] if isinstance(cell, str) else list(cell)
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise MlflowException.invalid_parameter_value(f"an instruction is a text, not a {type(wrong[0]).__name__}")
    return texts


def _check(options: dict[str, Any]) -> None:
    """Raises MlflowException for a parameter out of its range."""
    rules = {
        "temperature": (options["temperature"] > 0, "greater than 0"),
        "top_k": (options["top_k"] >= 0, "at least 0, which is for all tokens"),
        "top_p": (0 < options["top_p"] <= 1, "in (0, 1]"),
        "max_new_tokens": (options["max_new_tokens"] >= 1, "at least 1"),
        "seed": (FRESH <= options["seed"] < 2**63, "at least 0, or -1 for other programs at every call"),
    }
    for name, (holds, rule) in rules.items():
        if not holds:
            raise MlflowException.invalid_parameter_value(f"{name} is {options[name]}, and has to be {rule}")


mlflow.models.set_model(SoftPromptWriter())
