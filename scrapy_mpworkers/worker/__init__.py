"""WORKER SIDE. Runs in a worker process, or in the server that forks them.

Scrapy's process uses a few helpers from here: prelude, hash_seed and sizes.

Before any pipeline is there: fork_server, process, hash_seed, prelude, record_collector.
From command to report: main, channel, loop, crawls.
A crawl: consumer, pipelines, logs, side_effects, monitor.
What pipelines see of it: crawler, arrivals, stats.
Callbacks of its spider: callbacks, callback_run, request_changes.
"""
