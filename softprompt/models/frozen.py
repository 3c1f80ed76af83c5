"""The frozen language model: loaded once, never trained, shared between processes as plain numpy arrays."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights

from softprompt.models.arrays import to_array, to_tensor
from softprompt.models.chat import Chat
from softprompt.models.loading import ModelFiles
from softprompt.models.quantize import Quantization, is_quantized
from softprompt.models.source import LOADING, first_line

TOKEN_COUNTS_FILE = "token_counts.json"


class FrozenLM:
    """A causal language model with its tokenizer, whose weights nothing here ever changes.

    Attributes:
        model: the Hugging Face model, in eval mode, no parameter of which asks for a gradient.
        tokenizer: its tokenizer.
        eos_ids: the tokens that end a program; some models have several, some none.
        pad_id: what fills the cells behind a program's end. A model without a pad token is padded with its end token;
            masks, never this id, say which cells are real.
        token_counts: how often the pretraining corpus has each token, shape (vocab_size,) int64, or None if unknown.
        chat: how an instruction becomes the user's turn of a conversation; None where it is a text to go on from.
        loaded_from: the arguments of :meth:`load` that loaded it, None where it was made in another way.
    """

    loaded_from: dict[str, Any] | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        token_counts: np.ndarray | None = None,
        chat: Chat | None = None,
    ) -> None:
        """Freezes a model.

        Args:
            model: any causal language model of transformers.
            tokenizer: its tokenizer.
            token_counts: occurrences of each token in the corpus, shape (at most vocab_size,): some models have more
                rows than their tokenizer has tokens, and nothing is known of those.
            chat: how instructions become conversations, the ends of whose turns then end programs too.

        Raises:
            ValueError: more counts than the vocabulary has tokens.
            ChatError: the tokenizer has no template for conversations, or it does not take these.
        """
        self.model = model.eval().requires_grad_(False)
        if hasattr(model.config, "rescale_every"):
            model.config.rescale_every = 0  # RWKV would divide its weights in place while it reads
        self.tokenizer = tokenizer
        self.chat = chat
        ends = _end_tokens(model, tokenizer, self.vocab_size)
        if chat is not None:
            chat.check(tokenizer)
            end = chat.end_of_turn(tokenizer)
            ends = ends if end is None or end >= self.vocab_size else tuple(dict.fromkeys((*ends, end)))
        self.eos_ids = ends
        pad_id = getattr(model.config, "pad_token_id", None)
        candidates = (tokenizer.pad_token_id, pad_id, self.eos_id, 0)
        self.pad_id: int = next(token for token in candidates if token is not None and token < self.vocab_size)
        if token_counts is not None:
            if len(token_counts) > self.vocab_size:
                raise ValueError(f"{len(token_counts)} token counts for a vocabulary of {self.vocab_size} tokens")
            token_counts = np.pad(np.asarray(token_counts, np.int64), (0, self.vocab_size - len(token_counts)))
        self.token_counts = token_counts

    @classmethod
    def load(
        cls,
        path: str | Path,
        dtype: str = "float32",
        device: str = "cpu",
        chat: Chat | None = None,
        quantization: Quantization | None = None,
    ) -> FrozenLM:
        """Loads a model from a directory or, failing that, from the hub. Code that comes with a model is never run.

        Args:
            path: a local directory, or a hub id such as ``gpt2``. A directory may hold ``token_counts.json``, a list
                with one count per token. Of an adapter's, such as LoRA's, it is the language model with the adapter.
            dtype: name of a floating torch dtype, in which the weights are whatever they are stored in.
            device: a torch device.
            chat: how instructions become conversations; None for texts to go on from.
            quantization: how many bits the weights are to have; None for those of the dtype.

        Raises:
            ValueError: there is no such model, or what quantises it is missing; the message is one line.
            ChatError: its tokenizer has no template for conversations, or it does not take these.
        """
        files = ModelFiles.find(path)
        model, tokenizer = files.load_model(getattr(torch, dtype), device, quantization), files.load_tokenizer()
        lm = cls(model, tokenizer, _token_counts(files.beside(TOKEN_COUNTS_FILE)), chat)
        local = Path(files.source).is_dir()
        where = str(Path(files.source).absolute()) if local else files.source
        lm.loaded_from = {"path": where, "dtype": dtype, "chat": chat, "quantization": quantization}
        return lm

    @classmethod
    def from_weights(
        cls,
        config: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        tokenizer_files: Mapping[str, bytes],
        token_counts: np.ndarray | None = None,
        chat: Chat | None = None,
    ) -> FrozenLM:
        """Rebuilds a model around arrays without copying: processes that share the arrays share the model's memory.

        The arrays may be read-only; the model never writes to them. The arguments are what :meth:`export` returns.

        Args:
            config: the model's configuration as a dict.
            weights: parameters by name; uint16 arrays hold the bits of bfloat16.
            tokenizer_files: name to content of the files of a saved tokenizer.
            token_counts: occurrences of each token in the corpus, or None.
            chat: how instructions become conversations, or None.

        Raises:
            ValueError: the weights are not those of this configuration.
        """
        tensors = {name: to_tensor(array) for name, array in weights.items()}
        dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        with LOADING, no_init_weights():
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=dtype)
        unexpected = model.load_state_dict(tensors, strict=False, assign=True).unexpected_keys
        model.tie_weights()
        different = set(unexpected) | (_named_tensors(model).keys() ^ tensors.keys())
        if different:
            raise ValueError(f"the weights do not fit a {model.config.model_type} model: {sorted(different)[:3]}")
        return cls(model, _load_tokenizer(tokenizer_files), token_counts, chat)

    @classmethod
    def rebuild(cls, parts: Mapping[str, Any], device: str = "cpu") -> FrozenLM:
        """Rebuilds a model in another process from what :meth:`export` returned.

        Args:
            parts: the model's parts, or where it is loaded from.
            device: a torch device.

        Raises:
            ValueError: the parts do not fit one another, or the model is not there any more.
        """
        if "path" in parts:
            return cls.load(**parts, device=device)
        lm = cls.from_weights(**parts)
        lm.model.to(device)  # type: ignore[arg-type]
        return lm

    def export(self) -> dict[str, Any]:
        """Returns what :meth:`rebuild` makes this model from in another process: arguments of :meth:`from_weights`.

        Codes of few bits cannot be put together from arrays: such a model is loaded again, from where it was loaded.

        Raises:
            ValueError: it is one of these, and was not loaded.
        """
        if is_quantized(self.model):
            if self.loaded_from is None:
                raise ValueError("a language model of quantised weights can be rebuilt only from where it was loaded")
            return dict(self.loaded_from)
        config = self.model.config.to_dict()
        if len(self.eos_ids) > 1:
            config["eos_token_id"] = list(self.eos_ids)
        return {
            "config": config,
            "weights": self.export_weights(),
            "tokenizer_files": self.export_tokenizer(),
            "token_counts": self.token_counts,
            "chat": self.chat,
        }

    def export_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights by name, tied ones once.

        The arrays of a model on the CPU are views of its memory: do not write to them.
        """
        return {name: to_array(tensor) for name, tensor in _named_tensors(self.model).items()}

    def export_tokenizer(self) -> dict[str, bytes]:
        """Returns the files of the saved tokenizer, name to content."""
        with tempfile.TemporaryDirectory() as directory:
            self.tokenizer.save_pretrained(directory)
            return {file.name: file.read_bytes() for file in Path(directory).iterdir() if file.is_file()}

    @property
    def hash(self) -> str:
        """Hex sha256 over names, types, shapes and bits of the weights, computed anew each time."""
        digest = hashlib.sha256()
        for name, array in sorted(self.export_weights().items()):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def eos_id(self) -> int | None:
        """The first of the tokens that end a program, or None."""
        return self.eos_ids[0] if self.eos_ids else None

    @property
    def special_ids(self) -> list[int]:
        """The tokenizer's special tokens that the model has a row for; others may have been added since."""
        return [token for token in self.tokenizer.all_special_ids if token < self.vocab_size]

    @property
    def embedding(self) -> Tensor:
        """What the model reads for each token, shape (vocab_size, d_model); scaled rows in families that scale them."""
        module = self.model.get_input_embeddings()
        if type(module) is nn.Embedding:
            return module.weight.detach()
        return self.embed(torch.arange(module.weight.shape[0], device=module.weight.device)).detach()

    def embed(self, ids: Tensor) -> Tensor:
        """Returns the rows of these tokens, shape (..., d_model)."""
        return self.model.get_input_embeddings()(ids)

    @property
    def d_model(self) -> int:
        """Width of one row of a prompt."""
        return self.model.get_input_embeddings().weight.shape[1]

    @property
    def vocab_size(self) -> int:
        """Number of rows of the embedding, which is also the width of the logits."""
        return self.model.get_input_embeddings().weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.get_input_embeddings().weight.device

    @property
    def max_length(self) -> int | None:
        """Positions the model has: prompt, instruction and program together; None if it does not say."""
        config = self.model.config
        return getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)


def _named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Everything a saved model holds, tied weights under one name only."""
    saved = model.state_dict()
    own, every = (dict(model.named_parameters(remove_duplicate=each)) for each in (True, False))
    return {name: saved[name] for name in (*own, *(name for name in saved if name not in every))}


def _load_tokenizer(files: Mapping[str, bytes]) -> PreTrainedTokenizerBase:
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            (Path(directory) / name).write_bytes(content)
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> tuple[int, ...]:
    """The tokenizer's end token and, where a configuration lists several, all of them; else the configuration's."""
    generation = getattr(model, "generation_config", None)
    said = [getattr(config, "eos_token_id", None) for config in (model.config, generation)]
    end = tokenizer.eos_token_id
    found = [] if end is None or end >= vocab_size else [end]
    for ids in said:
        if isinstance(ids, int) and not found:
            found = [ids]
        elif isinstance(ids, list | tuple):
            found += ids
    return tuple(token for token in dict.fromkeys(found) if token < vocab_size)


def _token_counts(file: Path) -> np.ndarray | None:
    """Reads the counts that lie beside a model; raises ValueError where the file holds none."""
    if not file.is_file():
        return None
    try:
        counts = np.array(json.loads(file.read_text()), np.int64)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"cannot read the token counts in {str(file)!r}: {first_line(error)}") from error
    if counts.ndim != 1 or (counts < 0).any():
        raise ValueError(f"cannot read the token counts in {str(file)!r}: they are a list of numbers from 0 on")
    return counts
