"""What a population did, round by round, kept in ``lineage.json`` so that an interrupted search goes on from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from distributed.errors import UserError
from distributed.infra.numbers import fitness_text
from distributed.infra.writing import write_text

FILE = "lineage.json"

Entry = dict[str, Any]


class Record:
    """Rounds, and who copied whom.

    Attributes:
        path: the file it is kept in.
        rounds: in the order they ended: ``member``, ``at`` (which of the member's rounds, from 1), ``round`` (which of
            those that led to its prompts, copied ones included), ``step``, ``fitness``, ``by_terrain``, ``variety``,
            ``settings``, ``trained_on`` (programs).
        exploits: what `Member.load_state_dict` noted, and ``at``, ``donor_at``, and ``replaced``, the fitness that was
            given up.
        errors: by member, why it failed for good.
        ended: members that ended well.
        mlflow: ids of MLflow's runs: the search's under ``search``, the members' under their numbers.
        damaged: names of checkpoints that could not be read and were passed over.
    """

    def __init__(self, path: Path) -> None:
        """Reads what is there.

        Raises:
            UserError: it is damaged.
        """
        self.path = path
        try:
            known = json.loads(path.read_text()) if path.exists() else {}
        except ValueError as error:
            raise UserError(f"{path} is damaged, and the search cannot go on: {error}") from None
        self.rounds: list[Entry] = known.get("rounds", [])
        self.exploits: list[Entry] = known.get("exploits", [])
        self.errors: dict[str, str] = known.get("errors", {})
        self.ended: list[int] = known.get("ended", [])
        self.mlflow: dict[str, str] = known.get("mlflow", {})
        self.damaged: list[str] = known.get("damaged", [])

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        data = {name: value for name, value in vars(self).items() if name != "path"}
        write_text(self.path, json.dumps(data, indent=1) + "\n")

    def add(self, entry: Entry, inherited: Mapping[str, Any] | None) -> Entry | None:
        """Adds a round, and what its member had copied before it.

        Rounds that are made again, because their checkpoints were lost, replace the earlier ones.

        Args:
            entry: the round, without ``at``.
            inherited: what the member noted of a copy.

        Returns:
            The exploit, complete, or None.
        """
        member = entry["member"]
        while (before := self.last(member)) and self._made_again(before, entry, inherited):
            self.rounds.remove(before)
            self.exploits = [e for e in self.exploits if (e["member"], e["at"]) != (member, before["at"])]
        entry["at"] = before["at"] + 1 if before else 1
        self.rounds.append(entry)
        if not inherited:
            return None
        donor = self._at_step(inherited["donor"], inherited["step"])
        replaced = {"fitness": before["fitness"], "settings": before["settings"]} if before else None
        exploit = {**inherited, "at": entry["at"], "donor_at": donor["at"] if donor else 1, "replaced": replaced}
        self.exploits.append(exploit)
        return exploit

    def pass_over(self, names: Iterable[str]) -> list[str]:
        """Notes damaged checkpoints; returns those that were not known to be."""
        new = [name for name in dict.fromkeys(names) if name not in self.damaged]
        self.damaged += new
        return new

    def _made_again(self, before: Entry, entry: Entry, inherited: Mapping[str, Any] | None) -> bool:
        """Whether a member's latest round was lost. A copy may lead back in rounds, which is no loss."""
        if not inherited:
            return before["round"] >= entry["round"]
        same = [e for e in self.exploits if (e["member"], e["at"]) == (before["member"], before["at"])]
        return bool(same) and all(same[0][name] == value for name, value in inherited.items())

    def last(self, member: int) -> Entry | None:
        """A member's latest round."""
        return next((each for each in reversed(self.rounds) if each["member"] == member), None)

    def _at_step(self, member: int, step: int) -> Entry | None:
        """A member's latest round that ended at a step, or its latest."""
        rounds = [each for each in self.rounds if each["member"] == member]
        return next((each for each in reversed(rounds) if each["step"] == step), rounds[-1] if rounds else None)

    @property
    def resizes(self) -> list[Entry]:
        """Exploits that changed the number of soft tokens."""
        return [each for each in self.exploits if each["from"] != each["to"]]

    def members(self) -> list[int]:
        """All members that made a round."""
        return sorted({each["member"] for each in self.rounds})

    def survivors(self, setting: str) -> dict[str, int]:
        """How many members have each value of a setting at the end."""
        last = [each for member in self.members() if (each := self.last(member))]
        values = sorted((each["settings"][setting] for each in last), key=lambda value: (str(type(value)), value))
        return dict(Counter(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values))

    def table(self) -> Table:
        """Every copy that was carried to another size, a row each."""
        table = Table(
            title="Copies that changed size",
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE,
            pad_edge=False,
        )
        table.caption = "KL: nats a token from the copied prompts, behind surgery, then distilled; fitness likewise"
        for heading in ("member", "of", "step", "rows", "KL", "then", "fitness", "cut", "then"):
            table.add_column(heading, justify="right", no_wrap=True)
        for each in self.resizes:
            table.add_row(
                str(each["member"]),
                str(each["donor"]),
                str(each["step"]),
                f"{each['from']} -> {each['to']}",
                _number(each.get("kl_surgery"), 3),
                _number(each.get("kl_distilled"), 3),
                _number(each.get("fitness_donor")),
                _number(each.get("fitness_surgery")),
                _number(each.get("fitness_distilled")),
            )
        return table


def describe_exploit(exploit: Mapping[str, Any]) -> str:
    """One line on an exploit."""
    changed = (
        ", ".join(f"{name} {old} -> {new}" for name, (old, new) in exploit["changed"].items()) or "nothing changed"
    )
    line = f"member {exploit['member']} copies member {exploit['donor']} at step {exploit['step']}: {changed}"
    if "fitness_distilled" in exploit:
        values = (exploit["fitness_donor"], exploit["fitness_surgery"], exploit["fitness_distilled"])
        line += "; fitness {}, behind surgery {}, distilled {}".format(*map(fitness_text, values))
    return line


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
