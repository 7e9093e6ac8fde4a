"""The page's server: who gets what, and that nobody can hold it."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scrapy_mpworkers.status import http, server, site

from .harness import SNAPSHOT, Client, Drawn, Served, open_sockets, read_all

DATA = ("/snapshot.json", "/history.json", "/recent.json", "/stacks.json", "/metrics")


@pytest.fixture
def page(served: Served) -> Any:
    crawl = Drawn()
    page = served.open(crawl)
    yield page
    served.call(page.leave, crawl)


@pytest.fixture
def client(page: Any) -> Client:
    return Client(page.url)


def raw(client: Client, *lines: str) -> bytes:
    return "\r\n".join([*lines, f"Host: {client.host}:{client.port}", "", ""]).encode()


def test_the_snapshots_of_all_crawls_are_there_for_the_token(client: Client) -> None:
    reply = client.get("/snapshot.json")

    assert (reply.status, reply.json) == (200, {"crawls": [SNAPSHOT]})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", DATA)
@pytest.mark.parametrize("given", [None, "Bearer", "Bearer x", "Basic {}", "Bearer {}x", "{}"])
def test_without_the_right_token_there_is_no_data(client: Client, path: str, given: Any) -> None:
    headers = {} if given is None else {"Authorization": given.format(client.token)}

    reply = client.get(path, headers)

    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert b"books" not in reply.body


def test_the_shell_needs_no_token_and_runs_its_own_script_only(client: Client) -> None:
    reply = client.get("/", {})

    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == len(re.findall(rb"<(?:script|style)\b", reply.body))


@pytest.mark.parametrize(
    "host",
    ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "10.0.0.1:{port}", "localhost.evil:{port}"],
)
def test_a_foreign_host_is_refused_with_and_without_a_token(client: Client, host: str) -> None:
    headers = {"Host": host.format(port=client.port)}

    assert client.get("/", headers).status == 421
    assert client.get("/snapshot.json", client.right | headers).status == 421


def test_localhost_is_ours(client: Client) -> None:
    headers = client.right | {"Host": f"LocalHost:{client.port}"}

    assert client.get("/snapshot.json", headers).status == 200


def test_on_all_addresses_any_number_is_ours_and_no_strange_name(served: Served) -> None:
    crawl = Drawn()
    page = served.open(crawl, "0.0.0.0")
    client = Client(page.url)

    statuses = {
        host: client.get("/", {"Host": f"{host}:{client.port}"}).status
        for host in ("10.0.0.1", "[::1]", socket.gethostname(), "evil.example")
    }

    served.call(page.leave, crawl)
    assert statuses.popitem() == ("evil.example", 421)
    assert set(statuses.values()) == {200}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(client: Client, method: str) -> None:
    reply = client.get("/snapshot.json", method=method)

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get_and_no_body(client: Client) -> None:
    head, got = client.get("/snapshot.json", method="HEAD"), client.get("/snapshot.json")

    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_what_is_not_there_is_not_found(client: Client) -> None:
    assert client.get("/favicon.ico").status == 404


def test_the_history_of_each_crawl_is_there(client: Client) -> None:
    assert client.get("/history.json").json == {"crawls": [{"spider": "books"}]}
    assert client.get("/recent.json").json == {"crawls": [{"spider": "books", "last": 10.0}]}


def test_all_who_ask_within_a_second_get_one_snapshot_and_who_asks_later_a_new_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, taken = [100.0], Drawn()
    monkeypatch.setattr(site, "monotonic", lambda: now[0])
    page = served.open(taken)
    first, second = Client(page.url), Client(page.url)

    def told() -> list[str]:
        return [one.get("/snapshot.json").json["crawls"][0]["spider"] for one in (first, second)]

    seen = told()
    taken.picture = Drawn(spider="later").picture
    now[0] += 0.8
    seen += told()
    now[0] += 0.2
    seen += told()

    served.call(page.leave, taken)
    assert seen == [*["books"] * 4, *["later"] * 2]


def test_stacks_are_awaited(served: Served) -> None:
    class Asked(Drawn):
        async def stacks(self) -> dict[str, str]:
            return {"worker-1": "a stack"}

    crawl = Asked()
    page = served.open(crawl)

    reply = Client(page.url).get("/stacks.json")

    served.call(page.leave, crawl)
    workers = [{"name": "worker-1", "stack": "a stack"}]
    assert (reply.status, reply.json) == (
        200,
        {"crawls": [{"spider": "books", "workers": workers}]},
    )


@pytest.mark.parametrize("path", ["/snapshot.json", "/stacks.json"])
def test_what_fails_is_logged_and_the_page_goes_on(
    served: Served, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    class Failing(Drawn):
        def snapshot(self, with_pss: bool = False) -> Any:
            raise RuntimeError("no picture")

        async def stacks(self) -> Any:
            raise RuntimeError("no picture")

    crawl = Failing()
    page = served.open(crawl)
    client = Client(page.url)

    assert client.get(path).status == 500
    assert client.get("/").status == 200

    served.call(page.leave, crawl)
    assert "no picture" in caplog.text


def test_one_connection_serves_many_requests(client: Client) -> None:
    request = raw(client, "GET / HTTP/1.1")

    with client.connected() as sock:
        heads = []
        for _ in range(3):
            sock.sendall(request)
            reply = b""
            while b"</html>" not in reply and not reply.endswith(b"</script>\n"):
                reply += sock.recv(65536)
            heads.append(reply.partition(b"\r\n")[0])

    assert heads == [b"HTTP/1.1 200 "] * 3


def test_a_request_in_pieces_is_put_together(client: Client) -> None:
    with client.connected() as sock:
        for byte in raw(client, "GET /nowhere HTTP/1.1", "Connection: close"):
            sock.sendall(bytes([byte]))

        assert read_all(sock).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * (20 << 10), b"431"),
        (b"not http at all\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"421"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),  # TLS
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"413"),
    ],
)
def test_what_is_no_proper_request_is_refused_and_ends(
    client: Client, request_: bytes, status: bytes
) -> None:
    with client.connected() as sock:
        sock.sendall(request_)

        assert read_all(sock).startswith(b"HTTP/1.1 " + status)


def test_a_client_that_does_not_take_its_answer_cannot_ask_again(
    served: Served,
) -> None:
    crawl = Drawn(verdict="x" * (16 << 20))
    page = served.open(crawl)
    client = Client(page.url)
    request = raw(client, "GET /snapshot.json HTTP/1.1", f"Authorization: Bearer {client.token}")

    with client.connected() as sock:
        sock.sendall(request)
        select.select([sock], [], [], 20)  # the answer begins, and does not fit the way
        sock.sendall(request)
        read = read_all(sock)

    served.call(page.leave, crawl)
    assert len(read) < 16 << 20


def test_several_requests_at_once_get_one_answer_and_the_end(client: Client) -> None:
    with client.connected() as sock:
        sock.sendall(raw(client, "GET /nowhere HTTP/1.1") * 3)
        read = read_all(sock)

    assert read.count(b"HTTP/1.1 404 ") == 1
    assert b"Connection: close" in read


def test_clients_that_are_silent_are_ended(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PATIENCE", 0.05)
    monkeypatch.setattr(http, "_LOOK_AGAIN", 0.02)
    crawl = Drawn()
    page = served.open(crawl)
    client = Client(page.url)

    with client.connected() as silent, client.connected() as slow:
        slow.sendall(b"GET / HT")
        assert read_all(silent) == read_all(slow) == b""

    assert client.get("/snapshot.json").status == 200
    served.call(page.leave, crawl)


def test_the_oldest_of_too_many_clients_makes_room(client: Client) -> None:
    crowd = [client.connected() for _ in range(http._MOST_CLIENTS)]
    oldest, *others = [one.__enter__() for one in crowd]

    assert client.get("/snapshot.json").status == 200
    assert read_all(oldest) == b""

    for one in crowd:
        one.__exit__(None, None, None)
    assert len(others) == http._MOST_CLIENTS - 1


def test_closing_waits_for_nobody_and_leaves_no_socket(served: Served) -> None:
    class Asked(Drawn):
        async def stacks(self) -> Any:
            await forever

    before = open_sockets()
    crawl = Asked(verdict="x" * (16 << 20))
    page = served.open(crawl)
    client = Client(page.url)
    forever = served.call(served.loop.create_future)
    token = f"Authorization: Bearer {client.token}"

    with client.connected() as idle, client.connected() as deaf, client.connected() as waiting:
        deaf.sendall(raw(client, "GET /snapshot.json HTTP/1.1", token))
        waiting.sendall(raw(client, "GET /stacks.json HTTP/1.1", token))
        client.get("/")
        served.call(page.leave, crawl)
        served.call(lambda: None)  # one more turn of the loop

        assert read_all(idle) == read_all(waiting) == b""
        assert len(read_all(deaf)) < 16 << 20
    served.call(forever.cancel)
    assert open_sockets() == before
    with pytest.raises(ConnectionRefusedError):
        client.get("/")


def test_crawls_of_one_loop_share_a_page_that_ends_with_the_last(served: Served) -> None:
    first, second = Drawn(spider="first"), Drawn(spider="second")
    page = served.open(first)
    assert served.open(second, ports=(1, 1)) is page
    client = Client(page.url)

    both = client.get("/snapshot.json").json["crawls"]
    served.call(page.leave, first)
    one = client.get("/snapshot.json").json["crawls"]
    served.call(page.leave, second)

    assert [crawl["spider"] for crawl in both] == ["first", "second"]
    assert [crawl["spider"] for crawl in one] == ["second"]
    assert not server._pages
    with pytest.raises(ConnectionRefusedError):
        client.get("/")


def test_a_range_gives_the_first_port_that_is_free(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        crawl = Drawn()

        assert served.open(crawl, ports=(port, port)) is None
        page = served.open(crawl, ports=(port, port + 20))

    served.call(page.leave, crawl)
    assert port < Client(page.url).port <= port + 20
    assert f"There is no workers' page: ports {port} to {port} of 127.0.0.1: [Errno" in caplog.text


def test_forked_children_keep_neither_the_port_nor_a_connection(
    served: Served, page: Any, client: Client
) -> None:
    with client.connected() as sock:
        client.get("/")
        told, tells = os.pipe()
        goes_on, go_on = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(tells, struct.pack("i", len(open_sockets())))
            os.read(goes_on, 1)
            os._exit(0)
        struct.unpack("i", os.read(told, 4))
        served.call(page.leave, next(iter(page._site.crawls.values())))

        try:
            assert read_all(sock) == b""
            with pytest.raises(ConnectionRefusedError):
                client.get("/")
        finally:
            os.write(go_on, b"x")
            os.waitpid(pid, 0)
            for fd in (told, tells, goes_on, go_on):
                os.close(fd)


def test_metrics_are_what_prometheus_reads(served: Served, page: Any, client: Client) -> None:
    twin = Drawn()
    served.open(twin)

    reply = client.get("/metrics")

    served.call(page.leave, twin)
    assert reply.status == 200
    families = {one.name: one for one in text_string_to_metric_families(reply.body.decode())}
    level = {"spider": "books", "level": ""}
    assert all(name.startswith("mpworkers_") for name in families)
    assert [(one.labels, one.value) for one in families["mpworkers_items_done"].samples] == [
        ({"crawl": "1", **level}, 5.0),
        ({"crawl": "2", **level}, 5.0),
    ]
    assert families["mpworkers_items_done"].samples[0].name == "mpworkers_items_done_total"
    assert families["mpworkers_items_done"].type == "counter"
    assert families["mpworkers_wait_seconds"].samples[1].labels["quantile"] == "0.95"
    assert families["mpworkers_worker_cpu_ratio"].samples[0].value == 0.5
    assert families["mpworkers_worker_task_seconds"].samples[0].value == 1.5
    states = [one.labels["state"] for one in families["mpworkers_worker_state"].samples]
    assert states == ["busy", "idle"] * 2
    assert families["mpworkers_worker_state"].samples[1].labels["worker"] == 'worker-"2"'
    assert not families["mpworkers_worker_pss_bytes"].samples


def test_without_the_extra_metrics_say_what_is_missing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from scrapy_mpworkers import status

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "scrapy_mpworkers.status.metrics", raising=False)
    monkeypatch.delattr(status, "metrics", raising=False)

    reply = client.get("/metrics")

    assert reply.status == 501
    assert b"pip install 'scrapy-mpworkers[metrics]'" in reply.body
