"""Pydantic items, plain and with rules that must not run a second time."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator

from ..case import Case, Expected
from .kinds import TEN, Measure
from .outputs import REPLACED
from .spiders import WORDS, WordSpider


class WordModel(BaseModel):
    n: int
    word: str
    length: int | None = None
    tags: list[str] = []


class ShoutingModel(BaseModel):
    """Each assignment adds a mark: an assignment that the pipeline did not make would show."""

    model_config = ConfigDict(validate_assignment=True)

    n: int
    word: str
    length: int | None = None

    @field_validator("word")
    @classmethod
    def shout(cls, word: str) -> str:
        return word + "!"


class OpenModel(BaseModel):
    """Has all the places where pydantic keeps state."""

    model_config = ConfigDict(extra="allow")

    n: int
    word: str = "none"
    length: int | None = None
    _history: list[str] = PrivateAttr(default_factory=list)


class FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True)

    n: int
    word: str
    inner: WordModel | None = None


class ModelSpider(WordSpider):
    def make(self, n: int) -> Any:
        return WordModel(n=n, word=WORDS[n], tags=["a"])


class ShoutingSpider(WordSpider):
    def make(self, n: int) -> Any:
        return ShoutingModel(n=n, word=WORDS[n])


class OpenSpider(WordSpider):
    def make(self, n: int) -> Any:
        return OpenModel(n=n, colour="red")


class FrozenModelSpider(WordSpider):
    def make(self, n: int) -> Any:
        return FrozenModel(n=n, word=WORDS[n], inner=WordModel(n=n, word="inner"))


class ChangeEverywhere:
    def process_item(self, item: OpenModel) -> OpenModel:
        item.length = 3
        item._history.append("measured")
        item.shape = "round"  # type: ignore[attr-defined]
        return item


class CopyModel:
    def process_item(self, item: FrozenModel) -> FrozenModel:
        if item.inner:
            item.inner.tags.append("changed inside")
        return item.model_copy(update={"word": item.word.upper()})


class FailValidation:
    """Assigns what the model refuses: a pydantic error has no Python constructor."""

    def process_item(self, item: ShoutingModel) -> ShoutingModel:
        if item.n % 2:
            item.length = "long"  # type: ignore[assignment]
        return item


CASES = [
    Case("pydantic_items", ModelSpider, {Measure: 300}, TEN),
    Case("pydantic_validate_assignment", ShoutingSpider, {Measure: 300}, TEN),
    Case("pydantic_extra_private_and_set_fields", OpenSpider, {ChangeEverywhere: 300}, TEN),
    Case(
        "pydantic_frozen_copies",
        FrozenModelSpider,
        {CopyModel: 300},
        TEN,
        not_compared=REPLACED,
    ),
    Case(
        "pydantic_validation_errors",
        ShoutingSpider,
        {FailValidation: 300},
        Expected(scraped=5, failed=5),
    ),
]
