"""Splits a nested state into tensors and JSON, and joins them again, exactly and without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

KIND, VALUE = "__kind__", "value"


def pack(tree: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Splits a state into tensors and what JSON can hold.

    Args:
        tree: dicts, lists and tuples of tensors, numpy arrays, numbers, strings and None; keys of a dict are strings or
            integers. An optimiser's ``state_dict`` and a NumPy generator's state are of this kind.

    Returns:
        The tensors, by their path in the tree, and the rest as what ``json`` writes.

    Raises:
        TypeError: the tree holds something else; the message says where.
    """
    tensors: dict[str, torch.Tensor] = {}
    return tensors, _pack(tree, "", tensors)


def unpack(tensors: Mapping[str, torch.Tensor], rest: Any) -> Any:
    """Joins what ``pack`` has split.

    Raises:
        KeyError: a tensor of the tree is missing.
    """
    if isinstance(rest, list):
        return [unpack(tensors, item) for item in rest]
    if not isinstance(rest, dict):
        return rest
    if KIND not in rest:
        return {key: unpack(tensors, item) for key, item in rest.items()}
    kind, value = rest[KIND], rest[VALUE]
    match kind:
        case "tensor":
            return tensors[value]
        case "array":
            return tensors[value].numpy()
        case "tuple":
            return tuple(unpack(tensors, item) for item in value)
        case "items":
            return {key: unpack(tensors, item) for key, item in value}
    raise KeyError(f"no such kind of node: {kind!r}")


def copied(node: Any) -> Any:
    """Returns a nested state whose tensors are copies, which further training does not change."""
    if isinstance(node, torch.Tensor):
        return node.detach().clone()
    if isinstance(node, dict):
        return {key: copied(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(copied(value) for value in node)
    return node


def _pack(node: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, torch.Tensor | np.ndarray):
        return _pack_array(node, path, tensors)
    if isinstance(node, np.generic):
        return node.item()
    if node is None or type(node) in (bool, int, float, str):
        return node
    if isinstance(node, list | tuple):
        items = [_pack(item, f"{path}/{index}", tensors) for index, item in enumerate(node)]
        return {KIND: "tuple", VALUE: items} if isinstance(node, tuple) else items
    if isinstance(node, Mapping):
        return _pack_mapping(node, path, tensors)
    raise TypeError(f"a checkpoint cannot hold a {type(node).__name__}, which is at {path or 'its root'}")


def _pack_array(node: torch.Tensor | np.ndarray, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    while path in tensors:  # a key that holds a slash can look like a path
        path += "'"
    try:
        # A clone of its own: safetensors refuses tensors that share memory, and a view would save its whole base.
        source = node.detach().cpu() if isinstance(node, torch.Tensor) else torch.from_numpy(np.array(node))
        tensors[path] = source.clone(memory_format=torch.contiguous_format)
    except TypeError as error:
        raise TypeError(
            f"a checkpoint cannot hold an array of {node.dtype}, which is at {path or 'its root'}"
        ) from error
    return {KIND: "tensor" if isinstance(node, torch.Tensor) else "array", VALUE: path}


def _pack_mapping(node: Mapping[Any, Any], path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if odd := [key for key in node if type(key) not in (str, int)]:
        raise TypeError(f"a key of a checkpoint is a string or an integer, not {odd[0]!r}, at {path or 'its root'}")
    items = [(key, _pack(item, f"{path}/{key}", tensors)) for key, item in node.items()]
    if all(type(key) is str for key in node) and KIND not in node:
        return dict(items)
    return {KIND: "items", VALUE: [[key, item] for key, item in items]}
