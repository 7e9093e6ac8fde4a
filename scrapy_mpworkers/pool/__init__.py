"""PARENT SIDE, without Scrapy or Twisted. The event loop is injected.

interface   what a pool is given, what it needs of the loop, and what it tells
pool        submit, settle, give up, stop                       ┐
dispatcher  gives waiting tasks to lanes                        │
watcher     hears lanes: their reports and their ends           │
supervisor  keeps every lane manned                             │ live in the
vacancies   tries starts again that have failed                 │
limits      kills the worker of an item that takes too long,    │ event loop's
            and a lane that is stuck                            │ thread
recycling   when a worker has served its time                   ┘
starter     a thread: starts lanes and discards them, since both can block; its jobs come by mailbox
groups      signals to a worker and what it has started
lane        one worker with its queue down, its pipe up and its dial
orders      its queue: putting never waits
shortages   why a start has failed, in words, and whether it may succeed later
processes, forkserver
            how a worker process comes to be: forkserver, spawn, fork
exits       two ways to learn of the end of a worker that the fork server has forked
unshared    what a process forked from this one must not keep open
memory      what the kernel says of it
ledger, batching, restarts, figures
            pure: no clock, no process; event in, decision out
"""
