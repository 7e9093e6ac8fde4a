"""Pipelines whose items mostly wait for others: a web service, a database, a queue."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator

from scrapy_mpworkers.inspection.code import Function
from scrapy_mpworkers.inspection.findings import Finding, Kind
from scrapy_mpworkers.inspection.origins import Origins
from scrapy_mpworkers.inspection.source import Source
from scrapy_mpworkers.inspection.state import ITEM_METHODS

_NETWORK = frozenset(
    {
        *("requests", "urllib", "urllib3", "http", "httpx", "aiohttp", "treq", "smtplib", "socket"),
        *("ftplib", "paramiko", "geopy", "googlemaps", "slack_sdk", "telegram", "tweepy", "grpc"),
        *("openai", "anthropic", "twilio", "sendgrid", "aiosmtplib", "websockets", "googletrans"),
    }
)
_STORES = frozenset(
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
_LIGHT = frozenset(
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
        *("crawler", "spider", "twisted", "w3lib", "orjson", "tenacity", "io", "sys", "random"),
        *("pathlib", "email", "operator", "enum", "types", "warnings", "traceback", "html"),
    }
)
#: Methods of answers and connections that do not wait, or not for long.
_BESIDE = frozenset({"close", "cursor", "decode", "json", "raise_for_status", "read", "rollback"})
_LIGHT_OF_NETWORK = ("urllib.parse", "http.HTTPStatus", "http.cookies", "socket.gethostname")


def waiting(source: Source, origins: Origins) -> Finding | None:
    """Whether items mostly wait: they talk to the network and do nothing known to cost more."""
    calls: dict[Kind, set[str]] = {Kind.WAITS: set(), Kind.STORES: set()}
    awaited = False
    for call, function in _calls(source):
        origin = origins.of(call, function)
        kind = _kind(origin)
        if kind is not None:
            if getattr(call.func, "attr", "") not in _BESIDE:
                calls[kind].add(ast.unparse(call.func))
            awaited = awaited or _is_awaited(call, function)
        elif not _is_light(origin):
            return None
    if _is_of_sqlite(origins):
        calls[Kind.STORES].clear()
    for kind, names in calls.items():
        if names:
            return Finding(kind, tuple(sorted(names)), is_async=awaited)
    return None


def _is_of_sqlite(origins: Origins) -> bool:
    """Whether a database is named that is a file: ``create_engine("sqlite:///items.db")``."""
    return any(
        isinstance(node, ast.Constant) and str(node.value).startswith("sqlite")
        for function in origins.functions
        for node in ast.walk(function.node)
    )


def _calls(source: Source) -> Iterator[tuple[ast.Call, Function]]:
    for function in source.reachable(ITEM_METHODS):
        for node in ast.walk(function.node):
            if isinstance(node, ast.Call):
                yield node, function


def _kind(origin: str | None) -> Kind | None:
    if origin is None or origin.startswith(_LIGHT_OF_NETWORK):
        return None
    if re.fullmatch(r"[\w.]+\.[A-Z]\w*\(\)", origin):
        return None  # UpdateOne(...) is made, and waits for nobody
    root = origin.partition(".")[0].partition("(")[0]
    return Kind.WAITS if root in _NETWORK else Kind.STORES if root in _STORES else None


def _is_light(origin: str | None) -> bool:
    """Of what is not known at all, most is the item's and the text's own methods."""
    if origin is None:
        return True
    path = origin.replace("()", "").replace("[]", "")
    root = path.partition(".")[0]
    if hasattr(builtins, root) or root in _LIGHT or path.startswith(_LIGHT_OF_NETWORK):
        return True
    return root in _NETWORK | _STORES  # only their classes come to this


def _is_awaited(call: ast.Call, function: Function) -> bool:
    around = (ast.Await, ast.AsyncWith, ast.AsyncFor)
    return any(isinstance(node, around) for node in function.ancestors(call))
