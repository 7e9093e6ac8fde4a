"""THE WALL: every shape that crosses between Scrapy's process and a worker, and how it is pickled.

Nothing outside this package imports pickle.

messages    what travels: tasks and batches down, outcomes and reports up
arena       shared memory where large frames cross
pickling    picklers with a say in what travels; the error that names the field
codec       items, settings, spiders: dumps and loads
fields      the fields of an item, read and written beneath the hooks of its class
changes     what a hop did to an item: only that travels back
failures    exceptions, taken apart and rebuilt
effects     stats and log records that a worker makes, counted when the item settles
crawl       what a worker must know of the crawl
"""
