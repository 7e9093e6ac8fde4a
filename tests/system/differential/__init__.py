"""The differential crawl: a spider, its callbacks and pipelines inline and offloaded, one outcome.

    test_crawls.py ── combos.py          which case runs in which loop mode, by which start method
          │
      launch.py    ── a subprocess ──▶   runner.py    runs each case twice, in one process:
          │                                 │           a loop mode cannot change in a process
          │                              observer.py  what a crawl shows from outside
          │                              describe.py  … as lines of text
          ▼                                 │
      compare.py   ◀── outcomes (JSON) ─────┘

A case (``case.py``) is data; ``cases/`` holds them with their spiders, items and pipelines, which
are ordinary code that knows nothing of workers.
"""
