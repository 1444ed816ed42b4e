"""The section of RESULTS.md: what was measured on what, a table for each measure, and the targets at its end."""

from collections.abc import Sequence

from benchmarks.section import NONE, cell, number, table
from benchmarks.spread import Spread, ratio, spread
from benchmarks.store import targets
from benchmarks.store.cases import EFFORT, FILTERED, FLOORS, LOADS, MIXED, SEARCHES, WHOLE, Case, Report, Run
from benchmarks.store.contenders import CONTENDERS, TITLES
from benchmarks.store.dataset import Kind
from benchmarks.store.figures import (
    indexed_per_second,
    kinds,
    least_mib,
    p50,
    p95,
    per_second,
    recall,
    runs_of,
    sizes,
)

_PEERS = ("pgvector", "chroma")
_TO_PEERS = tuple(f"to {TITLES[name]}'s" for name in _PEERS)


def section(report: Report, pictures: dict[str, str]) -> str:
    """Return the section; `pictures` are paths from the file's folder, by what they show."""
    parts = ["## Store\n", _conditions(report)]
    parts += [f"![{title}]({path})\n" for title, path in pictures.items()]
    for kind in kinds(report):
        parts += _of_kind(report, kind)
    parts += [_footprints(report), _restarts(report), _problems(report), _targets(report)]
    return "\n".join(part for part in parts if part)


def _conditions(report: Report) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in report.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in report.versions.items())
    settings = "\n".join(f"- {name}: {value}." for name, value in report.settings.items())
    data = "\n".join(f"- Data, {kind}: {value}." for kind, value in report.data.items())
    return f"""\
Measured {report.date} with `{report.command}` (`make bench-store` installs what it needs).

- Machine: {machine}.
- Versions: {versions}.
{data}
- Real documents are sentences of the docstrings of Python's library and of installed packages, embedded by the local
  model; queries are other sentences. Synthetic ones are points of clusters in 48 dimensions, laid into 384
  (`benchmarks/store/synthetic.py` has the recipe). A document has a text, a category, a number and a nested object.
{settings}
- Figures are medians of {report.rounds} rounds of {report.seconds:g} seconds, with the lowest and the highest; in each
  round the contenders take turns. Ratios are of runs of the same round. What has no spread was measured once.
- All contenders are asked for the ten nearest by cosine and return the documents without their vectors. Recall@10 is
  judged for every answer that was timed: a document is right if it is as near as the tenth of the exact answer. A wrong
  document is one that is unknown, comes twice, or is of another category.
- The load is one asyncio program for all, in one process, from 8 clients on in two; requests are encoded before the
  clock runs, but for astrapy, whose own work is part of what its users see. FAISS runs within the load, which has no
  documents to return and nothing to keep: a floor, no database. Client and servers share the machine's cores.
"""


def _of_kind(report: Report, kind: Kind) -> list[str]:
    size = max(sizes(report, kind), default=None)
    parts = [_loads(report, kind)]
    parts += [_case(report, kind, case, None) for case in FLOORS]
    parts += [_case(report, kind, case, size) for case in (*SEARCHES, *FILTERED, MIXED)]
    return [*parts, _growth(report, kind), _efforts(report, kind)]


def _heading(title: str, kind: Kind, size: int | None) -> str:
    return f"### {title}: {size:,} {kind} documents\n\n" if size else f"### {title}\n\n"


def _to_peers(report: Report, runs: Sequence[Run], kind: Kind, size: int | None, case: str) -> list[str]:
    return [_times(ratio(runs, runs_of(report, kind, size, case, peer), per_second)) for peer in _PEERS]


def _times(found: Spread | None) -> str:
    return cell(found, unit="x")


def _case(report: Report, kind: Kind, case: Case, size: int | None) -> str:
    rows = []
    for contender in CONTENDERS:
        runs = runs_of(report, kind, size, case.name, contender.name)
        if not runs:
            continue
        row = [contender.title, cell(spread(runs, per_second)), *_to_peers(report, runs, kind, size, case.name)]
        row += [cell(spread(runs, p50)), cell(spread(runs, p95), alone=True)]
        if case.action != "floor":
            row += [_recall(runs), _effort(runs), f"{sum(run.wrong for run in runs):,}"]
        if case.action == "mixed":
            row += [cell(spread(runs, lambda run: run.writes_per_second)), cell(spread(runs, lambda r: r.write_p50_ms))]
        rows.append([*row, _failed(runs), _cores(runs)])
    if not rows:
        return ""
    head = ["", "commands/s" if case.action == "mixed" else "/s", *_TO_PEERS, "p50 ms", "p95 ms"]
    if case.action != "floor":
        head += ["recall@10", "effort", "wrong"]
    if case.action == "mixed":
        head += ["writes/s", "write p50 ms"]
    return _heading(case.title, kind, size) + table([*head, "failed", "cores: server, client"], rows)


def _recall(runs: Sequence[Run]) -> str:
    found = spread(runs, recall)
    return NONE if found is None else f"{found.median:.4f}"


def _effort(runs: Sequence[Run]) -> str:
    return NONE if runs[0].effort is None else f"{runs[0].effort:g}"


def _failed(runs: Sequence[Run]) -> str:
    failed, every = sum(run.failed for run in runs), sum(run.failed + run.calls for run in runs)
    return f"{failed:,} of {every:,}"


def _cores(runs: Sequence[Run]) -> str:
    server, client = (spread(runs, figure) for figure in (lambda run: run.server_cores, lambda run: run.client_cores))
    assert server is not None
    assert client is not None
    return f"{server.median:.2f}, {client.median:.2f}"


def _loads(report: Report, kind: Kind) -> str:
    parts = []
    for case in (*LOADS, WHOLE):
        rows = []
        for contender in CONTENDERS:
            runs = runs_of(report, kind, None, case.name, contender.name)
            # A collection that grew in steps had a peer's index built in each of them: its rate says nothing.
            if not runs or (case is WHOLE and len(runs) > 1):
                continue
            peers = [runs_of(report, kind, None, case.name, peer) for peer in _PEERS]
            row = [contender.title, cell(spread(runs, per_second)), cell(spread(runs, indexed_per_second))]
            row += [_times(ratio(runs, others, indexed_per_second)) for others in peers]
            rows.append(
                [*row, cell(spread(runs, p50)), cell(spread(runs, p95), alone=True), _failed(runs), _cores(runs)]
            )
        if rows:
            head = ["", "acknowledged/s", "index included/s", *_TO_PEERS, "batch p50 ms", "p95 ms", "failed"]
            parts.append(_heading(case.title, kind, None) + table([*head, "cores: server, client"], rows))
    return "\n".join(parts)


def _growth(report: Report, kind: Kind) -> str:
    found = sizes(report, kind)
    if len(found) < 2:
        return ""
    rows = []
    for contender in CONTENDERS:
        row = [contender.title]
        for size in found:
            one, many = (runs_of(report, kind, size, case.name, contender.name) for case in SEARCHES)
            row.append(f"{cell(spread(one, p50), True)} ms, {cell(spread(many, per_second), True)}/s, {_recall(many)}")
        if any(runs_of(report, kind, size, SEARCHES[0].name, contender.name) for size in found[:-1]):
            rows.append(row)
    note = "p50 of one client, searches a second of 32, and recall@10.\n\n"
    return f"### As the collection grows, {kind} documents\n\n{note}" + table(["", *(f"{n:,}" for n in found)], rows)


def _efforts(report: Report, kind: Kind) -> str:
    rows = [
        [contender.title, _effort([run]), NONE if run.recall is None else f"{run.recall:.4f}", number(run.per_second)]
        for contender in CONTENDERS
        for run in runs_of(report, kind, None, EFFORT.name, contender.name)
    ]
    if not rows:
        return ""
    return f"### {EFFORT.title}, {kind} documents\n\n" + table(["", "effort", "recall@10", "/s"], rows)


def _footprints(report: Report) -> str:
    rows = []
    for one in report.footprints:
        least = least_mib(one.documents)
        row = [f"{one.server}, {one.documents:,} {one.kind}", f"{one.idle_mib:,.0f}", f"{one.memory_mib:,.0f}"]
        row += [f"{(one.memory_mib - one.idle_mib) / least:.2f}x"]
        if one.store_mib is not None and one.store_idle_mib is not None:
            growth = one.store_mib - one.store_idle_mib
            row += [f"{one.store_mib:,.0f}", f"{growth / least:.2f}x"]
        else:
            row += [NONE, NONE]
        rows.append([*row, f"{one.disk_mib:,.0f}"])
    if not rows:
        return ""
    note = (
        "Memory of all processes in MiB, pages they share counted once; ratios are of what came with the documents, to "
        "float32 vectors and the links of an HNSW32 graph. Files that the system keeps in memory are not counted. Disk "
        "is beyond the empty server's.\n\n"
    )
    head = ["", "empty", "searched", "to the least", "store alone", "to the least", "disk MiB"]
    return "### Memory and disk\n\n" + note + table(head, rows)


def _restarts(report: Report) -> str:
    rows = []
    for server in dict.fromkeys(one.server for one in report.restarts):
        found = [one for one in report.restarts if one.server == server]
        seconds = [one.seconds for one in found if one.seconds is not None]
        stops = Spread.of([one.stop_seconds for one in found])
        rows.append([f"{server}, {found[0].documents:,} {found[0].kind}", cell(stops)])
        rows[-1] += [cell(Spread.of(seconds) if seconds else None), f"{len(found) - len(seconds)} of {len(found)}"]
    if not rows:
        return ""
    head = ["", "stopped in s", "from start to the answer from before s", "without one"]
    return "### Restart after an orderly stop\n\n" + table(head, rows)


def _problems(report: Report) -> str:
    lines = [f"- {TITLES.get(one.contender, one.contender)}, {one.what}: {one.why}" for one in report.problems]
    return "### Not measured\n\n" + "\n".join(lines) + "\n" if lines else ""


def _targets(report: Report) -> str:
    rows = [row.cells() for row in targets.rows(report)]
    if not rows:
        return ""
    return "### Against the targets of the store\n\n" + table(["Orrery, HTTP", "target", "measured", ""], rows)
