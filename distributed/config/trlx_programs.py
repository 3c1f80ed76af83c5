"""The settings in a program that was written for trlx, read from its text: the program is never run."""

from __future__ import annotations

import ast
import copy
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed.config.yaml_files import LONGEST, read_sections
from distributed.errors import UserError

PPO: dict[str, Any] = {
    "method": {
        "name": "PPOConfig",
        "num_rollouts": 128,
        "chunk_size": 128,
        "ppo_epochs": 4,
        "init_kl_coef": 0.001,
        "target": None,
        "horizon": 10000,
        "gamma": 1,
        "lam": 0.95,
        "cliprange": 0.2,
        "cliprange_value": 0.2,
        "vf_coef": 1,
        "scale_reward": "ignored",
        "ref_mean": None,
        "ref_std": None,
        "cliprange_reward": 10,
        "gen_kwargs": {"max_new_tokens": 40, "top_k": 0, "top_p": 1.0, "do_sample": True},
    },
    "model": {"model_path": "lvwerra/gpt2-imdb", "num_layers_unfrozen": 2},
    "optimizer": {"name": "adamw", "kwargs": {"lr": 3e-5, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 1e-6}},
    "scheduler": {"name": "cosine_annealing", "kwargs": {"T_max": 1e12, "eta_min": 3e-5}},
    "tokenizer": {"tokenizer_path": "gpt2", "truncation_side": "right"},
    "train": {
        "seq_length": 1024,
        "epochs": 100,
        "total_steps": 10000,
        "batch_size": 32,
        "checkpoint_interval": 10000,
        "eval_interval": 100,
        "pipeline": "PromptPipeline",
        "trainer": "AcceleratePPOTrainer",
    },
}
"""What trlx's ``default_ppo_config`` returns."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "default_ppo_config": PPO,
    "default_ilql_config": {"method": {"name": "ILQLConfig"}},
    "default_sft_config": {"method": {"name": "SFTConfig"}},
}
"""What trlx's functions return; of its other methods only the name, by which they are recognised."""

NEMO = "default_nemo"
ARITHMETIC: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class _Computed(Exception):
    """A value that is only known when the program runs."""


def read_program(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Reads the settings of a Python program: its ``TRLConfig(...)``, or the defaults of trlx that it changes.

    Returns:
        The sections, and a remark on each thing that cannot be read.

    Raises:
        UserError: it is no program that can be read, or has no such settings.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError(f"it is larger than {LONGEST:,} bytes")
        tree = ast.parse(text)
    except FileNotFoundError:
        read_sections(path)  # which names the nearest file
        raise
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"cannot read the program {str(path)!r}: {str(error) or 'it is nested too deeply'}") from None
    return _Program(tree).settings(str(path))


class _Program:
    """A program's syntax tree, and the constants that it names."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        self.notes: list[str] = []
        self.constants: dict[str, ast.expr] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.constants.setdefault(node.targets[0].id, node.value)

    def settings(self, source: str) -> tuple[dict[str, Any], list[str]]:
        """The sections, and remarks; ``source`` is the program's name for messages."""
        calls = [(_called(node), node) for node in self.nodes if isinstance(node, ast.Call)]
        if nemo := next((name for name, _ in calls if name.startswith(NEMO)), None):
            raise UserError(f"{source}: {nemo} is a configuration of NeMo, which is not used here; take trlx's PPO")
        made = next((node for name, node in calls if name == "TRLConfig"), None)
        default = next((name for name, _ in calls if name in DEFAULTS), None)
        if made is not None:
            sections = self._keywords(made, "")
        elif default is not None:
            sections = copy.deepcopy(DEFAULTS[default])
        else:
            raise UserError(f"{source} is a Python program without a TRLConfig(...) in it")
        for name, node in calls:
            if name == "evolve":
                _merge(sections, self._keywords(node, ""))
        self.notes += [f"{name} is set later in the program, which is not followed" for name in self._set_later()]
        return sections, list(dict.fromkeys(self.notes))

    def _keywords(self, call: ast.Call, prefix: str) -> dict[str, Any]:
        """The arguments of a call that have names."""
        return self._values(((each.arg, each.value) for each in call.keywords), prefix)

    def _values(self, pairs: Iterator[tuple[str | None, ast.expr]], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, node in pairs:
            if name is None:
                continue
            try:
                found[name] = self._value(node, f"{prefix}{name}.")
            except _Computed:
                self.notes.append(f"{prefix}{name} is computed when the program runs, and left out")
        return found

    def _value(self, node: ast.expr, prefix: str) -> Any:
        """The value of an expression.

        Raises:
            _Computed: it is not written out.
        """
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(each, prefix) for each in node.elts]
        if isinstance(node, ast.Dict):
            keys = [each.value if isinstance(each, ast.Constant) else None for each in node.keys]
            return self._values(zip((str(key) for key in keys), node.values, strict=True), prefix)
        if isinstance(node, ast.Call) and (_called(node) == "dict" or _called(node).endswith("Config")):
            return self._keywords(node, prefix)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -_number(self._value(node.operand, prefix))
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = (_number(self._value(each, prefix)) for each in (node.left, node.right))
            return ARITHMETIC[type(node.op)](left, right) if right or not isinstance(node.op, ast.Div) else 0
        if isinstance(node, ast.Name) and isinstance(self.constants.get(node.id), ast.Constant):
            return self._value(self.constants[node.id], prefix)
        raise _Computed

    def _set_later(self) -> Iterator[str]:
        """Settings of a configuration that an assignment changes, such as ``config.train.seed = 3``."""
        for node in self.nodes:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                parts = ast.unparse(target).split(".") if isinstance(target, ast.Attribute) else []
                if len(parts) == 3 and parts[1] in PPO:
                    yield ".".join(parts[1:])


def _called(call: ast.Call) -> str:
    """The name of a function that is called, without what it is an attribute of."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise _Computed
    return value


def _merge(sections: dict[str, Any], changes: dict[str, Any]) -> None:
    """Puts changes into sections, as trlx's ``evolve`` does."""
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(sections.get(name), dict):
            _merge(sections[name], value)
        else:
            sections[name] = value
