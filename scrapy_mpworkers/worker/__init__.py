"""WORKER SIDE. Every line in here runs in a worker process, or in the server that forks them.

fork_server imports what all workers need, forks one on request, tells how it ends
process     process group, signals, death of the parent
prelude, hash_seed
            what happens in a worker before any pipeline is there
main        boot and main loop: get a command, consume, report
channel     the ends of the pipes: commands in, reports out
loop        an asyncio loop that notices when an await can never end
crawls      whose consumers are open here
consumer    runs a task through the pipelines of its hop
pipelines   the user's pipelines of a hop; calls of functions
crawler, arrivals
            the crawler, stats and engine that a pipeline sees
monitor     warns of pipelines that are wrong in several processes, by source and first items
record_collector, logs
            what is logged goes along with the report of its item
"""
