"""Instructions as the user's turn of a conversation, written as the template that comes with a tokenizer writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from softprompt.models.source import first_line

DATE = "01 Jan 2025"
"""What a template writes that asks for today's date: with another date every day no run could be repeated."""

SAME_DATE = "{%- macro strftime_now(format) -%}" + DATE + "{%- endmacro -%}"
ANSWER, SYSTEM = "terraprompt", "terraground"
"""Words that no template writes by itself."""


class ChatError(ValueError):
    """A tokenizer has no template, or its template does not take this conversation."""


@dataclass(frozen=True)
class Chat:
    """How an instruction becomes a conversation whose next turn is the model's.

    Attributes:
        system_prompt: what the system's turn says before the user's; None for no such turn.
    """

    system_prompt: str | None = None

    def instruction_ids(self, tokenizer: PreTrainedTokenizerBase, instruction: str) -> list[int]:
        """Returns the token ids up to where the model's turn begins.

        The template writes the start token itself if it wants one, and no other is put before it.

        Raises:
            ChatError: there is no template, or it does not take this.
        """
        text = self._render(tokenizer, self._turns(instruction), add_generation_prompt=True)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Checks that a template writes what it is given: prompts would be trained behind nothing, and none would know.

        Raises:
            ChatError: there is no template, it fails, or it leaves out the user's or the system's turn.
        """
        probe = Chat(None if self.system_prompt is None else SYSTEM)._turns(ANSWER)
        text = self._render(tokenizer, probe, add_generation_prompt=True)
        for turn in probe:
            if turn["content"] not in text:
                raise ChatError(f"the language model's chat template leaves out the {turn['role']}'s turn")
        if text != self._render(tokenizer, probe, add_generation_prompt=True):
            raise ChatError("the language model's chat template writes something else each time")

    def end_of_turn(self, tokenizer: PreTrainedTokenizerBase) -> int | None:
        """Returns the token with which the template ends the model's turn, or None where it is no single one.

        Raises:
            ChatError: there is no template, or it does not take even this.
        """
        answered = [*self._turns("?"), {"role": "assistant", "content": ANSWER}]
        _, _, behind = self._render(tokenizer, answered, add_generation_prompt=False).rpartition(ANSWER)
        ids = tokenizer(behind.lstrip(), add_special_tokens=False)["input_ids"]
        known = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        return ids[0] if ids and ids[0] in known else None

    def _turns(self, instruction: str) -> list[dict[str, str]]:
        system = [] if self.system_prompt is None else [{"role": "system", "content": self.system_prompt}]
        return [*system, {"role": "user", "content": instruction}]

    def _render(self, tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, str]], **settings: Any) -> str:
        if not has_template(tokenizer):
            raise ChatError("the language model's tokenizer has no chat template; leave it off")
        try:
            template = SAME_DATE + tokenizer.get_chat_template()
            text = tokenizer.apply_chat_template(list(turns), chat_template=template, tokenize=False, **settings)
        except Exception as error:  # of whatever kind its expressions raise
            turn = "a system's turn" if self.system_prompt is not None else "such a conversation"
            raise ChatError(f"the language model's chat template does not take {turn}: {first_line(error)}") from error
        assert isinstance(text, str)
        return text


def make_chat(template: bool, system_prompt: str | None) -> Chat | None:
    """Returns how instructions become conversations, or None where they are to be none.

    Args:
        template: whether they are.
        system_prompt: what the system's turn says; None for no such turn.
    """
    return Chat(system_prompt) if template else None


def has_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a template comes with a tokenizer."""
    return bool(getattr(tokenizer, "chat_template", None))
