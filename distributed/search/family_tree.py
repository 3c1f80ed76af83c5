"""The family tree of a population as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.search.lineage import Record
from distributed.search.objective import FITNESS, rank, value_of, value_text

SIZE = "method.n_soft_tokens"


def draw_family_tree(
    record: Record, path: Path, unit: str = "world units", objectives: Sequence[str] = (FITNESS,)
) -> Path:
    """Draws a lane for each member, coloured by its number of soft tokens, and an arrow for each copy.

    Args:
        record: of a search with at least one round.
        path: picture to write.
        unit: what fitness is counted in, empty where nobody says.
        objectives: what members are compared by; the first is written at each round.

    Returns:
        The path.
    """
    # Imported here: a search needs matplotlib only at its end.
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    members, objective = record.members(), objectives[0]
    lanes = {member: lane for lane, member in enumerate(members)}
    longest = max(each["at"] for each in record.rounds)
    sizes = sorted({each["settings"].get(SIZE, 0) for each in record.rounds})
    colours = {size: colormaps["viridis"](0.9 * k / max(1, len(sizes) - 1)) for k, size in enumerate(sizes)}
    figure = Figure(figsize=(2.5 + 0.8 * min(longest, 24), 1.6 + 0.5 * len(members)), layout="constrained")
    axes = figure.subplots()
    for member in members:
        _lane(axes, [each for each in record.rounds if each["member"] == member], lanes[member], colours, objective)
    for each in record.exploits:
        if each["donor"] in lanes and each["member"] in lanes:
            start, end = (each["donor_at"], lanes[each["donor"]]), (each["at"], lanes[each["member"]])
            arrow = {"arrowstyle": "->", "color": "0.45", "shrinkA": 5, "shrinkB": 5}
            axes.annotate("", xy=end, xytext=start, arrowprops=arrow)
    best = max(record.rounds, key=lambda each: rank(each, objectives))
    axes.plot(best["at"], lanes[best["member"]], "*", color="crimson", markersize=15, zorder=4)
    axes.set_yticks(range(len(members)), [str(member) for member in members])
    axes.set_ylabel("member (number)", fontsize=9)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("round (number)", fontsize=9)
    counted = f" ({unit})" if unit and objective == FITNESS else ""
    axes.set_title(f"at each round: {objective} on the evaluation set{counted}; star: the best", fontsize=9)
    axes.margins(x=0.08, y=0.12)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    handles = [axes.plot([], [], "o", color=colours[size], label=f"{size} soft tokens")[0] for size in sizes if size]
    if handles:
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=100)
    return path


def _lane(axes: Any, rounds: list[dict[str, Any]], lane: int, colours: dict[int, Any], objective: str) -> None:
    """One member's rounds from left to right."""
    for one, two in zip(rounds, rounds[1:], strict=False):
        axes.plot([one["at"], two["at"]], [lane, lane], color=colours[two["settings"].get(SIZE, 0)], lw=2, zorder=1)
    for each in rounds:
        axes.plot(each["at"], lane, "o", color=colours[each["settings"].get(SIZE, 0)], markersize=9, zorder=3)
        axes.annotate(
            _short(each, objective), (each["at"], lane), (0, 8), textcoords="offset points", ha="center", fontsize=8
        )


def _short(entry: dict[str, Any], objective: str) -> str:
    """What a round reached as a label; a fitness whole, or of two digits where it is below 10."""
    if objective != FITNESS:
        return value_text(objective, value_of(entry, objective))
    fitness = entry[FITNESS]
    return f"{fitness:.0f}" if abs(fitness) >= 10 or fitness == 0 else f"{fitness:.2g}"
