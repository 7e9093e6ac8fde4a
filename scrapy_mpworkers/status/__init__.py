"""PARENT SIDE: shows what the workers of a crawl are at.

snapshot    the picture of now, which all that shows something reads
observer    takes it, from the metrics of the levels
processes   CPU and memory of workers, a few at a time
usage       what one process has used so far
reporter    what the log and the stats say while the crawl runs, and at its end
summary     the stats, the progress line, and the closing tables
advice      one sentence on what the crawl waits for, from figures
evidence    gathers these figures
history     what was so far: a sample each second, in bounded memory, from timeline
report      the page with a crawl in it, as a file
shell       the page without data
server      the page: one for all crawls of a loop
site        what it answers to whom
http        talks with its clients, without I/O
transports  their connections, under asyncio or another reactor
metrics     the snapshot for Prometheus
jobs        files by which commands find the page
"""
