"""What is measured, what a measuring process is told, and what it gives back. Messages between processes are JSON."""

from typing import Literal

import msgspec

from benchmarks.store.dataset import Kind

#: How the load speaks to a contender.
Speech = Literal["orrery-http", "orrery-grpc", "astrapy", "faiss", "postgres", "chroma"]
#: What a measuring process does. The last three only make and remove collections.
Action = Literal["floor", "load", "search", "mixed", "restart", "create", "index", "drop"]

BATCH = 100
#: Of a hundred commands of the mixed load, those that write a document.
WRITES_OF_100 = 10
#: Most documents that one process writes in a measurement of the mixed load.
MIXED_WRITES = 2_000
#: What pgvector and FAISS are tuned to reach, by their own effort.
RECALL = 0.97
#: How many documents one client loads in a round, into a collection of its own.
ROUND_DOCUMENTS = 4_000


class Case(msgspec.Struct, frozen=True):
    """One way of asking: how many clients, each with one request at a time, and in which category."""

    name: str
    title: str
    action: Action
    clients: int
    category: str = ""


SEARCHES = (
    Case("search-1", "Search, one client", "search", 1),
    Case("search-32", "Search, 32 clients", "search", 32),
)
FILTERED = tuple(
    Case(f"filter-{category}", f"Search in {share} % of the documents, 8 clients", "search", 8, category)
    for category, share in (("rare", 1), ("some", 10), ("half", 50))
)
MIXED = Case("mixed", f"{100 - WRITES_OF_100} % searches and {WRITES_OF_100} % inserts, 8 clients", "mixed", 8)
FLOORS = (
    Case("floor-1", "A command that asks for nothing, one client", "floor", 1),
    Case("floor-32", "A command that asks for nothing, 32 clients", "floor", 32),
)
LOADS = (
    Case("load-1", f"Load of {ROUND_DOCUMENTS:,} documents in batches of {BATCH}, one client", "load", 1),
    Case("load-4", f"Load of {ROUND_DOCUMENTS:,} documents in batches of {BATCH}, 4 clients", "load", 4),
)
#: The load of everything that is searched after it.
WHOLE = Case("load-all", f"Load of the whole collection in batches of {BATCH}, 4 clients", "load", 4)
EFFORT = Case("effort", "Throughput against recall, 8 clients", "search", 8)

#: The parts of a run, for `--only`.
PARTS = ("floor", "load", "search", "filter", "mixed", "memory", "effort", "growth", "restart")
Part = Literal["floor", "load", "search", "filter", "mixed", "memory", "effort", "growth", "restart"]


class Target(msgspec.Struct):
    """How a contender is reached."""

    speech: Speech
    address: str
    """URL, folder of the socket, or path of an index."""
    rpc: str = ""
    """Address of Orrery's store."""
    token: str = ""
    pid: int | None = None
    """The process that answers, whose descendants count as well; None where it is the measuring one."""


class Task(msgspec.Struct):
    """What one measuring process is to do, perhaps as one of several at once."""

    target: Target
    action: Action
    data: str
    """Folder of the data."""
    collection: str
    documents: int
    """How many are, or will then be, in the collection."""
    first: int = 0
    """Load: the number of the first one to write. Mixed: how many of the reserve were written before."""
    category: str = ""
    clients: int = 1
    effort: float | None = None
    """How hard to search, in the contender's own measure; None for what it does by itself."""
    tuning: bool = False
    """Ask with the queries that are there for choosing the effort."""
    seconds: float = 1.0
    warm_up: float = 0.0
    call_seconds: float = 30.0
    process: int = 0
    processes: int = 1


class Outcome(msgspec.Struct):
    """What one measuring process saw."""

    seconds: float
    """From the first request to the end of the last; of a load, until everything was acknowledged."""
    searched: list[float] = []
    """Milliseconds of each search that was answered."""
    written: list[float] = []
    """Milliseconds of each write that was acknowledged."""
    documents: int = 0
    """Written and acknowledged."""
    failures: dict[str, int] = {}
    right: int = 0
    """Documents among the answers that are as near as the tenth of the exact answer."""
    expected: int = 0
    """Documents that the answers should have held."""
    wrong: int = 0
    """Documents among the answers that should not be there at all: unknown, twice, or of another category."""
    index_seconds: float = 0.0
    """Load: from then until everything could be found by the index."""
    server_cpu: float = 0.0
    client_cpu: float = 0.0


class Run(msgspec.Struct):
    """One measurement: what all its processes saw."""

    contender: str
    case: str
    kind: Kind
    documents: int
    """In the collection; of a load, the documents loaded."""
    round: int
    effort: float | None
    per_second: float
    """Searches answered, documents acknowledged or empty commands answered, a second."""
    p50_ms: float | None
    p95_ms: float | None
    recall: float | None
    wrong: int
    calls: int
    failed: int
    failures: dict[str, int]
    writes_per_second: float | None = None
    write_p50_ms: float | None = None
    indexed_per_second: float | None = None
    """Documents a second, until they were in the index too."""
    server_cores: float = 0.0
    client_cores: float = 0.0


class Footprint(msgspec.Struct):
    """What a server takes with a collection in it that has been searched."""

    server: str
    kind: Kind
    documents: int
    idle_mib: float
    memory_mib: float
    """Pages that processes share are counted once."""
    store_idle_mib: float | None
    """The same of the process that holds the vectors, where there are others."""
    store_mib: float | None
    disk_mib: float
    """Beyond the empty server's."""


class Restart(msgspec.Struct):
    """How long a server was stopped in order, and then took from its start until it answered as before."""

    server: str
    kind: Kind
    documents: int
    stop_seconds: float
    seconds: float | None
    """None where it never did."""


class Problem(msgspec.Struct):
    """Something that could not be measured, and why."""

    contender: str
    what: str
    why: str


class Report(msgspec.Struct):
    """Everything that a run found: what the section of RESULTS.md is made of."""

    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    seconds: float
    rounds: int
    data: dict[str, str]
    """What was searched, by kind."""
    runs: list[Run] = []
    footprints: list[Footprint] = []
    restarts: list[Restart] = []
    problems: list[Problem] = []
