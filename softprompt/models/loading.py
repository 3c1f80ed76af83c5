"""Reading a language model and its tokenizer from a directory or the hub; code that comes with one is never run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from softprompt.models import merge_adapter
from softprompt.models.quantize import Quantization, is_quantized, keep_differentiable, loading_arguments
from softprompt.models.source import LOADING, check_kind, first_line, hub_options, quiet_bars, resolve


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of a language model are.

    Attributes:
        source: a directory, or a name on the hub.
        above: those of adapters that lie on this model.
        hub: what ``from_pretrained`` is told of the hub.
    """

    source: str
    above: tuple[str, ...] = ()
    hub: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def find(cls, path: str | Path, above: tuple[str, ...] = ()) -> ModelFiles:
        """Looks for them.

        Args:
            path: a local directory or a name on the hub.
            above: adapters that name it as their language model.

        Raises:
            ValueError: there is no such directory, or the adapter is on itself; the message is one line.
        """
        source = resolve(path)
        if source in above:
            raise ValueError(f"the adapter in {source!r} is one on itself: its base_model_name_or_path is wrong")
        return cls(source, above, hub_options(source))

    @cached_property
    def adapter(self) -> Path | None:
        """The directory of an adapter of PEFT's, if that is what this is; one of the hub is fetched."""
        local = Path(self.source)
        if local.is_dir():
            return local if (local / merge_adapter.CONFIG_FILE).is_file() else None
        try:
            file = cached_file(self.source, merge_adapter.CONFIG_FILE, **self.hub)
            cached_file(self.source, merge_adapter.WEIGHTS_FILE, **self.hub)
        except OSError:  # a language model, as most are; or nothing at all, as loading it then says
            return None
        return Path(file).parent if file else None

    @cached_property
    def base(self) -> ModelFiles | None:
        """The files of the language model that an adapter lies on; None for what is a language model itself."""
        if self.adapter is None:
            return None
        return ModelFiles.find(merge_adapter.base_of(self.adapter), (*self.above, self.source))

    def load_model(
        self, dtype: torch.dtype, device: str = "cpu", quantization: Quantization | None = None
    ) -> PreTrainedModel:
        """Reads the language model, an adapter merged into it.

        Args:
            dtype: of the weights, whatever they are stored in.
            device: where it is to be.
            quantization: how many bits the weights are to have; None for those of the type.

        Raises:
            ValueError: it cannot be read; the message is one line.
        """
        with LOADING:
            return self._load_model(dtype, device, quantization)

    def _load_model(self, dtype: torch.dtype, device: str, quantization: Quantization | None) -> PreTrainedModel:
        if self.base is not None and self.adapter is not None:
            if quantization is not None:
                raise ValueError(
                    f"the adapter in {self.source!r} cannot be merged into weights of {quantization}: merge it first, "
                    "with PEFT's merge_and_unload and save_pretrained, and name that directory"
                )
            merged: Any = merge_adapter.merge(self.base.load_model(torch.float32), self.adapter)
            return merged.to(device, dtype)
        quiet_bars()
        how = loading_arguments(quantization, dtype, device)
        try:
            check_kind(self.source, AutoConfig.from_pretrained(self.source, trust_remote_code=False, **self.hub))
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                self.source,
                trust_remote_code=False,
                output_loading_info=True,
                # It looks for an adapter once more, and would wait for a hub that does not answer.
                adapter_kwargs=dict(self.hub),
                **how,
                **self.hub,
            )
            model, found = loaded
        except Exception as error:  # of whatever kind transformers has for files that do not fit one another
            raise ValueError(f"cannot load a language model from {self.source!r}: {first_line(error)}") from error
        if found["missing_keys"]:
            missing = ", ".join(sorted(found["missing_keys"])[:3])
            raise ValueError(f"cannot load a language model from {self.source!r}: its weights lack {missing}")
        if is_quantized(model):
            keep_differentiable(model)
        else:
            model.to(device)
        return model

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Reads the tokenizer; an adapter without one of its own has that of its language model.

        Raises:
            ValueError: there is none that can be read; the message is one line.
        """
        if self.base is not None and self.adapter is not None and not any(self.adapter.glob("tokenizer*")):
            return self.base.load_tokenizer()
        where = str(self.adapter or self.source)
        try:
            return AutoTokenizer.from_pretrained(where, trust_remote_code=False, **self.hub)
        except Exception as error:  # tokenizers raises Exception itself
            raise ValueError(f"the language model in {self.source!r} has no tokenizer that can be read") from error

    def beside(self, name: str) -> Path:
        """Where a file lies, or would lie, beside a local language model; an adapter's own comes first."""
        file = Path(self.source) / name
        return file if self.base is None or file.is_file() else self.base.beside(name)
