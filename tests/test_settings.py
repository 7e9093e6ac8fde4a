"""Settings: what is read, what is refused, and where the hops are."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from itertools import product
from math import inf, nan
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from scrapy.settings import BaseSettings, Settings
from scrapy.utils.test import get_crawler

from scrapy_mpworkers import Addon, validators
from scrapy_mpworkers.backends.dask.backend import DaskBackend
from scrapy_mpworkers.errors import SettingError
from scrapy_mpworkers.extension import WorkerExtension
from scrapy_mpworkers.hops import Hop, add_component, add_routes, hops_of, routes_of
from scrapy_mpworkers.pool.cpus import thread_variables, usable_cpus
from scrapy_mpworkers.settings import (
    LevelSettings,
    read_declared,
    read_settings,
    warn_of_names,
)
from scrapy_mpworkers.settings.names import all_settings


class A: ...


class B: ...


class C: ...


class D: ...


class E: ...


PATHS = [f"{__name__}.{cls.__name__}" for cls in (A, B, C, D, E)]

GOOD = [
    ("BACKEND", "local", "backend", "local"),
    ("BACKEND", "dask", "backend", "dask"),
    ("WORKERS", "auto", "workers", usable_cpus()),
    ("WORKERS", "3", "workers", 3),
    ("ENABLED", "0", "enabled", False),
    ("START_METHOD", "", "start_method", "forkserver"),
    ("MAX_PENDING", None, "max_pending", None),
    ("MAX_PENDING_BYTES", "1000", "max_pending_bytes", 1000),
    ("ITEM_TIMEOUT", 0, "item_timeout", 0.0),
    ("ITEM_TIMEOUT", "2.5", "item_timeout", 2.5),
    ("WORKER_MAX_ITEMS", "1000", "worker_max_items", 1000),
    ("WORKER_MEMORY_LIMIT_MB", 512, "worker_memory_limit_mb", 512),
    ("DEAD_LETTERS", "", "dead_letters", None),
    ("DEAD_LETTERS", "dead.jsonl", "dead_letters", Path("dead.jsonl").absolute()),
    ("REPORT", "", "report", None),
    ("REPORT", "report.html", "report", Path("report.html").absolute()),
    ("JOURNAL", "0", "journal", False),
    ("CLOSE_TIMEOUT", "2.5", "close_timeout", 2.5),
    *(("PAGE", value, "page", None) for value in (False, "False", "0", "", None)),
    *(("PAGE", value, "page", (0, 0)) for value in (True, "True", "1", [], (), [0])),
    *(("PAGE", value, "page", (6080, 6080)) for value in (6080, "6080", [6080], "[6080]")),
    *(("PAGE", value, "page", (6080, 6090)) for value in ([6080, 6090], "6080,6090", (6080, 6090))),
    *(("PAGE_HOST", value, "page_host", value) for value in ("127.0.0.1", "::1", "localhost")),
]
GOOD_OF_DASK = [
    ("DASK_ADDRESS", "tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
    ("DASK_ADDRESS", "tls://scheduler:8786", "tls://scheduler:8786"),
    ("DASK_ADDRESS", "scheduler:8786", "scheduler:8786"),
    ("DASK_ADDRESS", __file__, __file__),
    ("DASK_ADDRESS", "", None),
    ("DASK_UPLOAD", __file__, (Path(__file__),)),
]


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"file"


#: The system refuses such names of files.
NO_PATHS = ["a\0b", Path("a\0b"), "\ud800", BytesPath()]
BAD = [
    ("ENABLED", "perhaps"),
    ("BACKEND", "abacus"),
    ("DASK_ADDRESS", "nowhere"),
    ("DASK_ADDRESS", 8786),
    ("DASK_ADDRESS", "/no/such/file.json"),
    ("DASK_UPLOAD", "no_such_folder"),
    ("DASK_UPLOAD", 7),
    ("PIPELINES", ["a.B"]),
    ("PIPELINES", {"a.B": "first"}),
    ("PIPELINES", {3: 300}),
    ("WORKERS", -1),
    ("WORKERS", "many"),
    ("WORKERS", 1.5),
    ("WORKERS", 1 << 30),
    ("START_METHOD", "thread"),
    ("NICE", 20),
    ("MAX_PENDING", 0),
    ("MAX_PENDING_BYTES", 0),
    ("MAX_PENDING_BYTES", "64 MiB"),
    ("ITEM_TIMEOUT", -1),
    ("ITEM_TIMEOUT", "soon"),
    ("WORKER_MAX_ITEMS", 0.5),
    ("WORKER_MEMORY_LIMIT_MB", "2 GiB"),
    ("DEAD_LETTERS", 7),
    ("REPORT", "/no/such/folder/report.html"),
    ("REPORT", "/"),
    ("JOURNAL", "perhaps"),
    ("REDELIVER_TIMES", True),
    ("RESTART_INTENSITY", "x"),
    ("RESTART_PERIOD", 0),
    ("CLOSE_TIMEOUT", "soon"),
    *(("PAGE", value) for value in ("perhaps", 65536, -1, [1, 2, 3], [6090, 6080], {}, 80.0, "1,")),
    *(("PAGE_HOST", value) for value in ("", 7, "http://127.0.0.1")),
    *(("BACKEND", value) for value in (["dask"], {})),
    *(("CALLBACKS", value) for value in ([None], [True], [7], {"parse": 1}, "parse-it")),
    *((name, 10**400) for name in ("WORKERS", "NICE", "MAX_PENDING", "MAX_PENDING_BYTES")),
    *((name, 10**400) for name in ("ITEM_TIMEOUT", "RESTART_PERIOD", "CLOSE_TIMEOUT")),
    *((name, 10**400) for name in ("REDELIVER_TIMES", "WORKER_MAX_ITEMS", "PAGE", "ENABLED")),
    *((name, value) for name in ("WORKERS", "ITEM_TIMEOUT") for value in (inf, nan, "inf", "nan")),
    *((name, value) for name in ("DEAD_LETTERS", "REPORT") for value in NO_PATHS),
    *(("DASK_UPLOAD", value) for value in NO_PATHS),
    ("REPORT", f"/{'long' * 100}/report.html"),
    ("DASK_ADDRESS", "a\0b"),
    ("PIPELINES", {"a.B": nan}),
]
#: Names with settings that have a check.
NAMES = [title.removeprefix("MPWORKERS_") for title in (row.title for row in all_settings())]


@pytest.mark.parametrize(("name", "value", "field", "read"), GOOD)
def test_good_values_are_read(name: str, value: Any, field: str, read: Any) -> None:
    pipelines = {"MPWORKERS_PIPELINES": {PATHS[0]: 100}}
    options = read_settings(Settings({f"MPWORKERS_{name}": value, **pipelines}))

    of_the_pool = options.levels[0].pool
    assert getattr(options if hasattr(options, field) else of_the_pool, field) == read


@pytest.mark.parametrize(("name", "value", "read"), GOOD_OF_DASK)
def test_good_values_of_a_backends_own_settings_are_read(name: str, value: Any, read: Any) -> None:
    settings = Settings({f"MPWORKERS_{name}": value})

    read_settings(settings)

    assert read_declared(settings, DaskBackend.settings)[name] == read


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_get_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(SettingError) as refused:
        read_settings(Settings({f"MPWORKERS_{name}": value}))

    sentence = str(refused.value)
    assert sentence.startswith(f"MPWORKERS_{name} is {value!r}, but it must be ")
    assert "\n" not in sentence


class Unreadable:
    """Nothing can be asked of such a value, not even how it is written."""

    def _refuse(self, *_: Any) -> Any:
        raise RuntimeError("no answer")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __fspath__ = __iter__ = _refuse


#: Values without a ``repr``, so none is an argument of a test. Python writes 4,300 digits at most.
UNSHOWN = {"number": 10**5000, "list": [10**5000], "object": Unreadable()}


@pytest.mark.parametrize("kind", UNSHOWN)
@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_cannot_even_be_shown_gets_one_sentence(name: str, kind: str) -> None:
    value = UNSHOWN[kind]
    with pytest.raises(SettingError) as refused:
        read_settings(Settings({f"MPWORKERS_{name}": value}))

    sentence = str(refused.value)
    assert sentence.startswith(f"MPWORKERS_{name} is <{type(value).__name__} that cannot be shown>")
    assert "\n" not in sentence


def test_a_number_that_no_float_can_hold_is_told_the_bound() -> None:
    with pytest.raises(SettingError, match=f"a whole number from 1, up to {sys.maxsize}"):
        read_settings(Settings({"MPWORKERS_MAX_PENDING": 10**400}))


@pytest.mark.parametrize("folder", ["a\0b", 7])
def test_a_journal_in_what_is_no_folder_is_refused_before_the_crawl(folder: Any) -> None:
    with pytest.raises(SettingError, match="set JOBDIR to the path of a folder"):
        read_settings(Settings({"MPWORKERS_JOURNAL": True, "JOBDIR": folder}))


def test_a_journal_without_a_folder_names_the_setting_that_is_missing() -> None:
    with pytest.raises(SettingError, match="set JOBDIR to the folder"):
        read_settings(Settings({"MPWORKERS_JOURNAL": True}))


def test_an_unknown_name_is_warned_of_with_the_nearest(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_names(Settings({"MPWORKERS_WORKER": 3}))

    assert "Did you mean MPWORKERS_WORKERS?" in caplog.text


def test_a_setting_of_another_backend_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    address = {"MPWORKERS_DASK_ADDRESS": "tcp://10.0.0.1:8786", "MPWORKERS_DASK_UPLOAD": ""}

    warn_of_names(Settings(address | {"MPWORKERS_BACKEND": "dask"}))
    assert caplog.text == ""
    warn_of_names(Settings(address))

    [record] = caplog.records
    assert record.getMessage() == (
        "MPWORKERS_DASK_ADDRESS has no effect, as MPWORKERS_BACKEND is 'local'. Set it to 'dask', "
        "or take MPWORKERS_DASK_ADDRESS out"
    )


def test_a_third_partys_backend_declares_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(
        tmp_path,
        "abacus",
        """
        from scrapy_mpworkers.settings import Setting
        from scrapy_mpworkers.validators import count


        class AbacusBackend:
            settings = (Setting("ABACUS_BEADS", 10, count),)
        """,
    )
    install(tmp_path, "broken", "import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(validators, "backends", validators.backends.__wrapped__)
    good, bad = ({"MPWORKERS_ABACUS_BEADS": value} for value in ("7", "seven"))

    warn_of_names(Settings(good | {"MPWORKERS_BACKEND": "abacus"}))
    for backend in ("local", "abacus"):
        chosen = {"MPWORKERS_BACKEND": backend}
        read_settings(Settings(good | chosen))
        with pytest.raises(SettingError, match="MPWORKERS_ABACUS_BEADS is 'seven', but it must be"):
            read_settings(Settings(bad | chosen))

    assert not caplog.records
    declared = validators.backends()["abacus"].load().settings
    assert read_declared(Settings(good), declared) == {"ABACUS_BEADS": 7}
    assert read_declared(Settings(), declared) == {"ABACUS_BEADS": 10}
    assert declared[0] in all_settings()  # which need not say its type and meaning
    warn_of_names(Settings({"MPWORKERS_ABACUS_BEAD": 7}))
    assert "Did you mean MPWORKERS_ABACUS_BEADS?" in caplog.text


def install(folder: Path, name: str, code: str) -> None:
    """Lay down the package of a backend, as pip does."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (folder / f"{name}.py").write_text(dedent(code))
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[scrapy_mpworkers.backends]\n{name} = {name}:{name.capitalize()}Backend\n"
    )


def test_no_backend_is_imported_for_the_names_of_the_core() -> None:
    code = (
        "import sys; from scrapy.settings import Settings; from scrapy_mpworkers import settings; "
        "given = Settings({'MPWORKERS_WORKERS': 2}); settings.warn_of_names(given); "
        "settings.read_settings(given); print('scrapy_mpworkers.backends' in sys.modules); "
        "given = Settings({'MPWORKERS_DASK_ADDRESS': 'a:1'}); settings.read_settings(given); "
        "print('distributed' in sys.modules)"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (printed.stdout.split(), printed.stderr) == (["False", "False"], "")


def test_native_threads_share_the_cpus_unless_the_user_has_set_them() -> None:
    variables = thread_variables(1000, {"OMP_NUM_THREADS": "7"})

    assert "OMP_NUM_THREADS" not in variables
    assert variables["OPENBLAS_NUM_THREADS"] == "1"


def line_of(reactor: dict[str, int], *levels: dict[str, int]) -> list[str]:
    """The pipelines in the order in which an item meets them."""
    described = [{"name": f"level{n}", "pipelines": level} for n, level in enumerate(levels)]
    settings = Settings({"ITEM_PIPELINES": reactor, "MPWORKERS_LEVELS": described})
    options = read_settings(settings)
    if options.levels:
        add_routes(settings, options)
    routes = iter(routes_of(hops_of(settings, options)).values())
    placed = sorted(settings.getdict("ITEM_PIPELINES").items(), key=lambda pair: pair[1])
    line: list[str] = []
    for entry, _ in placed:
        if entry.startswith("scrapy_mpworkers."):
            line += [path for hop in next(routes) for path in hop.entries]
        else:
            line.append(entry)
    return line


OUR_EXTENSION = "scrapy_mpworkers.extension.WorkerExtension"


@pytest.mark.parametrize(
    ("listed", "then"),
    [
        ({}, {OUR_EXTENSION: 0}),
        ({"a.B": 5}, {"a.B": 5, OUR_EXTENSION: 0}),
        ({OUR_EXTENSION: 7}, {OUR_EXTENSION: 7}),
        ({OUR_EXTENSION: None}, {OUR_EXTENSION: None}),
        (
            {"scrapy_mpworkers.WorkerExtension": None},
            {"scrapy_mpworkers.WorkerExtension": None},
        ),
        ({WorkerExtension: 3}, {WorkerExtension: 3}),
        ({f"{__name__}.WorkerExtension": None}, {f"{__name__}.WorkerExtension": None}),
        ({partial(A): 3}, None),
    ],
)
def test_what_the_user_has_set_for_a_component_stays(
    listed: dict[Any, Any], then: dict[Any, Any] | None
) -> None:
    settings = Settings({"EXTENSIONS": listed})

    add_component(settings, "EXTENSIONS", "extension.WorkerExtension", 0)

    expected = {**listed, OUR_EXTENSION: 0} if then is None else then
    assert settings.getdict("EXTENSIONS") == expected


def test_a_run_of_offloaded_neighbours_is_one_hop() -> None:
    settings = Settings(
        {
            "ITEM_PIPELINES": {PATHS[0]: 100, PATHS[3]: 400},
            "MPWORKERS_PIPELINES": {PATHS[1]: 200, PATHS[2]: 300, PATHS[4]: 500},
        }
    )
    options = read_settings(settings)

    add_routes(settings, options)

    assert hops_of(settings, options) == (
        Hop(0, 0, 0, (PATHS[1], PATHS[2])),
        Hop(1, 1, 0, (PATHS[4],)),
    )


def test_neighbours_of_different_levels_are_hops_of_one_route() -> None:
    levels = [
        {"name": "compute", "pipelines": {PATHS[1]: 200, PATHS[3]: 400}},
        {"name": "store", "pipelines": {PATHS[2]: 300, PATHS[4]: 600}},
    ]
    settings = Settings({"ITEM_PIPELINES": {PATHS[0]: 500}, "MPWORKERS_LEVELS": levels})
    options = read_settings(settings)

    add_routes(settings, options)

    assert hops_of(settings, options) == (
        Hop(0, 0, 0, (PATHS[1],)),
        Hop(1, 0, 1, (PATHS[2],)),
        Hop(2, 0, 0, (PATHS[3],)),
        Hop(3, 1, 1, (PATHS[4],)),
    )


@pytest.mark.parametrize("places", list(product([0, 1, 2], repeat=4)))
def test_moving_an_entry_between_settings_and_levels_never_changes_the_order(
    places: tuple[int, ...],
) -> None:
    sides: tuple[dict[str, int], ...] = ({}, {}, {})
    for number, side in enumerate(places):
        sides[side][PATHS[number]] = 100 * number

    assert line_of(*sides) == PATHS[:4]


def test_a_pipeline_in_both_settings_is_refused() -> None:
    with pytest.raises(SettingError, match=r"\.A is in both"):
        line_of({PATHS[0]: 100}, {PATHS[0]: 200})


ROUTE = "scrapy_mpworkers.pipelines.WorkerPipeline"
SECOND = "scrapy_mpworkers.pipelines.Route2"


class Other:
    """An add-on that changes ITEM_PIPELINES as its setting OTHER says; ``None`` takes one out."""

    def update_settings(self, settings: BaseSettings) -> None:
        listed = settings.getdict("ITEM_PIPELINES") | settings.getdict("OTHER")
        kept = {entry: order for entry, order in listed.items() if order is not None}
        settings.set("ITEM_PIPELINES", kept, settings.getpriority("ITEM_PIPELINES") or 0)


def entries_with(order: int, other: dict[str, Any], **listed: Any) -> dict[str, Any]:
    """ITEM_PIPELINES of a crawl with B at 200 and C at 300 in workers, and an add-on of *order*."""
    pipelines = {"MPWORKERS_PIPELINES": {PATHS[1]: 200, PATHS[2]: 300}, "OTHER": other}
    crawler = get_crawler(None, {"ADDONS": {Addon: 500, Other: order}, **pipelines, **listed})
    return dict(crawler.settings["ITEM_PIPELINES"])


@pytest.mark.parametrize(
    ("reactor", "other", "then"),
    [
        ({}, {PATHS[0]: 250}, {PATHS[0]: 250, ROUTE: 200, SECOND: 300}),
        ({}, {PATHS[0]: 350}, {PATHS[0]: 350, ROUTE: 200}),
        ({PATHS[0]: 250}, {PATHS[0]: None}, {ROUTE: 200}),
        ({PATHS[0]: 250}, {PATHS[0]: 100}, {PATHS[0]: 100, ROUTE: 200}),
    ],
)
def test_the_order_is_the_same_wherever_another_addon_stands(
    reactor: dict[str, Any], other: dict[str, Any], then: dict[str, Any]
) -> None:
    assert entries_with(400, other, ITEM_PIPELINES=reactor) == then
    assert entries_with(600, other, ITEM_PIPELINES=reactor) == then


@pytest.mark.parametrize(
    ("reactor", "other", "then"),
    [
        ({}, {ROUTE: 900, PATHS[0]: 250}, {ROUTE: 900, PATHS[0]: 250}),
        ({}, {ROUTE: None, PATHS[0]: 250}, {PATHS[0]: 250}),
        ({ROUTE: 700}, {PATHS[0]: 250}, {ROUTE: 700, PATHS[0]: 250}),
        ({ROUTE: None}, {PATHS[0]: 250}, {PATHS[0]: 250}),
    ],
)
def test_a_route_that_somebody_has_moved_stays_where_it_is(
    reactor: dict[str, Any], other: dict[str, Any], then: dict[str, Any]
) -> None:
    assert entries_with(600, other, ITEM_PIPELINES=reactor) == then


def test_a_pipeline_that_an_addon_behind_ours_lists_as_well_is_refused() -> None:
    with pytest.raises(SettingError, match=r"\.B is in both"):
        entries_with(600, {PATHS[1]: 200})


def test_a_hop_placed_by_hand_takes_all_pipelines() -> None:
    settings = Settings(
        {
            "ITEM_PIPELINES": {"scrapy_mpworkers.WorkerPipeline": 300, PATHS[0]: 100},
            "MPWORKERS_PIPELINES": {PATHS[1]: 50, PATHS[2]: 900},
        }
    )
    options = read_settings(settings)

    add_routes(settings, options)

    assert hops_of(settings, options) == (Hop(0, 0, 0, (PATHS[1], PATHS[2])),)


def levels_of(*levels: Any, **settings: Any) -> tuple[LevelSettings, ...]:
    return read_settings(Settings({"MPWORKERS_LEVELS": list(levels), **settings})).levels


def test_a_level_overrides_settings_of_its_pool_by_their_lower_case_names() -> None:
    compute, store = levels_of(
        {"name": "compute", "pipelines": {PATHS[0]: 100}},
        {"name": "store", "pipelines": {PATHS[1]: 200}, "workers": 1, "item_timeout": 5},
        MPWORKERS_WORKERS=3,
        MPWORKERS_ITEM_TIMEOUT=60,
    )

    assert (compute.pool.workers, compute.pool.item_timeout) == (3, 60.0)
    assert (store.pool.workers, store.pool.item_timeout) == (1, 5.0)


def test_no_workers_at_all_is_for_every_level() -> None:
    (level,) = levels_of(
        {"name": "a", "pipelines": {PATHS[0]: 100}, "workers": 4}, MPWORKERS_WORKERS=0
    )

    assert level.pool.workers == 0


ONE = {"name": "a", "pipelines": {PATHS[0]: 100}}
BAD_LEVELS = [
    ([{**ONE, "work": 3}], "in the level 'a', 'work' is no setting. Did you mean 'workers'?"),
    ([{**ONE, "workers": -1}], "in the level 'a', workers is -1, but it must be"),
    ([{**ONE, "key": 7}], "in the level 'a', key is 7, but it must be"),
    ([{**ONE, "batch_size": "big"}], "batch_size is 'big', but it must be"),
    ([{**ONE, "wait": "later"}], "wait is 'later', but it must be True or False"),
    ([{**ONE, "name": "items"}], "the name of a level is 'items', but it must be"),
    ([{"pipelines": {PATHS[0]: 100}}], "the name of a level is None, but it must be"),
    ([ONE, {**ONE, "pipelines": {PATHS[1]: 1}}], "two levels are called 'a'"),
    ([ONE, {**ONE, "name": "b"}], "two levels list"),
    ("compute", "MPWORKERS_LEVELS is 'compute', but it must be a list of levels"),
    ({"name": "a"}, "but it must be a list of levels"),
]


@pytest.mark.parametrize(("levels", "sentence"), BAD_LEVELS)
def test_bad_levels_get_one_sentence(levels: Any, sentence: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_settings(Settings({"MPWORKERS_LEVELS": levels}))

    assert sentence in str(refused.value)
    assert str(refused.value).startswith("MPWORKERS_LEVELS")


def test_both_forms_at_once_are_refused() -> None:
    with pytest.raises(SettingError, match="both set"):
        levels_of(ONE, MPWORKERS_PIPELINES={PATHS[1]: 100})


def test_levels_may_come_from_a_command_line() -> None:
    settings = Settings({"MPWORKERS_LEVELS": json.dumps([ONE])})

    assert read_settings(settings).levels[0].name == "a"


@pytest.mark.parametrize("missing", ["h11", "platformdirs"])
def test_a_page_without_its_extra_is_refused_with_the_command_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(SettingError) as refused:
        read_settings(Settings({"MPWORKERS_PAGE": True}))

    assert str(refused.value) == (
        f"MPWORKERS_PAGE is True, but it must be False while {missing} cannot be imported: "
        "pip install 'scrapy-mpworkers[page]'."
    )
    assert read_settings(Settings({"MPWORKERS_PAGE": False})).page is None
