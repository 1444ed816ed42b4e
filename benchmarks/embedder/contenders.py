"""Starting the processes of a run: the provider, the embedder, and LiteLLM's proxy without and with cache."""

import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.embedder.cases import CREDENTIAL, DATABASE, MODEL, Speech
from benchmarks.machine import ROOT
from benchmarks.processes import BUILD, Processes, StartError, answers, connects, free_port

#: The environment that `requirements.txt` is installed into.
PEERS = BUILD / "peers"

_SECRET_VARIABLE = "ORRERY_BENCHMARK_KEY"
#: Variables that would change what is measured.
_HIDDEN = ("ORRERY_", "LITELLM_", "OPENAI_")

#: Contenders by name, in the order in which they are measured and shown.
TITLES = {
    "httpx": "httpx, direct",
    "aiohttp": "aiohttp, direct",
    "litellm": "LiteLLM proxy",
    "litellm-cache": "LiteLLM proxy, cache",
    "orrery": "Orrery embedder",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """One that can be called: where, with which bearer key, and which process does the work (None: the caller's)."""

    name: str
    speech: Speech
    target: str
    key: str
    pid: int | None


class Contenders:
    """Starts whoever is measured, and the provider they ask; leaving it ends them all."""

    def __init__(self, logs: Path) -> None:
        self._processes = Processes(logs, _HIDDEN)
        self.key = f"sk-benchmark-{secrets.token_hex(8)}"
        self.provider_url = ""
        self.provider_pid = 0

    def __enter__(self) -> "Contenders":
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.__exit__(*error)

    def start_provider(self) -> None:
        """Start the provider."""
        self.provider_url, self.provider_pid = start_provider(self._processes, self.key)

    def start(self, name: str) -> Contender:
        """Start a contender, which may take a minute. Raises `StartError`."""
        if name == "orrery":
            return self._start_orrery()
        if name.startswith("litellm"):
            return self._start_litellm(name, cache=name == "litellm-cache")
        speech: Speech = "httpx" if name == "httpx" else "aiohttp"
        return Contender(name, speech, f"{self.provider_url}/v1/embeddings", self.key, None)

    def _start_orrery(self) -> Contender:
        folder = self._processes.folder()
        socket_path = folder / "embedder.sock"
        address = f"unix:{socket_path}"
        # The log level is the one of `orrery up`.
        arguments = ["embedder", "--data-dir", str(folder), "--listen", address, "--log-level", "warning"]
        command = [sys.executable, "-m", "services.cli"]
        url = f"{self.provider_url}/v1/embeddings"
        process = self._processes.start("orrery", [*command, *arguments], {"ORRERY_PROVIDER_OPENAI_URL": url})
        self._processes.wait("orrery", process, lambda: connects(socket_path))
        store_key(self._processes, address, self.key)
        return Contender("orrery", "orrery", address, "", process.pid)

    def _start_litellm(self, name: str, cache: bool) -> Contender:
        program = PEERS / "bin" / "litellm"
        if not program.exists():
            raise StartError(f"{program} is not there: `make bench-embedder` installs it")
        config, port = self._processes.folder() / "config.yaml", free_port()
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
        process = self._processes.start(name, [*command, "--num_workers", "1"], variables)
        self._processes.wait(name, process, lambda: answers(f"http://127.0.0.1:{port}/health/liveliness"))
        return Contender(name, "litellm", f"http://127.0.0.1:{port}/v1/embeddings", master_key, process.pid)

    def run_load(self, task: bytes, seconds: float) -> bytes:
        """Run the load on a task's JSON and return what it wrote. Raises `StartError`."""
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.embedder.load"],
            cwd=ROOT,
            env=self._processes.environment(),
            input=task,
            capture_output=True,
            timeout=seconds,
        )
        if done.returncode:
            raise StartError(f"the load failed:\n{done.stderr.decode()[-4000:]}")
        return done.stdout


def start_provider(processes: Processes, key: str) -> tuple[str, int]:
    """Start the provider, with uvloop where the peers' environment has it; return its URL and its process.

    Raises `StartError`.
    """
    python = PEERS / "bin" / "python"
    command = [str(python) if python.exists() else sys.executable, "-m", "benchmarks.embedder.provider"]
    process = processes.start("provider", [*command, "--key", key], pipe=True)
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise StartError(f"the provider did not start; see {processes.log('provider')}")
    return f"http://127.0.0.1:{int(line)}", process.pid


def store_key(processes: Processes, embedder: str, key: str) -> None:
    """Store the provider's key in the embedder at an address, as `CREDENTIAL`. Raises `StartError`."""
    command = [sys.executable, "-m", "services.cli", "keys", "add", "openai", CREDENTIAL, "--database", DATABASE]
    added = subprocess.run(
        [*command, "--embedder", embedder, "--from-env", _SECRET_VARIABLE],
        cwd=ROOT,
        env=processes.environment({_SECRET_VARIABLE: key}),
        capture_output=True,
        text=True,
    )
    if added.returncode:
        raise StartError(f"the embedder took no credential: {added.stdout}{added.stderr}")


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
