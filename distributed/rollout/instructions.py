"""Token ids of the instructions of terrains, and which terrains have the same ones."""

from __future__ import annotations

from collections.abc import Sequence

from distributed.errors import UserError
from softprompt.models import prompt_text
from softprompt.models.chat import ChatError
from softprompt.models.frozen import FrozenLM
from terrains.base import Terrain

Tokens = tuple[int, ...]
"""Token ids of one instruction."""


def instruction_ids(lm: FrozenLM, instruction: str) -> Tokens:
    """Token ids of a hard prompt; see :func:`softprompt.models.prompt_text.instruction_ids`.

    Raises:
        UserError: the language model has no row for a token of it, or its chat template does not take it.
    """
    try:
        return prompt_text.instruction_ids(lm, instruction)
    except ChatError as error:
        raise UserError(f"chat.template: {error}") from None
    except ValueError as error:
        raise UserError(f"model.model_path: {error}") from None


def all_instruction_ids(lm: FrozenLM, terrains: Sequence[Terrain]) -> list[tuple[Tokens, ...]]:
    """Token ids of all instructions of each terrain, in the order of its ``all_instructions``.

    Raises:
        UserError: the language model has no row for a token of one.
    """
    texts = dict.fromkeys(each.text for terrain in terrains for each in terrain.all_instructions)
    known = {text: instruction_ids(lm, text) for text in texts}
    return [tuple(known[each.text] for each in terrain.all_instructions) for terrain in terrains]


def longest(instructions: Sequence[Sequence[Tokens]]) -> int:
    """Returns the number of tokens of the longest instruction of any terrain."""
    return max(len(each) for own in instructions for each in own)


def sharing(terrains: Sequence[Terrain]) -> list[int]:
    """Returns, for each terrain, the index of the first one that has the same instructions, text and metadata.

    What is written behind an instruction of one terrain can be scored on another that shares it, and on no other.
    """
    firsts: list[int] = []
    found = []
    for index, terrain in enumerate(terrains):
        same = next((k for k in firsts if _are_same(terrains[k], terrain)), index)
        if same == index:
            firsts.append(index)
        found.append(same)
    return found


def _are_same(one: Terrain, other: Terrain) -> bool:
    return one.instructions == other.instructions and one.eval_instructions == other.eval_instructions
