"""Starting and ending the processes of a run: the provider, the embedder, and LiteLLM's proxy without and with cache.

Each process gets an environment without proxies and telemetry, writes to a log of its own, and is ended by its id.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.embedder.cases import CREDENTIAL, DATABASE, MODEL, Speech

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "benchmarks"
#: The environment that `requirements.txt` is installed into.
PEERS = BUILD / "peers"

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_SECRET_VARIABLE = "ORRERY_BENCHMARK_KEY"

#: Contenders by name, in the order in which they are measured and shown.
TITLES = {
    "httpx": "httpx, direct",
    "aiohttp": "aiohttp, direct",
    "litellm": "LiteLLM proxy",
    "litellm-cache": "LiteLLM proxy, cache",
    "orrery": "Orrery embedder",
}


class StartError(Exception):
    """A process that did not start, or ended."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One that can be called: where, with which bearer key, and which process does the work (None: the caller's)."""

    name: str
    speech: Speech
    target: str
    key: str
    pid: int | None


class Processes:
    """The processes of a run; leaving it ends them all."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._stack = ExitStack()
        self.key = f"sk-benchmark-{secrets.token_hex(8)}"
        self.provider_url = ""
        self.provider_pid = 0

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_provider(self) -> None:
        """Start the provider, with uvloop where the peers' environment has it."""
        python = PEERS / "bin" / "python"
        command = [str(python) if python.exists() else sys.executable, "-m", "benchmarks.embedder.provider"]
        process = self._start("provider", [*command, "--key", self.key], pipe=True)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise StartError(f"the provider did not start; see {self._logs / 'provider.log'}")
        self.provider_url, self.provider_pid = f"http://127.0.0.1:{int(line)}", process.pid

    def start(self, name: str) -> Contender:
        """Start a contender, which may take a minute. Raises `StartError`."""
        if name == "orrery":
            return self._start_orrery()
        if name.startswith("litellm"):
            return self._start_litellm(name, cache=name == "litellm-cache")
        speech: Speech = "httpx" if name == "httpx" else "aiohttp"
        return Contender(name, speech, f"{self.provider_url}/v1/embeddings", self.key, None)

    def _start_orrery(self) -> Contender:
        folder = self._folder()
        socket_path = folder / "embedder.sock"
        address = f"unix:{socket_path}"
        # The log level is the one of `orrery up`.
        arguments = ["embedder", "--data-dir", str(folder), "--listen", address, "--log-level", "warning"]
        command = [sys.executable, "-m", "services.cli"]
        url = f"{self.provider_url}/v1/embeddings"
        process = self._start("orrery", [*command, *arguments], {"ORRERY_PROVIDER_OPENAI_URL": url})
        self._wait("orrery", process, lambda: _connects(socket_path))
        keys = ["keys", "add", "openai", CREDENTIAL, "--database", DATABASE]
        keys += ["--embedder", address, "--from-env", _SECRET_VARIABLE]
        added = subprocess.run(
            [*command, *keys], cwd=ROOT, env=_environment({_SECRET_VARIABLE: self.key}), capture_output=True, text=True
        )
        if added.returncode:
            raise StartError(f"the embedder took no credential: {added.stdout}{added.stderr}")
        return Contender("orrery", "orrery", address, "", process.pid)

    def _start_litellm(self, name: str, cache: bool) -> Contender:
        program = PEERS / "bin" / "litellm"
        if not program.exists():
            raise StartError(f"{program} is not there: `make bench-embedder` installs it")
        config, port = self._folder() / "config.yaml", _free_port()
        # Not the provider's key, as it is not with a stored credential: the proxy refuses to start without one.
        master_key = f"sk-{secrets.token_hex(32)}"
        config.write_text(_litellm_config(f"{self.provider_url}/v1", cache))
        variables = {
            _SECRET_VARIABLE: self.key,
            "LITELLM_MASTER_KEY": master_key,
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        process = self._start(name, [*command, "--num_workers", "1"], variables)
        self._wait(name, process, lambda: _answers(f"http://127.0.0.1:{port}/health/liveliness"))
        return Contender(name, "litellm", f"http://127.0.0.1:{port}/v1/embeddings", master_key, process.pid)

    def _folder(self) -> Path:
        # Not below the repository: the path of a socket may be no longer than 108 bytes.
        folder = Path(tempfile.mkdtemp(prefix="orrery-benchmark-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _start(
        self, name: str, command: Sequence[str], variables: Mapping[str, str] | None = None, pipe: bool = False
    ) -> subprocess.Popen[str]:
        log = self._stack.enter_context((self._logs / f"{name}.log").open("w"))
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else log,
            stderr=log,
            text=True,
        )
        self._stack.callback(_end, process)
        return process

    def _wait(self, name: str, process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                log = self._logs / f"{name}.log"
                raise StartError(f"{name} did not start; {log} ends with:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)


def _litellm_config(base_url: str, cache: bool) -> str:
    """Return the proxy's configuration: one model, no database, no spend logs, as many attempts as Orrery makes.

    Its documentation advises production to set a master key and to log errors only; both come by variables.
    """
    cache_lines = """
  cache: true
  cache_params: {type: local, supported_call_types: [embedding, aembedding]}"""
    return f"""\
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/{MODEL}
      api_base: {base_url}
      api_key: os.environ/{_SECRET_VARIABLE}
litellm_settings:
  telemetry: false
  set_verbose: false{cache_lines if cache else ""}
router_settings:
  num_retries: 3
  disable_cooldowns: true
general_settings:
  disable_spend_logs: true
"""


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process: this one's without what would change the measurement."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ORRERY_", "LITELLM_", "OPENAI_")) and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}", **variables}


def run_load(task: bytes, seconds: float) -> bytes:
    """Run the load on a task's JSON and return what it wrote. Raises `StartError`."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.embedder.load"],
        cwd=ROOT,
        env=_environment({}),
        input=task,
        capture_output=True,
        timeout=seconds,
    )
    if done.returncode:
        raise StartError(f"the load failed:\n{done.stderr.decode()[-4000:]}")
    return done.stdout


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
