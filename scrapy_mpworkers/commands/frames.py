"""Draws a snapshot for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from scrapy_mpworkers.commands.pages import printable

_COLOURS = {
    "running": "green",
    "closing": "yellow",
    "stopped": "dim",
    "broken": "bold red",
    "busy": "blue",
    "idle": "dim",
    "starting": "yellow",
    "opening": "yellow",
    "retiring": "magenta",
    "dead": "red",
}
_COLUMNS = ("worker", "pid", "state", "for", "at", "settled", "restarts", "CPU", "memory")
_TEXTS = ("worker", "state", "at")  # which begin at the left, as numbers end at the right
_OUTCOMES = ("done", "dropped", "failed", "dead_lettered", "redelivered")
#: Lines of a frame beside the rows of its workers and events; events that it has at most.
_OTHER_LINES, _EVENTS = 7, 6
_BAR = 20


def frame(crawl: Mapping[str, Any], notice: str = "", height: int = 1 << 20) -> Group:
    """Return the picture of one crawl, in so many lines at most.

    Args:
        crawl: its snapshot, as JSON has it.
        notice: a line below.
    """
    events = crawl["events"][-_EVENTS:]
    room = height - _OTHER_LINES - 2 * len(crawl["levels"]) - len(events)
    return Group(
        _head(crawl),
        line(crawl.get("verdict", "")),
        *(text for level in crawl["levels"] for text in _level(level)),
        Text(),
        _workers(crawl, max(room, 3)),
        *([Text()] if events else []),
        *(_event(event) for event in events),
        *([Text(notice, "reverse")] if notice else []),
    )


def line(text: str, style: str = "") -> Text:
    """Return *text* on one line, whatever it holds."""
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def duration(seconds: float) -> str:
    """Return a time as short as can be: ``0.42 s``, ``12 s``, ``3:05``, ``2:03:05``."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: float) -> str:
    """Return a number of bytes in the largest unit that it fills."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"


def _head(crawl: Mapping[str, Any]) -> Text:
    head = line(crawl["spider"], "bold")
    head.append(f"  {crawl['state']}", _COLOURS.get(crawl["state"], ""))
    return head.append(f"  {duration(crawl['elapsed'])}  pid {crawl['pid']}", "dim")


def _level(level: Mapping[str, Any]) -> Iterator[Text]:
    full = round(level["utilisation"] * _BAR)
    text = line(f"{level['name']} " if level["name"] else "", "bold")
    text.append("\N{FULL BLOCK}" * full, "blue")
    text.append("\N{LIGHT SHADE}" * (_BAR - full), "bright_black")
    text.append(f" {level['utilisation']:.0%} busy  {level['per_minute']:.0f}/min")
    text.append(f"  {level['pending']} of {level['max_pending']} pending")
    text.append(f" ({size(level['pending_bytes'])})", "dim")
    if level["at_the_door"]:
        text.append(f", {level['at_the_door']} wait for room", "yellow")
    if level["is_braking"]:
        text.append(", downloads wait", "yellow")
    yield text
    yield line("  ").join([_counts("items", level["items"]), *_more(level)])


def _more(level: Mapping[str, Any]) -> Iterator[Text]:
    for what in ("calls", "callbacks"):
        if level[what]:
            yield _counts(what, level[what])
    for name in ("wait", "service"):
        if times := level[name]:
            yield Text(f"{name} {duration(times['p50'])}, p95 {duration(times['p95'])}", "dim")


def _counts(what: str, counts: Mapping[str, int]) -> Text:
    text = Text(f"{counts['submitted']} {what}:", no_wrap=True, overflow="ellipsis")
    for name in _OUTCOMES:
        if counts.get(name) or name == "done":
            style = "red" if name in ("failed", "dead_lettered") else ""
            text.append(f" {counts[name]} {name.replace('_', '-')}", style)
    return text


def _workers(crawl: Mapping[str, Any], room: int) -> Table:
    """Return a row for each worker; without room for all, for those that are at it longest."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for title in _COLUMNS:
        justify: JustifyMethod = "left" if title in _TEXTS else "right"
        ratio = 1 if title == "at" else None
        table.add_column(title, justify=justify, no_wrap=True, overflow="ellipsis", ratio=ratio)
    workers = [worker for level in crawl["levels"] for worker in level["workers"]]
    shown = workers
    if len(workers) > room:
        shown = sorted(workers, key=lambda one: -_seconds(one))[: room - 1]
    for worker in shown:
        table.add_row(*_worker(worker))
    if len(shown) < len(workers):
        table.add_row(Text(f"and {len(workers) - len(shown)} more", "dim"))
    return table


def _seconds(worker: Mapping[str, Any]) -> float:
    return worker["task"]["seconds"] if worker["task"] else -1.0


def _worker(worker: Mapping[str, Any]) -> tuple[Text | str, ...]:
    task, cpu = worker["task"], worker["cpu_percent"]
    memory = worker["pss_bytes"] or worker["rss_bytes"]
    return (
        line(worker["name"]),
        str(worker["pid"] or "-"),
        Text(worker["state"], _COLOURS.get(worker["state"], "")),
        duration(task["seconds"]) if task else "",
        line(task["label"]) if task else "",
        str(worker["settled"]),
        str(worker["restarts"] or ""),
        "" if cpu is None else f"{cpu:.0f}%",
        size(memory) if memory else "",
    )


def _event(event: Mapping[str, Any]) -> Text:
    at = datetime.fromtimestamp(event["at"]).strftime("%H:%M:%S")
    colour = "red" if event["kind"] in ("death", "dead_letter", "broken") else "yellow"
    label = f"  {event['label']}" if event["label"] else ""
    return Text(f"{at} ", "dim") + line(event["text"], colour) + line(label, "dim")
