"""The official clients' toolchains: each client installed once below `build/clients`, from pinned versions."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "clients"
INSTALL_SECONDS = 420


def python(name: str, program: str = "sample.py") -> list[str]:
    """Return how to run a Python sample, in its folder's virtual environment."""
    folder = _installed(name, ("requirements.txt",), _install_python)
    return [str(folder / "venv" / "bin" / "python"), str(HERE / name / program)]


def typescript(program: str = "sample.ts") -> list[str]:
    """Return how to run a TypeScript program, beside the installed client."""
    _require("node", "npm")
    folder = _installed("typescript", ("package.json", ".npmrc"), _install_typescript)
    for source in (HERE / "typescript").glob("*.ts"):
        shutil.copy(source, folder / source.name)
    return [str(folder / "node_modules" / ".bin" / "tsx"), str(folder / program)]


def java(name: str) -> list[str]:
    """Return how to run a Java sample."""
    _require("java", "mvn")
    folder = _installed(name, ("pom.xml", "src/main/java/Sample.java"), _install_java)
    return ["java", "-cp", f"{folder / 'target' / 'classes'}:{folder / 'lib'}/*", "Sample"]


def curl() -> list[str]:
    """Return how to run the curl sample."""
    _require("curl")
    return ["sh", str(HERE / "curl" / "sample.sh")]


def _require(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")


def _installed(name: str, sources: tuple[str, ...], install: Callable[[Path], None]) -> Path:
    """Return the folder in which a client is installed, installing it when its sources changed."""
    folder = BUILD / name
    digest = hashlib.sha256(b"".join((HERE / name / source).read_bytes() for source in sources)).hexdigest()
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for source in sources:
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / name / source, folder / source)
        install(folder)
        stamp.write_text(digest)
    return folder


def _install_python(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
    _run([str(folder / "venv" / "bin" / "python"), *install], folder)


def _install_typescript(folder: Path) -> None:
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund"], folder)


def _install_java(folder: Path) -> None:
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib"]
    _run(["mvn", "--quiet", "--batch-mode", "compiler:compile", *copy], folder)


def _run(command: list[str], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command[:3])} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
