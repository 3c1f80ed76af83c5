"""The text of a language model's card, as ``terraprompt pretrain`` writes it to README.md."""

from __future__ import annotations

from softprompt.pretrain.config import preset


def card_text(card: dict) -> str:
    """The model's card as Markdown; every figure of it is in ``card.json`` too."""
    figures, tuned = card["figures"], card["figures"]["tuned_on_one_program"]
    last = list(card["held_out_nats_per_program"].values())[-1]
    rows = "\n".join(
        f"| {name} | {f['mean']} | {f[best]} |"
        for name, f in figures["fitness"].items()
        for best in [next(k for k in f if k.startswith("best_of"))]
    )
    behind = figures["behind_untrained_prompts"]
    sizes = list(next(iter(behind.values())))
    prompts = "\n".join(
        f"| {start} | " + " | ".join(f"{v:.0%}" for v in shares.values()) + " |" for start, shares in behind.items()
    )
    first = card["corpus"].get("command", "terraprompt corpus --out data/corpus.jsonl")
    commands = "\n".join(f"    {command}" for command in [first, *training_commands(card)])
    return f"""# A language model that writes Sodaracers

{card["parameters"]:,} parameters (Llama), its own tokenizer, safetensors. It was trained on
{card["programs"]:,} programs by nothing but these commands:

{commands}

`card.json` holds their settings and seeds. A program begins with the line `import math`, which is the instruction.

- Of {figures["samples"]} samples {figures["valid"]:.1%} are valid walkers, {figures["moving"]:.1%} move,
  {figures["unique"]:.1%} are unique;
  the median program has {figures["median_tokens"]} tokens.
- One program of its own costs {tuned["0"]} nats behind an untrained prompt of 20 rows; {tuned["50"]}, {tuned["100"]}
  and {tuned["150"]} after 50, 100 and 150 steps of Adam on the prompt.
- A held-out program of the corpus costs {last["alone"]} nats without a prompt, and {last["after_150"]} after 150 steps.

| terrain | mean fitness | best of 1,024 |
|---|---|---|
{rows}

Valid walkers behind an untrained soft prompt, by its number of rows and how they are initialized:

| rows | {" | ".join(sizes)} |
|---|{"---|" * len(sizes)}
{prompts}
"""


def training_commands(card: dict) -> list[str]:
    """The commands that trained a model, in their order, with the settings that are not the preset's."""
    before = training_commands(card["start"]) if card["start"] else []
    settings, name = card["pretrain"], card["pretrain"].get("preset", "tiny")
    usual = preset(name).model_dump(mode="json")
    chosen = {} if name == "tiny" else {"preset": name}
    names = ("steps", "lr", "batch_size", "accumulate", "seed")
    # A card from before a setting was there was made with its default.
    differing = {name: settings[name] for name in names if settings.get(name, usual[name]) != usual[name]}
    given = chosen | {name.replace("_", "-"): value for name, value in differing.items()}
    prefixes, usual = settings["prefixes"], usual["prefixes"]
    given |= {name: prefixes[name] for name in ("visits", "none") if prefixes[name] != usual[name]}
    start = {"start": _directory(len(before) - 1)} if before else {}
    given |= {"hints": card["corpus"]["hints"], "hinted": prefixes["hinted"]} if "hints" in card["corpus"] else {}
    above = {"above": card["corpus"]["trained_on_above"]} if "trained_on_above" in card["corpus"] else {}
    options = "".join(f" --{name} {value}" for name, value in (start | above | given).items())
    return [*before, f"terraprompt pretrain --corpus data/corpus.jsonl --out {_directory(len(before))}{options}"]


def _directory(number: int) -> str:
    return f"data/lm{number + 1}" if number else "data/lm"
