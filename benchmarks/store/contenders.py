"""Who is measured: each a way of speaking to a server, or to a library that has none."""

from dataclasses import dataclass, field

from benchmarks import chart
from benchmarks.store.cases import Speech
from benchmarks.store.servers import ChromaServer, OrreryServer, PostgresServer, Server


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of every table."""

    name: str
    title: str
    colour: str
    speech: Speech
    server: type[Server] | None = None
    """None: the measuring process does the work itself."""
    loads: bool = True
    """Whether it writes; the others search what another has loaded."""
    mixes: bool = True
    """Whether it can write while it is searched."""
    efforts: tuple[float, ...] = field(default=())
    tuned: bool = False
    """Whether it searches with the least effort that reaches the recall, and not as it is by default."""
    in_peers: bool = False
    """Whether its client is in the peers' environment."""


CONTENDERS = (
    Contender("orrery-http", "Orrery, HTTP", chart.GREEN, "orrery-http", OrreryServer, efforts=OrreryServer.efforts),
    Contender("orrery-grpc", "Orrery, gRPC", chart.BLUE, "orrery-grpc", OrreryServer, efforts=OrreryServer.efforts),
    Contender(
        "astrapy",
        "Orrery, astrapy",
        chart.LIGHT_BLUE,
        "astrapy",
        OrreryServer,
        loads=False,
        mixes=False,
        in_peers=True,
    ),
    Contender(
        "pgvector",
        "pgvector",
        chart.RED,
        "postgres",
        PostgresServer,
        efforts=PostgresServer.efforts,
        tuned=True,
        in_peers=True,
    ),
    Contender("chroma", "Chroma", chart.ORANGE, "chroma", ChromaServer),
    Contender(
        "faiss-hnsw",
        "FAISS HNSW32",
        chart.GREY,
        "faiss",
        mixes=False,
        efforts=(16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048),
        tuned=True,
    ),
    Contender("faiss-flat", "FAISS flat", chart.BLACK, "faiss", mixes=False),
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}
TITLES = {contender.name: contender.title for contender in CONTENDERS}
#: Who is part of the growing collection: servers that load.
SERVED = tuple(contender.name for contender in CONTENDERS if contender.server is not None and contender.loads)
