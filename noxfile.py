"""The matrix: ``nox --list`` shows it; ``nox`` runs lint and all Pythons, ``-s tests-3.13`` one.

Each session has an environment of its own. Pythons that are missing are skipped, and say so.
"""

from __future__ import annotations

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
#: The oldest release that has all that the package uses, and the newest.
SCRAPYS = {"oldest": "scrapy==2.15.*", "newest": "scrapy"}

nox.options.sessions = ["lint", "tests"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the plain tests: loop modes and start methods in turn."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
@nox.parametrize("scrapy", list(SCRAPYS))
def scrapy(session: nox.Session, scrapy: str) -> None:
    """Run the plain tests with the oldest and the newest Scrapy."""
    session.install("-e", ".[test]", SCRAPYS[scrapy])
    session.run("pytest", *session.posargs)


@nox.session
@nox.parametrize("mode", ["asyncio", "default", "none"])
@nox.parametrize("method", ["forkserver", "spawn", "fork"])
def full(session: nox.Session, mode: str, method: str) -> None:
    """Run every test of one loop mode and start method, plain and full."""
    session.install("-e", ".[test]")
    names = f"{mode}-{method}" + (f" and not {mode}-forkserver" if method == "fork" else "")
    session.run(
        "pytest", "-m", "full or not full", "-k", names, *session.posargs, env={"FRESH_CRAWLS": "1"}
    )


@nox.session
def extras(session: nox.Session) -> None:
    """Run the plain tests with all extras, the code of docs/guides among them."""
    names = "example,postgres,names,dask,page,metrics,top,test,guides"
    session.install("-e", f".[{names}]")
    session.run("pytest", *session.posargs, env={"GUIDES_REQUIRED": "1"})


@nox.session
def bare(session: nox.Session) -> None:
    """Run the tests of the pool and the wire without any extra of ours."""
    items = ["pydantic", "beautifulsoup4"]  # what items are made of, in the tests
    session.install("-e", ".", "pytest", "pytest-twisted", "pytest-xdist", *items)
    session.run("pytest", "tests/pool", "tests/wire", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the architecture."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
