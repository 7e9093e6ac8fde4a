"""WORKER SIDE. Every line in here runs in a worker process, or in the server that forks them.

server      what the fork server imports before any worker exists
forking     its loop: forks a worker on request and tells how it ends
main        boot and main loop: get an order, consume, report
reporter    the report pipe: outcomes leave together, or in time
process     process group, signals, death of the parent
loop        an asyncio loop that notices when an await can never end
consumer    builds and runs the user's pipelines, a consumer for each hop
watch       warns of pipelines that are wrong in several processes, by source and first items
crawler     the crawler that a pipeline sees
seat, delivery, guest
            the same for a worker process that is not ours: a thread there instead of a process
stats, logs collect the side effects of an item until its report leaves
"""
