"""The harness itself: what it compares, it tells apart; what breaks it, it survives."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from .case import Case, Expected
from .cases.saboteurs import EXIT_CODE
from .cases.spiders import WordSpider
from .catalogue import CASES
from .combos import EVERY, METHODS, MODES, Combo, combos_of, is_plain
from .compare import ASPECTS, broken_books, differences, unmet_expectations
from .describe import describe
from .launch import record

TWO_ITEMS = Case(
    "two", WordSpider, {}, Expected(scraped=1, dropped=1), submitted=2, callbacks=True, called=3
)


def an_outcome(**changed: Any) -> dict[str, Any]:
    """What two crawls of one scraped and one dropped item could have in common."""
    pool = {
        "mpworkers/items/submitted": 2,
        "mpworkers/items/done": 1,
        "mpworkers/items/dropped": 1,
        "mpworkers/hops/0/submitted": 2,
        "mpworkers/hops/0/done": 1,
        "mpworkers/hops/0/dropped": 1,
        "mpworkers/callbacks/submitted": 3,
        "mpworkers/callbacks/done": 2,
        "mpworkers/callbacks/failed": 1,
        "mpworkers/workers/started": 2,
        "mpworkers/bytes/shipped": 100,
    }
    lines = {aspect: [f"{aspect} 1", f"{aspect} 2", f"{aspect} 2"] for aspect in ASPECTS}
    counted = {"feed": ["{}"], "scraped": ["a"], "dropped": ["b"], "failed": []}
    return {**lines, **counted, "pool": pool, "own_lines": [], **changed}


class TestComparing:
    def test_equal_outcomes_do_not_differ_whatever_their_order(self) -> None:
        turned = {key: list(reversed(value)) for key, value in an_outcome(pool=[]).items()}

        assert differences(an_outcome(), turned) == []

    @pytest.mark.parametrize("aspect", ASPECTS)
    def test_a_changed_line_shows_in_every_aspect(self, aspect: str) -> None:
        inline = an_outcome(**{aspect: ["one", "two"]})
        offloaded = an_outcome(**{aspect: ["one", "three"]})

        assert differences(inline, offloaded) == [
            f"{aspect}: only inline (1 times): two",
            f"{aspect}: only offloaded (1 times): three",
        ]

    @pytest.mark.parametrize("aspect", ASPECTS)
    def test_a_line_told_once_too_often_or_not_at_all_shows(self, aspect: str) -> None:
        once, twice = an_outcome(**{aspect: ["one"]}), an_outcome(**{aspect: ["one", "one"]})

        assert differences(once, twice) == [f"{aspect}: only offloaded (1 times): one"]
        assert differences(twice, once) == [f"{aspect}: only inline (1 times): one"]

    def test_an_aspect_that_no_rule_fixes_is_left_out_and_no_other(self) -> None:
        offloaded = an_outcome(identity=["other"], logs=["other"])

        found = differences(an_outcome(), offloaded, {"identity"})

        assert found
        assert all(line.startswith("logs: ") for line in found)


class TestExpecting:
    def test_what_the_case_says_is_met(self) -> None:
        assert unmet_expectations(TWO_ITEMS, an_outcome(pool={})) == []

    @pytest.mark.parametrize("aspect", ["scraped", "dropped", "failed", "feed"])
    def test_another_number_of_items_is_not(self, aspect: str) -> None:
        inline = an_outcome(**{aspect: ["x", "y", "z"]}, pool={})

        assert len(unmet_expectations(TWO_ITEMS, inline)) == 1

    def test_an_inline_crawl_with_workers_is_not_inline(self) -> None:
        assert unmet_expectations(TWO_ITEMS, an_outcome())

    def test_every_case_expects_something_to_cross(self) -> None:
        assert all(case.expected_submitted + case.called > 0 for case in CASES)


class TestBooks:
    def test_balanced_books_are_not_broken(self) -> None:
        assert broken_books(TWO_ITEMS, an_outcome()) == []

    def test_a_crawl_that_used_no_workers_is_told(self) -> None:
        assert broken_books(TWO_ITEMS, an_outcome(pool={}))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("items/submitted", 3),
            ("hops/0/submitted", 3),
            ("hops/0/failed", 1),
            ("hops/1/submitted", 1),
            ("items/done", 0),
            ("items/failed", 1),
            ("items/dead_lettered", 1),
            ("callbacks/submitted", 4),
            ("callbacks/done", 3),
            ("callbacks/dead_lettered", 1),
            ("workers/started", 0),
            ("workers/deaths", 1),
            ("bytes/shipped", 0),
        ],
    )
    def test_each_figure_out_of_place_is_told(self, key: str, value: int) -> None:
        pool = {**an_outcome()["pool"], f"mpworkers/{key}": value}

        assert broken_books(TWO_ITEMS, an_outcome(pool=pool))

    def test_a_callback_that_stays_at_home_is_told(self) -> None:
        line = "WARNING The callback parse runs in Scrapy's own process from now on: for fun"

        assert broken_books(TWO_ITEMS, an_outcome(own_lines=[line]))


@dataclasses.dataclass
class Data:
    n: int
    parts: list[int]


@dataclasses.dataclass(slots=True)
class Slotted:
    n: int


class Number(int):
    pass


class TestDescribing:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
            ({"a": 1}, {"a": True}),
            ({"a": 1}, {"a": Number(1)}),
            ({"a": (1, 2)}, {"a": [1, 2]}),
            ({"a": "1"}, {"a": b"1"}),
            ({"a": set()}, {"a": frozenset()}),
            (Data(1, [2]), Data(1, [3])),
            (Slotted(1), Slotted(2)),
            (Data, Slotted),
        ],
    )
    def test_values_that_are_not_the_same_read_differently(self, one: Any, other: Any) -> None:
        assert describe(one) != describe(other)

    def test_sharing_reads_differently_from_equality(self) -> None:
        shared = [1]

        assert describe({"a": shared, "b": shared}) == "{'a': [1], 'b': <same as itself['a']>}"
        assert describe({"a": [1], "b": [1]}) == "{'a': [1], 'b': [1]}"

    def test_a_shared_immutable_value_reads_like_an_equal_one(self) -> None:
        shared = frozenset([1])

        assert describe([shared, shared]) == describe([frozenset([1]), frozenset([1])])

    def test_an_object_reads_by_its_state_and_never_by_its_address(self) -> None:
        name = f"{Data.__module__}.Data"

        assert describe(Data(1, [2])) == f"{name}('n': 1, 'parts': [2])"
        assert "0x" not in describe([object(), Data(1, [])]).replace("0x…", "")

    def test_a_known_object_reads_as_what_it_is_known_for(self) -> None:
        known = object()

        assert describe([known], {id(known): "<known>"}) == "[<known>]"


class TestCombining:
    def test_each_case_meets_one_combination_but_of_many_that_are_alike_only_some_do(self) -> None:
        for index, case in enumerate(CASES):
            plain = [combo for combo in combos_of(case) if is_plain(index, case, combo)]

            assert len(plain) == (not case.alike or index % EVERY == 0)

    def test_every_pair_of_mode_and_method_has_cases(self) -> None:
        plain = Counter(
            combo
            for index, case in enumerate(CASES)
            for combo in combos_of(case)
            if is_plain(index, case, combo)
        )

        assert set(plain) == {Combo(mode, method) for mode in MODES for method in METHODS}

    def test_names_of_cases_are_unique(self) -> None:
        assert max(Counter(case.name for case in CASES).values()) == 1


class TestLaunching:
    """A runner that breaks costs the case that broke it, and no other."""

    @pytest.mark.full
    def test_broken_runners_are_told_and_the_next_case_goes_on(self) -> None:
        cases = ["hangs", "dies", "raises_at_opening"]

        recordings, _ = record(Combo("none", "fork"), cases, deadline=3.0)

        problems = {name: recording.problem or "" for name, recording in recordings.items()}
        assert list(problems) == cases
        assert problems["hangs"] == "in the inline crawl the runner ended with exit code 1"
        assert "in process_item" in recordings["hangs"].log  # the traceback of where it hung
        assert (
            problems["dies"] == f"in the inline crawl the runner ended with exit code {EXIT_CODE}"
        )
        assert problems["raises_at_opening"].startswith("the inline crawl raised")
        assert "does not open" in problems["raises_at_opening"]

    @pytest.mark.full
    def test_a_runner_that_keeps_dying_is_given_up_and_told(self) -> None:
        recordings, _ = record(Combo("no_such_mode", "fork"), ["dict_items"])

        problem = recordings["dict_items"].problem or ""
        assert problem.startswith("not run")
        assert "KeyError: 'no_such_mode'" in recordings["dict_items"].log
