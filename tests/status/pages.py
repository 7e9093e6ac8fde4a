"""Reports of crawls that are drawn, not run."""

from __future__ import annotations

from pathlib import Path

from scrapy.settings import Settings

from scrapy_mpworkers.status import report
from scrapy_mpworkers.status.history import History
from scrapy_mpworkers.status.snapshot import Event

from .pictures import BORN, busy, idle, snapshot

HOSTILE = 'http://a/</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"'


def draw_report(path: Path) -> Path:
    """Write the report of two minutes with two workers, one of which has died."""
    died = Event(BORN + 30, "death", "", "worker-2", "worker-2 was ended by SIGKILL", HOSTILE, 30.0)
    history, settings = History(), Settings({"MPWORKERS_DASK_ADDRESS": "tls://me:secret@host:1"})
    for second in range(1, 121):
        other = idle(name="worker-2", restarts=int(second > 30))
        workers = busy(second % 7, HOSTILE, second // 7, settled=second), other
        last = snapshot(float(second), *workers, done=second * 40, events=(died,))
        history.add(last, 0.002)
    levels = tuple(level._replace(workers=()) for level in last.levels)
    last = last._replace(state="stopped", levels=levels)  # as the last one of a crawl is
    facts = report.facts(settings, f"advice: {HOSTILE}")
    report.write(path, {"snapshot": last.as_dict(), "history": history.as_dict(), "facts": facts})
    return path
