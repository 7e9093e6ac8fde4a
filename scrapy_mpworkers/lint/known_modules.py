"""Lists all names of libraries by which the inspection tells what a call does."""

from __future__ import annotations

from typing import NamedTuple

#: What waits for the network.
NETWORK = frozenset(
    {
        *("requests", "urllib", "urllib3", "http", "httpx", "aiohttp", "treq", "smtplib", "socket"),
        *("ftplib", "paramiko", "geopy", "googlemaps", "slack_sdk", "telegram", "tweepy", "grpc"),
        *("openai", "anthropic", "twilio", "sendgrid", "aiosmtplib", "websockets", "googletrans"),
    }
)
#: What waits for a database, or another store.
STORES = frozenset(
    {
        *("pymongo", "motor", "psycopg", "psycopg2", "asyncpg", "aiopg", "MySQLdb", "pymysql"),
        *("aiomysql", "mysql", "mariadb", "cx_Oracle", "oracledb", "pyodbc", "pymssql", "redis"),
        *("aioredis", "elasticsearch", "opensearchpy", "pysolr", "meilisearch", "sqlalchemy"),
        *("boto3", "botocore", "aioboto3", "aiobotocore", "google", "azure", "kafka", "aiokafka"),
        *("confluent_kafka", "pika", "aio_pika", "stomp", "nats", "cassandra", "clickhouse_driver"),
        *("clickhouse_connect", "influxdb", "influxdb_client", "neo4j", "peewee", "databases"),
        *("txmongo", "couchdb", "rethinkdb", "minio", "gspread", "pyairtable", "supabase"),
        *("tortoise", "mongoengine", "firebase_admin", "qdrant_client", "weaviate", "pinecone"),
    }
)
#: Modules that prepare and describe; what they cost does not count.
LIGHT = frozenset(
    {
        *(
            "builtins",
            "itemadapter",
            "scrapy",
            "logging",
            "json",
            "datetime",
            "time",
            "dataclasses",
        ),
        *("copy", "re", "urllib.parse", "hashlib", "uuid", "os", "asyncio", "typing", "decimal"),
        *(
            "collections",
            "contextlib",
            "functools",
            "itertools",
            "base64",
            "math",
            "string",
            "bson",
        ),
        *("twisted", "w3lib", "orjson", "tenacity", "io", "sys", "random"),
        *("pathlib", "email", "operator", "enum", "types", "warnings", "traceback", "html"),
    }
)
LIGHT_OF_NETWORK = ("urllib.parse", "http.HTTPStatus", "http.cookies", "socket.gethostname")

#: Containers of this process.
CONTAINERS = frozenset(
    {
        *("list()", "dict()", "set()", "bytearray()", "collections.defaultdict()"),
        *("collections.deque()", "collections.Counter()", "collections.OrderedDict()"),
        *("queue.Queue()", "queue.LifoQueue()", "queue.PriorityQueue()", "weakref.WeakSet()"),
        *("asyncio.Queue()", "multiprocessing.Queue()", "weakref.WeakValueDictionary()"),
    }
)
#: What is made up in memory, and saved as a whole at the end.
DOCUMENTS = (
    *("openpyxl.Workbook()", "xlsxwriter.Workbook()", "xlwt.Workbook()", "docx.Document()"),
    *(
        "pandas.DataFrame()",
        "pandas.concat()",
        "io.StringIO()",
        "io.BytesIO()",
        "polars.DataFrame()",
    ),
    *("xml.etree.ElementTree.Element()", "lxml.etree.Element()", "fpdf.FPDF()"),
    *("networkx.Graph()", "networkx.DiGraph()", "rdflib.Graph()", "tablib.Dataset()"),
    *("openpyxl.workbook.Workbook()", "openpyxl.load_workbook()"),
)
#: Methods that put something into a document.
FILLING = frozenset(
    {
        *("write", "writelines", "writerow", "write_row", "write_column", "write_string", "cell"),
        *("add_paragraph", "add_heading", "add_row", "add_table", "add_page", "add_worksheet"),
        *("create_sheet", "multi_cell", "add_node", "add_edge", "add_nodes_from"),
        *("add_edges_from", "save"),
    }
)
#: Indexes in memory, which are asked for what is near.
INDEXES = (
    *("simhash.", "datasketch.", "faiss.", "annoy.", "hnswlib.", "pybloom", "bloom_filter"),
    *("rbloom.", "probables.", "rtree.", "marisa_trie.", "pygtrie.", "intervaltree."),
)
#: What all workers share.
SHARED = frozenset(
    {"redis", "shelve", "dbm", "diskcache", "plyvel", "sqlitedict", "lmdb", "rocksdict", "leveldb"}
)
#: How dataclasses and attrs say that there is something.
FIELDS = ("dataclasses.field()", "attr.ib()", "attrs.field()", "attr.field()", "pydantic.Field()")


class Opener(NamedTuple):
    """Says which arguments of a call that opens a file are its mode, and an object in its place."""

    mode: int
    fileobj: int | None = None


#: What opens a file, if not in its way: the path comes first.
OPENERS = {
    **dict.fromkeys(("open()", "io.open()", "codecs.open()", "aiofiles.open()"), Opener(1)),
    **dict.fromkeys(("gzip.open()", "bz2.open()", "lzma.open()", "smart_open.open()"), Opener(1)),
    **dict.fromkeys(("bz2.BZ2File()", "lzma.LZMAFile()", "io.FileIO()"), Opener(1)),
    **dict.fromkeys(("zipfile.ZipFile()", "h5py.File()"), Opener(1)),
    **dict.fromkeys(("tarfile.open()", "tarfile.TarFile()"), Opener(1, 2)),
    "gzip.GzipFile()": Opener(1, 3),
}
#: What writes to the file of this name, whatever else it is given.
WRITERS = frozenset(
    {
        *("pyarrow.parquet.ParquetWriter()", "shelve.open()", "tinydb.TinyDB()"),
        *("fastavro.writer()", "pandas.ExcelWriter()", "pandas.HDFStore()"),
    }
)
#: Methods of tables that append to a file, if their mode says so.
APPENDING = frozenset({"to_csv", "to_json"})
#: How those are given a file, if by name.
FILE_ARGUMENTS = frozenset(
    {"file", "filename", "name", "path", "path_or_buf", "path_or_buffer", "where", "fo"}
)
#: What is written to as if it were a file, and is none that anybody shares.
NO_FILES = (
    *("io.BytesIO()", "io.StringIO()", "os.devnull", "sys.stdout", "sys.stderr"),
    *("tempfile.SpooledTemporaryFile()", "tempfile.TemporaryFile()"),
    *("tempfile.NamedTemporaryFile()", "pyarrow.BufferOutputStream()"),
)
NO_FILES_BY_NAME = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "nul", ":memory:"})

_WITHOUT_REACTOR = "it needs the reactor, which does not run in a worker"
_WITHOUT_THREADS = "it needs the reactor's threads, and no reactor runs in a worker"
_WITHOUT_CLOCK = "it needs the reactor's clock, and no reactor runs in a worker"
_PLAIN_CALL = "a plain call: a worker may block"
_ASYNCIO = "asyncio, in an async def process_item"
_DRIVER = "a connection of the plain driver, made in open_spider: a worker may block"
_CLIENT = "a blocking client, or one for asyncio: a worker may block"
#: What of Twisted needs its reactor: why it fails, and what does the same in a worker.
REACTOR = {
    "twisted.internet.reactor.callInThread": (_WITHOUT_THREADS, _PLAIN_CALL),
    "twisted.internet.reactor.callFromThread": (_WITHOUT_REACTOR, _PLAIN_CALL),
    "twisted.internet.reactor": (_WITHOUT_REACTOR, _ASYNCIO),
    "twisted.internet.threads": (_WITHOUT_THREADS, _PLAIN_CALL),
    "twisted.internet.task": (_WITHOUT_CLOCK, _ASYNCIO),
    "twisted.internet.utils": (_WITHOUT_REACTOR, "subprocess.run: a worker may block"),
    "twisted.internet.endpoints": (_WITHOUT_REACTOR, _ASYNCIO),
    "twisted.internet.protocol.ClientCreator": (_WITHOUT_REACTOR, _ASYNCIO),
    "twisted.enterprise.adbapi": (_WITHOUT_THREADS, _DRIVER),
    "twisted.names.client": (_WITHOUT_REACTOR, "socket.getaddrinfo: a worker may block"),
    "twisted.mail.smtp": (_WITHOUT_REACTOR, "smtplib: a worker may block"),
    "twisted.web.client": (_WITHOUT_REACTOR, _CLIENT),
    "treq": (_WITHOUT_REACTOR, _CLIENT),
    "txmongo": (_WITHOUT_REACTOR, "pymongo: a worker may block"),
    "txredisapi": (_WITHOUT_REACTOR, "redis: a worker may block"),
    "txpostgres": (_WITHOUT_REACTOR, _DRIVER),
    "scrapy.mail.MailSender": (_WITHOUT_REACTOR, "smtplib: a worker may block"),
    "scrapy.utils.reactor.CallLaterOnce": (_WITHOUT_CLOCK, _ASYNCIO),
}

#: What lines of a settings module must not do again in each worker.
_DELETES = "deletes"
_MOVES = "moves files"
_WRITES = "writes a file"
_SERVES = "binds a port"
_STARTS = "starts a process"
_THREAD = "starts a thread"
_SENDS = "sends a request"
EFFECTS = {
    **dict.fromkeys(("shutil.rmtree()", "os.remove()", "os.unlink()", "os.rmdir()"), _DELETES),
    **dict.fromkeys(("os.removedirs()", "os.truncate()"), _DELETES),
    **dict.fromkeys(("shutil.move()", "os.rename()", "os.renames()", "os.replace()"), _MOVES),
    **dict.fromkeys(("shutil.copy()", "shutil.copy2()", "shutil.copyfile()"), _WRITES),
    **dict.fromkeys(("shutil.copytree()", "shutil.make_archive()"), _WRITES),
    **dict.fromkeys(("prometheus_client.start_http_server()", "debugpy.listen()"), _SERVES),
    **dict.fromkeys(("prometheus_client.start_wsgi_server()", "ptvsd.enable_attach()"), _SERVES),
    **dict.fromkeys(("prometheus_client.exposition.start_http_server()",), _SERVES),
    **dict.fromkeys(("http.server.HTTPServer()", "http.server.ThreadingHTTPServer()"), _SERVES),
    **dict.fromkeys(("wsgiref.simple_server.make_server()", "uvicorn.run()"), _SERVES),
    **dict.fromkeys(("socketserver.TCPServer()", "socketserver.ThreadingTCPServer()"), _SERVES),
    **dict.fromkeys(("socketserver.UDPServer()", "socket.create_server()"), _SERVES),
    **dict.fromkeys(("xmlrpc.server.SimpleXMLRPCServer()", "socket.socket().bind()"), _SERVES),
    **dict.fromkeys(("flask.Flask().run()", "bottle.run()", "waitress.serve()"), _SERVES),
    **dict.fromkeys(("subprocess.Popen()", "subprocess.run()", "subprocess.call()"), _STARTS),
    **dict.fromkeys(("subprocess.check_call()", "os.system()"), _STARTS),
    **dict.fromkeys(("os.fork()", "os.posix_spawn()", "os.startfile()"), _STARTS),
    **dict.fromkeys(("os.spawnl()", "os.spawnv()", "os.spawnlp()", "os.spawnvp()"), _STARTS),
    **dict.fromkeys(("multiprocessing.Process().start()", "multiprocessing.Pool()"), _STARTS),
    **dict.fromkeys(("multiprocessing.Manager()", "psutil.Popen()"), _STARTS),
    **dict.fromkeys(("threading.Thread().start()", "threading.Timer().start()"), _THREAD),
    **dict.fromkeys(("_thread.start_new_thread()",), _THREAD),
    **dict.fromkeys(
        tuple(f"{m}.{w}()" for m in ("requests", "httpx") for w in ("post", "put", "delete")),
        _SENDS,
    ),
}
#: The same, of methods of paths, of schedulers and of servers.
EFFECTS_OF_METHODS = {
    "pathlib.Path": {
        **dict.fromkeys(("unlink", "rmdir"), _DELETES),
        **dict.fromkeys(("rename", "replace"), _MOVES),
        **dict.fromkeys(("write_text", "write_bytes"), _WRITES),
    },
    "apscheduler.": {"start": _THREAD},
    "watchdog.": {"start": _THREAD},
    "multiprocessing.": {"start": _STARTS},
}
#: Making a folder fails where it is there already, unless the call says that it may.
MAKING_FOLDERS = frozenset({"os.mkdir()", "os.makedirs()", "pathlib.Path().mkdir()"})
#: What opens a log file: the place of its mode, and the name of it.
LOG_FILES = {
    "logging.FileHandler()": (1, "mode"),
    "logging.handlers.WatchedFileHandler()": (1, "mode"),
    "logging.basicConfig()": (None, "filemode"),
}
