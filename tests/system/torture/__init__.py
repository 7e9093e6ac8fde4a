"""Nothing is lost, whatever is done to the workers and to the crawl.

test_kills.py      kills at chosen moments, on a bare pool
test_chaos.py      kills and stops at random moments, many of them
test_parent.py     the parent is killed; is restarted 300 times; is idle
test_shortages.py  nothing can be opened or forked for seconds; somebody else collects workers
test_memory.py     the kernel kills for want of memory
test_journal_kills.py
                   the whole crawl is killed at random moments, and resumed
test_saboteurs.py  crawls whose items, pipelines and processes break in every way

A plain run does one of each kind, by one start method, and here only what no test of the pool or of
crawls shows in small; ``pytest -m full`` runs the others. docs/torture.md reports the numbers of
both.
"""
