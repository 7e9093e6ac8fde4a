"""The guides of scrapyd and of notebooks: a real server, a real kernel."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from .book import code_of, make_project
from .guides import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from system.crawls.harness import Site

# scrapyd

CONFIG = """
[scrapyd]
bind_address = 127.0.0.1
http_port = {port}
poll_interval = 0.2
items_dir = items
"""


@pytest.fixture
def scrapyd(tmp_path: Path) -> Iterator[str]:
    """A server in a folder of its own; its address."""
    needs("scrapyd", "scrapyd_client", "setuptools")
    folder = tmp_path / "server"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "scrapyd.conf").write_text(CONFIG.format(port=port))
    with (folder / "out").open("w") as out:
        command = [sys.executable, "-m", "scrapyd"]
        server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/"
    try:
        until(lambda: ask(address + "daemonstatus.json"))
        yield address
    finally:
        server.terminate()
        server.wait(30)


def ask(url: str, **data: Any) -> dict[str, Any] | None:
    """The answer, or ``None`` while nobody listens."""
    body = urllib.parse.urlencode(data).encode() if data else None
    try:
        with urllib.request.urlopen(url, body, timeout=30) as answer:
            return dict(json.load(answer))
    except ConnectionRefusedError:
        return None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return None
        raise


def until(holds: Any, seconds: float = 60.0) -> Any:
    """Ask again and again; another process has no other way to tell."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.full)])
def test_project_in_an_egg_crawls_under_scrapyd(scrapyd: str, tmp_path: Path, method: str) -> None:
    items = [{"url": f"u{n}", "text": "one two three"} for n in range(9)]
    with_file = {
        "myproject/data/words.json": json.dumps({"one": "eins", "two": "zwei"}),
        # An egg has no items.json beside it, and its spider no current folder.
        "myproject/spiders/items.py": f"""
class Given(ItemsSpider):
    name = "given"

    async def start(self):
        for item in {items!r}:
            yield item
""",
    }
    project = make_project(tmp_path / "project", "Deploy a project", [], with_file)
    config = (project / "scrapy.cfg").read_text()
    (project / "scrapy.cfg").write_text(
        f"{config}\n[deploy]\nurl = {scrapyd}\nproject = myproject\n"
    )

    deploy = [sys.executable, "-c", "from scrapyd_client.deploy import main; main()"]
    done = subprocess.run(deploy, cwd=project, capture_output=True, text=True, check=False)
    assert '"spiders": 2' in done.stdout, done.stdout + done.stderr
    job = {"project": "myproject", "spider": "given", "setting": f"MPWORKERS_START_METHOD={method}"}
    answer = ask(scrapyd + "schedule.json", **job)
    assert answer and answer["status"] == "ok"
    until(lambda: ask(scrapyd + "listjobs.json?project=myproject")["finished"])  # type: ignore[index]

    (log,) = (tmp_path / "server/logs/myproject/given").iterdir()
    (feed,) = (tmp_path / "server/items/myproject/given").iterdir()
    found = [json.loads(line) for line in feed.read_text().splitlines()]
    assert [item["words"] for item in found] == [["eins", "zwei", "three"]] * 9, log.read_text()
    assert "'mpworkers/items/done': 9" in log.read_text()
    assert "ERROR" not in log.read_text()


# Notebooks

KERNEL = """
import json, sys
import nbclient, nbformat

cells = [nbformat.v4.new_code_cell(code) for code in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.outputs:
        print("".join(output.get("text", "")), end="")
"""


def test_classes_of_cells_run_in_workers(site: Site, tmp_path: Path) -> None:
    needs("nbclient", "ipykernel", "aiohttp")
    define, crawl = (text for _, text in code_of("Crawl in a cell"))
    define = define.replace("https://example.com/", site.url("page"))
    asked = "import os, json\nprint(json.dumps([os.getpid(), *map(dict, items)]))"
    whose = define.replace("return item", 'import os; item["pid"] = os.getpid(); return item')
    changed = whose.replace("most_common(3)", "most_common(1)")
    cells = [whose, crawl, asked, changed, crawl, asked]

    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        input=json.dumps(cells),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    (kernel, first), (_, second) = (json.loads(line) for line in lines)
    assert first["keywords"] == ["a", "page"]
    assert second["keywords"] == ["a"]
    assert kernel not in (first["pid"], second["pid"])
