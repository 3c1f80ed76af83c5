"""A faster decoder for models that compute what Llama computes.

It computes the same numbers as transformers (Touvron et al. 2023, arXiv 2302.13971, section 2.2: pre-normalisation with
RMSNorm, rotary positions, gated feed-forward), but keys and values are written into memory allocated once instead of
being copied at every step, projections that read the same input are one matrix product, angles are computed once, and
logits only at the last position.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from softprompt.models.llama_weights import LayerWeights, linear, rotate


class LlamaDecoder:
    """Decodes Llama-like models; see :class:`softprompt.sampling.decoders.Decoder` for what its methods promise.

    Rows live at the front of the cache. When some leave, the last rows move into their places, so that leaving costs a
    copy of the rows that move and not of the whole cache.
    """

    rows_at_once: int | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        """Copies projections of the same input side by side; the model itself is only read.

        Args:
            model: a model for which :func:`softprompt.models.llama_weights.is_llama_like` holds.
        """
        config = model.config
        self._layers = [LayerWeights.of(block) for block in model.model.layers]
        self._final_norm: Tensor = model.model.norm.weight
        self._head: Tensor = model.lm_head.weight
        self._embedding: Tensor = model.model.embed_tokens.weight
        self._activation: Callable[[Tensor], Tensor] = model.model.layers[0].mlp.act_fn
        self._rotary: nn.Module = model.model.rotary_emb
        self._eps: float = config.rms_norm_eps
        self._n_kv_heads: int = config.num_key_value_heads
        self._head_dim: int = model.model.layers[0].self_attn.head_dim
        self._group: int = config.num_attention_heads // config.num_key_value_heads
        self._scale: float = self._head_dim**-0.5

    def prefill(self, embedded: Tensor, padding: Tensor, max_new_tokens: int) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        n_prompts, length, _ = embedded.shape
        cells = torch.arange(length, device=embedded.device)
        total = torch.arange(length + max_new_tokens, device=embedded.device)
        self._cos, self._sin = self._rotation(embedded, total)
        self._cache = self._prompts = self._new_cache(embedded, n_prompts, length)
        self._prompt_padding, self._max_length = padding, len(total)
        # A cell of padding sees itself alone: its output is never read, but a softmax over nothing would be NaN.
        visible = cells <= cells[:, None]
        visible = (visible & (cells >= padding[:, None, None])) | torch.eye(
            length, dtype=torch.bool, device=cells.device
        )
        position = (cells - padding[:, None]).clamp(min=0)
        hidden = self._blocks(
            embedded.flatten(0, 1), position.flatten(), lambda *args: self._attend_prompt(visible, *args)
        )
        return self._logits(hidden.unflatten(0, (n_prompts, length))[:, -1])

    def begin(self, prompt_of: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        self._n_rows, self._length = len(prompt_of), self._prompts.shape[-2]
        self._cache = self._new_cache(self._prompts, self._n_rows, self._max_length)
        self._cache[..., : self._length, :] = self._prompts.index_select(2, prompt_of)
        self._padding = self._prompt_padding[prompt_of] if bool(self._prompt_padding.any()) else None

    def step(self, ids: Tensor) -> Tensor:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        position = torch.full_like(ids, self._length) if self._padding is None else self._length - self._padding
        self._length += 1
        return self._logits(self._blocks(self._embedding[ids], position, self._attend_step))

    def keep(self, rows: Tensor) -> None:
        """See :class:`softprompt.sampling.decoders.Decoder`."""
        places = torch.arange(len(rows), device=rows.device)
        places = places[rows != places]
        self._cache[:, :, places, :, : self._length] = self._cache[:, :, rows[places], :, : self._length]
        self._n_rows = len(rows)
        if self._padding is not None:
            self._padding = self._padding[rows]

    def _blocks(
        self, hidden: Tensor, position: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Runs all blocks over (n, d_model) cells.

        ``attend(layer, q, k, v)`` stores keys and values and returns the mixed values; each is (n, heads, head_dim).
        """
        n_queries = self._n_kv_heads * self._group
        cos, sin = self._cos[position, None], self._sin[position, None]
        for index, layer in enumerate(self._layers):
            qkv = linear(self._norm(hidden, layer.attention_norm), layer.qkv, layer.qkv_bias).unflatten(
                1, (-1, self._head_dim)
            )
            queries_and_keys, values = qkv.split([n_queries + self._n_kv_heads, self._n_kv_heads], dim=1)
            queries, keys = rotate(queries_and_keys, cos, sin).split([n_queries, self._n_kv_heads], dim=1)
            hidden = linear(attend(index, queries, keys, values), layer.out, layer.out_bias, hidden)
            gate, up = linear(self._norm(hidden, layer.mlp_norm), layer.gate_up, layer.gate_up_bias).chunk(2, dim=1)
            hidden = linear(self._activation(gate).mul_(up), layer.down, layer.down_bias, hidden)
        return hidden

    def _attend_prompt(self, visible: Tensor, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of whole prompts to themselves; fills the cache."""
        shape = (len(visible), -1)
        q, k, v = (cells.unflatten(0, shape).transpose(1, 2) for cells in (queries, keys, values))
        self._cache[0, layer], self._cache[1, layer] = k, v
        mixed = F.scaled_dot_product_attention(q, k, v, visible[:, None], scale=self._scale, enable_gqa=self._group > 1)
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)

    def _attend_step(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of one new cell per row to its past; for one query two products beat the fused kernel on a CPU."""
        n, now = self._n_rows, self._length - 1
        cached_keys, cached_values = self._cache[:, layer, :n]
        cached_keys[:, :, now], cached_values[:, :, now] = keys, values
        past_keys, past_values = (cached.flatten(0, 1)[:, : self._length] for cached in (cached_keys, cached_values))
        scores = torch.bmm(queries.reshape(n * self._n_kv_heads, self._group, -1), past_keys.transpose(1, 2)).mul_(
            self._scale
        )
        if self._padding is not None:
            hidden_cells = torch.arange(self._length, device=scores.device) < self._padding[:, None]
            scores.unflatten(0, (n, -1)).masked_fill_(hidden_cells[:, None, None], -torch.inf)
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
        return torch.bmm(weights, past_values).reshape(n, -1)

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(self._norm(hidden, self._final_norm), self._head).float()

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, weight.shape, weight, self._eps)

    def _rotation(self, like: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines, and sines signed for :func:`rotate`, of all positions, each (positions, head_dim)."""
        cos, sin = (table[0] for table in self._rotary(like, position[None]))
        half = self._head_dim // 2
        return cos, torch.cat([-sin[:, :half], sin[:, half:]], dim=1)

    def _new_cache(self, like: Tensor, n_rows: int, length: int) -> Tensor:
        """Memory for keys and values, shape (2, layers, rows, heads, length, head_dim)."""
        return like.new_empty(2, len(self._layers), n_rows, self._n_kv_heads, length, self._head_dim)
