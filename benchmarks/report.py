"""Writes what was measured: a page, its figures as JSON, and plots as SVG."""

import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import STEP_SECONDS, Result, Soak

GOALS = {
    "kubernetes, 2000 a request, 0 % selected": (1.2, 12.0),
    "kubernetes, 2000 a request, 10 % selected": (0.8, 9.0),
    "kubernetes, 2000 a request, 100 % selected": (0.5, 10.0),
}
"""Ratios to vmagent and to the plain pipeline that are to be reached."""
FOLDED_GOALS = {"kubernetes, 2000 a request": 2.5, "triton, 500 a request": 0.8}
"""Ratios to vmagent's stream aggregation that are to be reached."""
PAGE, DATA = "performance.md", "performance.json"
_COLOURS = ("#2b6cb0", "#c05621", "#718096", "#2f855a")


def write(
    folder: Path,
    results: Sequence[Result],
    growth: Sequence[tuple[int, Result]],
    stages: Mapping[str, Mapping[str, float]],
    moment: time.struct_time,
    how: str,
) -> None:
    """Write JSON and plots into `folder`, and the tables into its page, between two marks."""
    folder.mkdir(exist_ok=True)
    document = {
        "machine": machine(),
        "measured": time.strftime("%Y-%m-%d", moment),
        "how": how,
        "results": [asdict(each) for each in results],
        "growth": [{"series": series, **asdict(each)} for series, each in growth],
        "stages_ns": stages,
    }
    (folder / DATA).write_text(json.dumps(document, indent=1) + "\n")
    tables = f"Measured {document['measured']} on {machine()}; {how}, medians.\n\n"
    tables += _table(results) + "\n" + _ratios(results) + "\n" + _stages_table(stages)
    _put(folder, "bench", tables)
    (folder / "performance-samples.svg").write_text(_bars(results))
    if growth:
        (folder / "performance-series.svg").write_text(_lines(growth))


def write_soak(folder: Path, found: Soak, moment: time.struct_time) -> None:
    """Write what a soak came to: figures, a plot, and a paragraph in the page."""
    folder.mkdir(exist_ok=True)
    day = time.strftime("%Y-%m-%d", moment)
    document = {"machine": machine(), "measured": day, **asdict(found)}
    (folder / "performance-soak.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "performance-soak.svg").write_text(_soak_plot(found))
    _put(folder, "soak", f"Measured {day} on {machine()}.\n\n{_soak_text(found)}")


def write_folded(
    folder: Path, results: Sequence[Result], moment: time.struct_time, how: str
) -> None:
    """Write the runs of folded series beside vmagent's stream aggregation, and their ratios."""
    folder.mkdir(exist_ok=True)
    groups = _groups(results)
    rows = [
        "| workload | receiver | vmagent | ratio | goal | p99 ms | peak MiB | runs |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for workload in dict.fromkeys(made.workload for made in results):
        ours, theirs = groups[workload, "receiver"], groups[workload, "vmagent"]
        rates = [_median(runs, "samples_per_cpu_second") for runs in (ours, theirs)]
        void = [made.void for made in (*ours, *theirs) if made.void]
        goals = (goal for part, goal in FOLDED_GOALS.items() if part in workload)
        cells = [
            *(f"{rate / 1000:,.0f}" for rate in rates),
            f"{rates[0] / max(rates[1], 1):.2f}",
            str(next(goals, "")),
            " / ".join(f"{_median(runs, 'p99_ms'):.1f}" for runs in (ours, theirs)),
            " / ".join(f"{_median(runs, 'peak_mib'):.0f}" for runs in (ours, theirs)),
            f"{len(ours)}" + (f", {len(void)} void: {void[0]}" if void else ""),
        ]
        rows.append(f"| {workload} | {' | '.join(cells)} |")
    measured = time.strftime("%Y-%m-%d", moment)
    head = f"Measured {measured} on {machine()}; {how}, medians, k samples a CPU-second.\n\n"
    _put(folder, "folded", head + "\n".join(rows) + "\n")


def _put(folder: Path, mark: str, text: str) -> None:
    """Put a text between its two marks in the page."""
    page, begin, end = folder / PAGE, f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    old = page.read_text() if page.exists() else "# Performance\n"
    if begin not in old:
        old += f"\n{begin}\n{end}\n"
    before, _, rest = old.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}{end}{after}")


def machine() -> str:
    """Say what this ran on: processor, cores, memory, Python."""
    model = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    return f"{model}, {cores} cores, {kib / 2**20:.0f} GiB, Python {platform.python_version()}"


def _groups(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    groups: dict[tuple[str, str], list[Result]] = {}
    for each in results:
        groups.setdefault((each.workload, each.contestant), []).append(each)
    return groups


def _median(found: Sequence[Result], name: str) -> float:
    return float(
        statistics.median([getattr(each, name) for each in found if not each.void] or [0.0])
    )


def _table(results: Sequence[Result]) -> str:
    rows = [
        "| workload | contestant | k samples / CPU-s | k samples / s | p50 ms | p99 ms | peak MiB | bytes / item | items / POST | runs |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for (workload, contestant), found in _groups(results).items():
        void = [each.void for each in found if each.void]
        runs = f"{len(found)}" + (f", {len(void)} void: {void[0]}" if void else "")
        cells = [
            f"{_median(found, 'samples_per_cpu_second') / 1000:,.0f}",
            f"{_median(found, 'samples_per_second') / 1000:,.0f}",
            f"{_median(found, 'p50_ms'):.1f}",
            f"{_median(found, 'p99_ms'):.1f}",
            f"{_median(found, 'peak_mib'):.0f}",
            f"{_median(found, 'bytes_per_item'):.1f}",
            f"{_median(found, 'items_per_post'):,.0f}",
        ]
        rows.append(f"| {workload} | {contestant} | {' | '.join(cells)} | {runs} |")
    return "\n".join(rows) + "\n"


def _ratios(results: Sequence[Result]) -> str:
    groups = _groups(results)
    rows = ["| workload | to vmagent | goal | to plain Python | goal |", "|---|--:|--:|--:|--:|"]
    for workload in dict.fromkeys(each.workload for each in results):
        own = groups.get((workload, "receiver"))
        peers = [groups.get((workload, name)) for name in ("vmagent", "plain Python")]
        if not own or None in peers:
            continue
        cells = []
        for peer, goal in zip(peers, GOALS.get(workload, (0.0, 0.0)), strict=True):
            rate = _median(peer or [], "samples_per_cpu_second")
            ratio = _median(own, "samples_per_cpu_second") / rate if rate else 0.0
            cells += [f"{ratio:.2f}", f"{goal:g}" if goal else ""]
        rows.append(f"| {workload} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _stages_table(stages: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for costs in stages.values() for name in costs))
    rows = [f"| CPU ns a sample | {' | '.join(stages)} |", "|---|" + "--:|" * len(stages)]
    for name in names:
        cells = [f"{costs[name]:.0f}" if name in costs else "" for costs in stages.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _soak_text(found: Soak) -> str:
    after = found.resident_mib[len(found.resident_mib) // 2 :]
    seconds = STEP_SECONDS * len(found.resident_mib)
    return (
        f"Soak: {seconds:.0f} s, {found.requests:,} requests with {found.samples:,} samples of"
        f" {found.series:,} series, one in a hundred of each request never seen before or after;"
        f" {found.arrived:,} of {found.selected:,} selected items arrived."
        f" Resident memory in the second half: {min(after):.1f} to {max(after):.1f} MiB,"
        f" at its end {after[-1]:.1f}.\n"
    )


def _soak_plot(found: Soak) -> str:
    """Draw resident memory over time."""
    top = max(found.resident_mib)
    step = 600 / max(1, len(found.resident_mib) - 1)
    path = " ".join(
        f"{60 + step * x:.0f},{220 - 180 * mib / top:.0f}"
        for x, mib in enumerate(found.resident_mib)
    )
    minutes = STEP_SECONDS * len(found.resident_mib) / 60
    parts = [
        _text(10, 18, "Resident memory over the soak"),
        f'<polyline points="{path}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2"/>',
        '<line x1="60" y1="220" x2="660" y2="220" stroke="#a0aec0"/>',
        _text(10, 44, f"{top:.0f} MiB"),
        _text(10, 224, "0"),
        _text(620, 238, f"{minutes:.0f} min"),
    ]
    return _svg(720, 250, parts)


def _bars(results: Sequence[Result]) -> str:
    """Draw samples per CPU-second of each contestant in each workload that has several."""
    groups = _groups(results)
    workloads = [w for w in dict.fromkeys(e.workload for e in results) if (w, "vmagent") in groups]
    names = ("receiver", "vmagent", "plain Python")
    top = max(_median(found, "samples_per_cpu_second") for found in groups.values()) or 1.0
    parts, y = [], 30
    for place, name in enumerate(names):
        parts.append(_text(330 + 150 * place, 18, name, _COLOURS[place]))
    for workload in workloads:
        parts.append(_text(10, y + 24, workload))
        for place, name in enumerate(names):
            rate = _median(groups[workload, name], "samples_per_cpu_second")
            width = 320 * rate / top
            parts.append(
                f'<rect x="330" y="{y + 12 * place}" width="{width:.1f}" height="10" fill="{_COLOURS[place]}"/>'
            )
            parts.append(_text(336 + width, y + 9 + 12 * place, f"{rate / 1000:,.0f} k"))
        y += 48
    return _svg(730, y, parts)


def _lines(growth: Sequence[tuple[int, Result]]) -> str:
    """Draw nanoseconds of CPU a sample over the number of series, which doubles to the right."""
    names = list(dict.fromkeys(each.contestant for _, each in growth))
    costs = {(s, e.contestant): 1e9 / max(1.0, e.samples_per_cpu_second) for s, e in growth}
    counts = sorted({series for series, _ in growth})
    top = max(costs.values())
    parts = [_text(10, 18, "CPU nanoseconds a sample, over the number of series")]
    step = 560 / max(1, len(counts) - 1)
    for place, name in enumerate(names):
        points = [(70 + step * x, 260 - 200 * costs[s, name] / top) for x, s in enumerate(counts)]
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{_COLOURS[place]}" stroke-width="2"/>'
        )
        parts += [
            _text(x - 14, y - 8, f"{costs[s, name]:.0f}", _COLOURS[place])
            for (x, y), s in zip(points, counts, strict=True)
        ]
        parts.append(_text(500, 18 + 16 * place, name, _COLOURS[place]))
    parts += [_text(60 + step * x, 284, f"{count:,}") for x, count in enumerate(counts)]
    return _svg(720, 300, parts)


def _text(x: float, y: float, text: str, colour: str = "#1a202c") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" font-size="11">{text}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
    return "\n".join(
        [start, f'<rect width="{width}" height="{height}" fill="#fff"/>', *parts, "</svg>\n"]
    )
