"""Both sides of the process boundary share this folder: what crosses it, and how it is pickled.

Nothing outside of it imports pickle.

messages         what crosses: tasks and batches down, outcomes and reports up
frames           how messages, and the frames in them, become bytes
arena            shared memory where large frames cross
outbox           shared memory where outcomes are kept until they are sent
codec            Scrapy's side: dumps and loads items and the parts of a crawl
worker_codec     a worker's side
pickling         picklers with a say in what travels; the error that names the field
tokens           what stands in a frame for an object that stays where it is
changes          the fields of an item, and what a hop did to them: only that travels back
exceptions       exceptions, packed and rebuilt
effects          stats and log records of a worker, which count when the item settles
crawl            what a worker must know of the crawl
callbacks        what crosses of a callback, down and up; callback_pickler sends it
definitions      classes and functions that cross by value; importing and fingerprint find them
search_path      folders that other processes search as well
entries          what a user may name in a setting: pipelines and keys
"""
