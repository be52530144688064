"""The package: the sdist has every file, the wheel works in an empty environment, and all places name one version."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import torch

from rnncli.extras import installed
from rnncli.version import __version__

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[1]
GENERATED = re.compile(r"PKG-INFO|setup\.cfg|rnncli\.egg-info/.*")
UV = ("uv", "pip", "install", "--python")
"""What installs where there is no pip, as in an environment that uv made."""


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files of the repository that git tracks."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("waits for git and its repository, which list the files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, encoding="utf-8")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def sdist(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of a copy of these files, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    for name in tracked:
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "copy" / name)
    build("sdist", folder / "copy", folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def build(kind: str, source: Path, target: Path) -> None:
    """Build the sdist or the wheel of a folder by the build backend, as pip calls it."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)


def test_sdist_has_every_file_of_the_repository_and_no_other(sdist: Path, tracked: set[str]) -> None:
    packed = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert sdist.name == f"rnncli-{__version__}"
    assert {name for name in packed if not GENERATED.fullmatch(name)} == tracked


@pytest.mark.slow
def test_wheel_of_the_sdist_trains_in_an_empty_environment(sdist: Path, tracked: set[str], tmp_path: Path) -> None:
    build("wheel", sdist, tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        assert {name for name in opened.namelist() if name.startswith("rnncli/")} == {
            name for name in tracked if name.startswith("rnncli/")
        }
    venv.create(tmp_path / "venv", with_pip=False, symlinks=os.name == "posix")
    places = sysconfig.get_paths(vars={"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")})
    python = Path(places["scripts"], "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install"] if installed("pip") else [*UV, python]
    subprocess.run([*install, "--quiet", "--no-deps", "--no-index", wheel], check=True)
    dependencies = Path(places["purelib"], "dependencies.pth")
    dependencies.write_text(str(Path(torch.__file__).parents[1]), "utf-8")  # after the wheel's own folder
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RNN_HOME")}

    def rnn(*words: str) -> str:
        command = [Path(places["scripts"], "rnn"), *words]
        return subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, check=True, encoding="utf-8"
        ).stdout

    code = "import rnncli; print(rnncli.__file__)"
    imported = subprocess.run([python, "-c", code], cwd=elsewhere, env=environment, capture_output=True, check=True)
    assert str(tmp_path) in imported.stdout.decode()
    assert rnn("version") == f"rnn {__version__}\n"
    assert "parity: solved" in rnn("train", "parity", "--backend", "torch")  # which has nothing to compile
    assert (elsewhere / "checkpoints" / "parity").is_dir()


def cited(name: str) -> str:
    """The value of a line of CITATION.cff."""
    (value,) = re.findall(rf"^[ -]*{name}: \"?(.*?)\"?$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    return str(value)


def test_version_and_its_date_are_the_same_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = re.findall(r"^## \[(\d.*?)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)[0]
    assert newest == (cited("version"), cited("date-released"))
    assert newest[0] == __version__


def test_authors_are_those_of_the_licence() -> None:
    holders = re.findall(r"Copyright \(c\) \d+ (.*)", (ROOT / "LICENSE").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert holders == [author["name"] for author in project["authors"]] == [cited("name")]
    assert (project["license"], cited("license")) == ("MIT", "MIT")


def test_hooks_are_local_and_call_tools_that_dev_installs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"repo: (.*)", hooks) == ["local"]
    assert set(re.findall(r"entry: (\S+)", hooks)) == {"ruff", "pytest", "lint-imports", "mypy"}
    assert len(re.findall(r"language: system", hooks)) == len(re.findall(r"entry: ", hooks))
