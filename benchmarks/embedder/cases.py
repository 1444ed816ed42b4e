"""What is measured, what a measurement is told, and what it gives back. Messages between processes are JSON."""

from typing import Literal

import msgspec

MODEL = "text-embedding-3-small"
DATABASE = "default"
CREDENTIAL = "benchmark"

#: How the load speaks to a contender.
Speech = Literal["httpx", "aiohttp", "litellm", "orrery"]


class Case(msgspec.Struct, frozen=True):
    """A load: callers in a closed loop, each with one call at a time."""

    name: str
    title: str
    callers: int
    texts_per_call: int = 1
    repeated: bool = False
    """Texts are drawn from a vocabulary, few of them often; otherwise no text comes twice."""
    limited: bool = False
    """The provider keeps its rate limit."""
    stretch: int = 1
    """How many times as long as others it is measured."""
    note: str = ""


#: Texts of the vocabulary of `repeated`, and the exponent of their frequencies (Zipf).
VOCABULARY = 10_000
EXPONENT = 1.1

CASES = (
    Case("callers-1", "One caller, one text a call", 1),
    Case("callers-32", "32 callers, one text a call", 32),
    Case("callers-128", "128 callers, one text a call", 128),
    Case("bulk", "One caller, 1000 texts a call", 1, texts_per_call=1000),
    Case(
        "repeated",
        "32 callers, one text a call, texts that come again",
        32,
        repeated=True,
        note=(
            f"Texts are drawn from {VOCABULARY:,} by Zipf's law with exponent {EXPONENT}; each run has its own "
            "vocabulary, so every cache begins empty. LiteLLM's cache in memory is on where the name says so."
        ),
    ),
    Case(
        "limited",
        "128 callers, one text a call, a provider with a rate limit",
        128,
        limited=True,
        stretch=3,
        note=(
            "Direct callers and LiteLLM ask again up to three times, after the time the provider names. "
            "A call that is not answered in time or is refused at last has failed. Measured three times as long."
        ),
    ),
)


class Task(msgspec.Struct):
    """One measurement, as its process is told it."""

    contender: str
    speech: Speech
    target: str
    """URL of the embeddings endpoint, or address of the RPC server."""
    key: str
    pid: int | None
    """The process that does the work between caller and provider; None where the caller asks the provider itself."""
    provider_url: str
    provider_pid: int
    case: Case
    round: int
    seconds: float
    warm_up_seconds: float
    call_seconds: float
    """How long a call may take."""
    latency_seconds: float
    requests_per_minute: float


class Run(msgspec.Struct):
    """What one measurement gave: of all calls that began within its time, until the last of them had ended."""

    contender: str
    case: str
    round: int
    seconds: float
    """From the first call to the end of the last one; the CPU times below are of this time."""
    calls_per_second: float
    """Until the last answer; with a rate limit, within the time that calls began in. So for the next one."""
    texts_per_second: float
    p50_ms: float | None
    """Latency of the calls that succeeded, the provider's included, in milliseconds; None where none succeeded."""
    p99_ms: float | None
    """The same of the slowest hundredth."""
    calls: int
    """Calls that succeeded."""
    texts: int
    """Texts of those calls."""
    failed: int
    failures: dict[str, int]
    """Why calls failed, with how often, the commonest first."""
    verified: int
    """Vectors compared with the right ones, number by number; a wrong one ends the benchmark."""
    upstream_requests: int
    upstream_refused: int
    upstream_texts: int
    upstream_largest_batch: int
    """Most texts of a request."""
    upstream_most_at_once: int
    """Most requests in work at a time."""
    held_ms: float
    """How long the provider took for a request, on average."""
    contender_cpu_seconds: float
    caller_cpu_seconds: float
    provider_cpu_seconds: float
    contender_mib: float
    """Resident memory of the contender's processes after the measurement."""
    contender_peak_mib: float
    caller_mib: float


class Report(msgspec.Struct):
    """Everything that a run of the benchmark found: what the section of RESULTS.md is made of."""

    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    latency_ms: float
    requests_per_minute: float
    seconds: float
    rounds: int
    call_seconds: float
    idle_mib: dict[str, float]
    """Memory of each contender when it had just started."""
    runs: list[Run]
