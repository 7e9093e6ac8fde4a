"""PARENT SIDE, without Scrapy or Twisted. Results come back through one injected callable.

interface   what a pool is given, and what it tells
pool        submit, settle, give up, stop                       ┐
dispatcher  gives waiting tasks to lanes                        │
supervisor  keeps every lane manned                             │ live in the
limits      kills the worker of an item that takes too long,    │ event loop's
            and a lane that is stuck                            │ thread
recycling   when a worker has served its time                   ┘
starter     a thread: starts lanes and discards them, since both can block
watcher     a thread: waits for reports, exits and deadlines
lane        one worker with its queue down, its pipe up and its dial
processes, forkserver
            how a worker process comes to be: forkserver, spawn, fork
memory      what the kernel says of it
ledger, batching, restarts, figures
            pure: no clock, no process; event in, decision out
"""
