"""The section of RESULTS.md: what was measured on what, the targets, and two tables for each case."""

from collections.abc import Callable, Sequence

from benchmarks.embedder.cases import CASES, Case, Report, Run
from benchmarks.embedder.contenders import TITLES
from benchmarks.embedder.figures import (
    caller_cpu,
    contender_cpu,
    runs_of,
    texts_upstream_per_1000,
    upstream_per_1000,
)
from benchmarks.section import NONE, cell, table
from benchmarks.spread import Spread, ratio, spread

# --- parts ------------------------------------------------------------------


def _conditions(report: Report) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in report.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in report.versions.items())
    idle = ", ".join(f"{TITLES[name]} {value:,.0f} MiB" for name, value in report.idle_mib.items())
    latency = f"{report.latency_ms:g} ms"
    return f"""\
Measured {report.date} with `{report.command}` (`make bench-embedder` installs what it needs).

- Machine: {machine}.
- Versions: {versions}.
- Provider: a local process that answers after {latency} with 384 numbers a text, in OpenAI's wire format. Where a case
  says so, it allows {report.requests_per_minute:,.0f} requests a minute, one second's worth of them at once, and
  answers any more with 429 and `Retry-After`.
- Figures are medians of {report.rounds} rounds of {report.seconds:g} seconds, with the lowest and the highest. In each
  round the contenders take turns. After a warm-up, calls begin for that time and the last are waited for; rates are
  until the last answer, except with the rate limit: there, of answers within the time. A call may take
  {report.call_seconds:g} seconds.
- Added latency is what a caller waits beyond the provider's {latency}. What the caller and the provider themselves add
  is in every line: `{TITLES["aiohttp"]}` shows how little there can be.
- The calls come from one process, the same asyncio program for every contender. LiteLLM runs as it starts by default,
  with one worker, and has no database; it checks its callers' key, because it does not start without one. Orrery's
  embedder runs as `orrery up` starts it, one process as well, called over a Unix socket, which has no key to check.
  Direct callers and callers of LiteLLM get vectors in Base64, which is the cheaper form.
- All of them share the machine's cores: where caller or provider is near 100 % of a core, that is the limit.
- Every answer's shape is checked, and the vectors of a sample number by number.
- Memory at the start: {idle or "no process was started"}.
"""


def _targets(report: Report) -> str:
    """Return how the figures stand to what the design asks for."""
    rows: list[list[str]] = []

    def row(what: str, target: str, found: Spread | None, met: Callable[[float], bool], unit: str) -> None:
        if found is not None:
            rows.append([what, target, cell(found, unit=unit), "met" if met(found.median) else "**not met**"])

    one = runs_of(report, "callers-1", "orrery")
    for name, figure in (("p50", _added_p50(report)), ("p99", _added_p99(report))):
        row(f"one caller, added {name}", "at most 2 ms", spread(one, figure), lambda value: value <= 2, " ms")
    for callers in (32, 128):
        case = f"callers-{callers}"
        own, proxy, direct = (runs_of(report, case, name) for name in ("orrery", "litellm", "aiohttp"))
        texts = ratio(own, proxy, _texts)
        row(f"{callers} callers, texts/s to LiteLLM's", "at least 10 times", texts, lambda value: value >= 10, "x")
        texts = ratio(own, direct, _texts)
        row(f"{callers} callers, texts/s to aiohttp's", "more than 1 time", texts, lambda value: value > 1, "x")
        requests = ratio(own, proxy, upstream_per_1000)
        what = f"{callers} callers, upstream requests to LiteLLM's"
        row(what, "at most 0.1 times", requests, lambda value: value <= 0.1, "x")
    if not rows:
        return ""
    figures = table(["Orrery embedder", "target", "measured", ""], rows)
    return (
        f"### Against the targets\n\nRatios are of runs of the same round; requests are for as many texts.\n\n{figures}"
    )


def _texts(run: Run) -> float:
    return run.texts_per_second


def _added_p50(report: Report) -> Callable[[Run], float | None]:
    return lambda run: None if run.p50_ms is None else run.p50_ms - report.latency_ms


def _added_p99(report: Report) -> Callable[[Run], float | None]:
    return lambda run: None if run.p99_ms is None else run.p99_ms - report.latency_ms


def _case(report: Report, case: Case) -> str:
    found = {name: runs for name in TITLES if (runs := runs_of(report, case.name, name))}
    if not found:
        return ""
    seen = [
        [
            TITLES[name],
            cell(spread(runs, lambda run: run.calls_per_second)),
            cell(spread(runs, _texts)),
            cell(spread(runs, _added_p50(report))),
            cell(spread(runs, _added_p99(report))),
            _failed(runs),
        ]
        for name, runs in found.items()
    ]
    columns: dict[str, Callable[[Sequence[Run]], str]] = {
        "upstream requests per 1000 texts": lambda runs: cell(spread(runs, upstream_per_1000), True),
        "texts upstream per 1000 texts": lambda runs: cell(spread(runs, texts_upstream_per_1000), True),
        "refused upstream": lambda runs: cell(spread(runs, lambda run: run.upstream_refused), True),
        "largest batch": lambda runs: f"{max(run.upstream_largest_batch for run in runs):,}",
        "provider took ms": lambda runs: cell(spread(runs, lambda run: run.held_ms), True),
        "CPU ms/text": lambda runs: cell(spread(runs, contender_cpu), True),
        "caller's CPU ms/text": lambda runs: cell(spread(runs, caller_cpu), True),
        "of a core: contender, caller, provider": _busy,
        "memory MiB (peak)": _memory,
    }
    if not case.repeated:
        del columns["texts upstream per 1000 texts"]
    if not case.limited:
        del columns["refused upstream"]
    costs = [[TITLES[name], *(column(runs) for column in columns.values())] for name, runs in found.items()]
    head = ["", "calls/s", "texts/s", "added p50 ms", "added p99 ms", "failed calls"]
    note = f"{case.note}\n\n" if case.note else ""
    return f"### {case.title}\n\n{note}{table(head, seen)}\n{table(['median of', *columns], costs)}"


def _failed(runs: Sequence[Run]) -> str:
    failed, all_calls = sum(run.failed for run in runs), sum(run.failed + run.calls for run in runs)
    return f"{failed:,} of {all_calls:,}"


def _busy(runs: Sequence[Run]) -> str:
    def share(seconds: Callable[[Run], float]) -> str:
        found = spread(runs, lambda run: 100 * seconds(run) / run.seconds)
        return NONE if found is None else f"{found.median:.0f} %"

    own = share(lambda run: run.contender_cpu_seconds) if runs[0].contender_mib else NONE
    return f"{own}, {share(lambda run: run.caller_cpu_seconds)}, {share(lambda run: run.provider_cpu_seconds)}"


def _memory(runs: Sequence[Run]) -> str:
    now, peak = (spread(runs, figure) for figure in (lambda run: run.contender_mib, lambda run: run.contender_peak_mib))
    if now is None or peak is None or not now.high:
        return NONE
    return f"{now.median:,.0f} ({peak.high:,.0f})"


# --- the file ---------------------------------------------------------------


def section(report: Report, chart: str) -> str:
    """Return the section; `chart` is the path of the picture, from the file's folder."""
    parts = [
        "## Embedder\n",
        _conditions(report),
        f"![Texts a second and slowest hundredth, by callers]({chart})\n",
        _targets(report),
        *(_case(report, case) for case in CASES),
    ]
    return "\n".join(part for part in parts if part)
