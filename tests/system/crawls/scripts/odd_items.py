"""Classes that are not found under their own names, in a module that anybody can import."""

import collections
import dataclasses
import enum
import functools
import typing

import attrs
import pydantic
import scrapy

Product = dataclasses.make_dataclass("Made", [("n", int), ("a", int)])  # of the module "types"
Model = pydantic.create_model("CreatedModel", n=(int, ...), a=(int, ...))
Row = type("Another", (scrapy.Item,), {"n": scrapy.Field(), "a": scrapy.Field()})
Point = collections.namedtuple("P", "n a")
Colour = enum.Enum("Tint", "RED GREEN", module="nowhere")


def registered(cls):
    """A decorator that leaves something else under the name."""
    return functools.partial(cls)


@registered
@dataclasses.dataclass
class Decorated:
    n: int
    a: int


@dataclasses.dataclass
class Shadowed:
    n: int
    a: int


FIRST = Shadowed


@dataclasses.dataclass
class Shadowed(FIRST):  # noqa: F811
    b: int = 0


@dataclasses.dataclass
class Rebound:
    n: int
    a: int


def local_class():
    @dataclasses.dataclass
    class Local:
        n: int
        a: int
        colour: object = None

        class Shade(enum.Enum):
            DARK = 1

    return Local


def local_objects():
    """One of each kind of item and of value, of classes that are local to a function."""

    class Model(pydantic.BaseModel):
        n: int
        a: int = 0

    class Row(scrapy.Item):
        n = scrapy.Field()
        a = scrapy.Field()

    @attrs.define
    class Attrs:
        n: int
        a: int = 0

    @dataclasses.dataclass(slots=True, frozen=True)
    class Frozen:
        n: int
        a: int = 0

    class Flags(enum.IntFlag):
        A = 1
        B = 2

    class Pair(typing.NamedTuple):
        n: int
        a: int = 0

    class Text(str):
        __slots__ = ()

    created = pydantic.create_model("Created", n=(int, ...), a=(int, 0))
    own = [Model(n=1), Row(n=1, a=0), Attrs(1), Frozen(1), Pair(1), created(n=1)]
    return [*own, Flags.A | Flags.B, Text("t")]


CHANGED = ("Product", "FIRST", "decorated", "rebound", "local", "local_Attrs", "local_Model")


class Work:
    """Works on each kind, as the module's own code would."""

    own = local_class()

    def process_item(self, item):
        it = item["it"]
        item["name"] = type(it).__name__
        if item["kind"] in ("Product", "Model", "Row", "Point", "Colour", "FIRST"):
            # By whatever name: it is the class that this module has.
            assert type(it) is globals()[item["kind"]], type(it)
        if item["kind"] == "local":
            it.colour = type(it).Shade.DARK
        if item["kind"] == "made_there":
            item["it"] = [self.own(1, 2), Product(1, 2), Colour.GREEN, self.own.Shade.DARK]
        elif item["kind"] in CHANGED:
            it.a += 1
        return item
