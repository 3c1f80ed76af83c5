"""A GGUF file with a random Llama of some thousand numbers and a byte-level tokenizer, as llama.cpp would write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTH, INNER, HEADS, LAYERS = 32, 64, 2, 2


def write_gguf(path: Path, seed: int = 0, fill: float | None = None) -> dict[str, np.ndarray]:
    """Writes the file; returns the tensors in it, of which ``fill`` replaces the numbers of the last norm."""
    import gguf
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    # Every second byte gets a merge with the letter e, so that the tokenizer has merges at all.
    letters = list(bytes_to_unicode().values())
    merges = [(a, "e") for a in "abcdefghijklmnopqrstuvwxyz"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, *("".join(pair) for pair in merges)]
    tensors = _tensors(len(tokens), np.random.default_rng(seed))
    if fill is not None:
        tensors["output_norm.weight"][:] = fill
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def _tensors(n_tokens: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    def random(*shape: int) -> np.ndarray:
        return (0.2 * rng.standard_normal(shape)).astype(np.float32)

    found = {"token_embd.weight": random(n_tokens, WIDTH), "output_norm.weight": np.ones(WIDTH, np.float32)}
    for k in range(LAYERS):
        shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH)}
        shapes |= {"attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
        shapes |= {"ffn_down": (WIDTH, INNER)}
        found |= {f"blk.{k}.{name}.weight": random(*shape) for name, shape in shapes.items()}
        found |= {f"blk.{k}.{name}.weight": np.ones(WIDTH, np.float32) for name in ("attn_norm", "ffn_norm")}
    return found
