"""``terraprompt track``: sends to MLflow what a run could not record while it ran."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from distributed.errors import UserError
from distributed.export.registry import Registry
from distributed.observability.mlflow_store import shown, store_uri
from distributed.observability.mlflow_tracker import MlflowTracker
from distributed.observability.untracked import Untracked


def send_untracked(path: Path, uri: str | None, console: Console) -> None:
    """Sends what waits in the folder of a run or of a search, whose members have a file each.

    Can be repeated: what is sent is not sent again, and what is sent twice after an interruption is recorded once.

    Args:
        path: the folder.
        uri: the store; None for the one that the run was to be recorded in.
        console: where a line for each run says what was sent.

    Raises:
        UserError: there is no such folder, or the store does not take it; what is not sent stays.
    """
    if not path.is_dir():
        raise UserError(f"there is no run {str(path)!r}")
    files = []
    for each in sorted(path.glob("untracked*.jsonl")):
        if not each.is_file() or (each.stat().st_size and not Untracked(each).run):
            raise UserError(f"{str(each)!r} does not say which run it is of: it is damaged")
        if len(Untracked(each)):
            files.append(each)
    if not files:
        console.print(f"nothing waits in {path}", markup=False, highlight=False, soft_wrap=True)
    for file in files:
        _send(file, uri, console)


def _send(file: Path, uri: str | None, console: Console) -> None:
    kept = Untracked(file)
    if not {"experiment", "params", "name", "tags"} <= kept.run.keys():
        raise UserError(f"{str(file)!r} does not say which run it is of: its first line is damaged")
    uri = store_uri(uri or kept.run.get("uri"))
    Registry(uri).experiment(kept.run["experiment"])  # says what is wrong with the store
    tracker = MlflowTracker(
        kept.run["experiment"],
        kept.run["params"],
        run_name=kept.run["name"],
        tags=kept.run["tags"],
        uri=uri,
        keep=file,
    )
    if len(tracker.waiting):
        raise UserError(f"MLflow at {shown(uri)}: {tracker.trouble}; {tracker.waiting.in_words()} wait in {file}")
    if kept.status is not None:  # else the run was killed, or goes on
        tracker.close(kept.status)
    said = f"{kept.in_words()} sent to {shown(uri)}, run {tracker.run_id}"
    console.print(said, markup=False, highlight=False, soft_wrap=True)
