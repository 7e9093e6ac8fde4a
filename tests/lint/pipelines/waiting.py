"""Pipelines whose items wait for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from itemadapter import ItemAdapter
from scrapy.exceptions import DropItem
from scrapy.utils.defer import maybe_deferred_to_future

if TYPE_CHECKING:
    import aiohttp
    import asyncpg
    import boto3
    import httpx
    import psycopg2
    import pymongo
    import pymysql
    import redis
    import requests
    from bs4 import BeautifulSoup
    from elasticsearch import Elasticsearch
    from geopy.geocoders import Nominatim
    from kafka import KafkaProducer
    from motor.motor_asyncio import AsyncIOMotorClient
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker
    from twisted.enterprise import adbapi
    from twisted.internet.threads import deferToThread


class Mongo:
    collection_name = "items"

    def __init__(self, mongo_uri, mongo_db):
        self.mongo_uri = mongo_uri
        self.mongo_db = mongo_db

    @classmethod
    def from_crawler(cls, crawler):
        return cls(
            mongo_uri=crawler.settings.get("MONGO_URI"),
            mongo_db=crawler.settings.get("MONGO_DATABASE", "items"),
        )

    def open_spider(self, spider):
        self.client = pymongo.MongoClient(self.mongo_uri)
        self.db = self.client[self.mongo_db]

    def close_spider(self, spider):
        self.client.close()

    def process_item(self, item, spider):
        self.db[self.collection_name].insert_one(ItemAdapter(item).asdict())
        return item


class OldMongo:
    def __init__(self):
        connection = pymongo.MongoClient("localhost", 27017)
        self.collection = connection["db"]["items"]

    def process_item(self, item, spider):
        self.collection.update({"url": item["url"]}, dict(item), upsert=True)
        return item


class AsyncMongo:
    async def open_spider(self, spider):
        self.table = AsyncIOMotorClient("mongodb://localhost").shop.items

    async def process_item(self, item, spider):
        await self.table.insert_one(dict(item))
        return item


class MySQL:
    def open_spider(self, spider):
        self.conn = pymysql.connect(host="localhost", user="scrapy", db="items")
        self.cur = self.conn.cursor()

    def process_item(self, item, spider):
        try:
            self.cur.execute("INSERT INTO items VALUES (%s, %s)", (item["url"], item["title"]))
            self.conn.commit()
        except pymysql.MySQLError as error:
            spider.logger.error("Error: %s", error)
            self.conn.rollback()
        return item

    def close_spider(self, spider):
        self.cur.close()
        self.conn.close()


class Postgres:
    def open_spider(self, spider):
        self.connect()

    def connect(self):
        self.connection = psycopg2.connect("dbname=items")

    def process_item(self, item, spider):
        with self.connection.cursor() as cursor:
            cursor.execute("INSERT INTO items VALUES (%s)", (item["url"],))
        self.connection.commit()
        return item


class Alchemy:
    """A session takes ``add`` as a set does."""

    def __init__(self):
        self.Session = sessionmaker(bind=create_engine("postgresql://localhost/items"))

    def process_item(self, item, spider):
        session = self.Session()
        try:
            session.add(dict(item))
            session.commit()
        finally:
            session.close()
        return item


class AlchemySession:
    def open_spider(self, spider):
        self.session = sessionmaker(bind=create_engine("postgresql://localhost/items"))()

    def process_item(self, item, spider):
        self.session.add(dict(item))
        self.session.commit()
        return item

    def close_spider(self, spider):
        self.session.close()


class AsyncPostgres:
    async def open_spider(self):
        self.pool = await asyncpg.create_pool("postgresql://localhost/items")

    async def process_item(self, item):
        async with self.pool.acquire() as connection:
            await connection.execute("INSERT INTO items VALUES ($1)", item["url"])
        return item

    async def close_spider(self):
        await self.pool.close()


class Elastic:
    def __init__(self):
        self.es = Elasticsearch(["http://localhost:9200"])

    def process_item(self, item, spider):
        self.es.index(index="items", id=item["url"], body=dict(item))
        return item


class RedisDuplicates:
    def __init__(self, server):
        self.server = server

    @classmethod
    def from_crawler(cls, crawler):
        return cls(redis.Redis.from_url(crawler.settings["REDIS_URL"]))

    def process_item(self, item, spider):
        if not self.server.sadd("seen", item["url"]):
            raise DropItem("seen")
        return item


class Kafka:
    def open_spider(self, spider):
        self.producer = KafkaProducer(bootstrap_servers="localhost:9092")

    def process_item(self, item, spider):
        self.producer.send("items", dict(item))
        return item

    def close_spider(self, spider):
        self.producer.flush()


class S3:
    def open_spider(self, spider):
        self.s3 = boto3.client("s3")

    def process_item(self, item, spider):
        self.s3.put_object(Bucket="items", Key=item["id"], Body=item["body"])
        return item


class Webhook:
    url = "https://hooks.example.com"

    def process_item(self, item, spider):
        response = requests.post(self.url, json=dict(item), timeout=10)
        response.raise_for_status()
        return item


class EnrichAiohttp:
    async def open_spider(self):
        self.session = aiohttp.ClientSession()

    async def process_item(self, item):
        async with self.session.get("https://api.example.com", params={"q": item["id"]}) as answer:
            item["extra"] = await answer.json()
        return item

    async def close_spider(self):
        await self.session.close()


class EnrichHttpx:
    async def process_item(self, item):
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"https://api.example.com/{item['id']}")
        item["extra"] = answer.json()
        return item


class Geocode:
    """A cache of what it has asked for is no state."""

    def __init__(self):
        self.geolocator = Nominatim(user_agent="items")
        self.cache = {}

    def locate(self, address):
        if address not in self.cache:
            self.cache[address] = self.geolocator.geocode(address)
        return self.cache[address]

    def process_item(self, item, spider):
        place = self.locate(item["address"])
        item["lat"], item["lon"] = place.latitude, place.longitude
        return item


class FetchesAndParses:
    """Its CPU may well be worth a worker."""

    def process_item(self, item, spider):
        page = requests.get(item["url"], timeout=10).text
        item["title"] = BeautifulSoup(page, "lxml").title.string
        return item


class PooledByTwisted:
    def __init__(self, dbpool):
        self.dbpool = dbpool

    @classmethod
    def from_crawler(cls, crawler):
        dbpool = adbapi.ConnectionPool("pymysql", host=crawler.settings["MYSQL_HOST"])
        return cls(dbpool)

    def process_item(self, item, spider):
        query = self.dbpool.runInteraction(self.insert, item)
        query.addErrback(self.failed)
        return item

    def insert(self, cursor, item):
        cursor.execute("INSERT INTO items VALUES (%s)", (item["url"],))

    def failed(self, failure):
        print(failure)


class ByThread:
    def process_item(self, item, spider):
        return deferToThread(self.work, item)

    def work(self, item):
        return item


class Screenshot:
    def __init__(self, crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    async def process_item(self, item, spider):
        request = item["request"]
        await maybe_deferred_to_future(self.crawler.engine.download(request))
        return item
