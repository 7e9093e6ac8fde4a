"""Definitions: classes and functions that cross by value, since a worker could not import them.

Each crosses once to each worker and has a number, by which frames refer to it.
"""

from __future__ import annotations

import io
import itertools
import logging
import pickle
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from scrapy_mpworkers.wire.fingerprint import fingerprint
from scrapy_mpworkers.wire.importing import Binding, Definable, Importing, imported

logger = logging.getLogger(__name__)

MANY = 200  # definitions of one name: nobody writes so many, but code that runs again makes them


class Definitions:
    """The parent's register of definitions.

    What ``__main__`` defines is among them: a worker never runs the user's ``__main__`` again.
    """

    _free_numbers = itertools.count()  # of all crawls, which may share their workers

    def __init__(self, importing: Importing) -> None:
        self.blobs: dict[int, bytes] = {}
        self.objects: dict[int, Any] = {}
        #: by id, what workers can import; looked up for each item
        self.importable: dict[int, Definable] = {}
        self._importing = importing
        self._numbers: dict[int, int] = {}  # by id; the objects are kept above
        self._within: dict[int, tuple[int, ...]] = {}
        self._made: Counter[str] = Counter()  # by module and qualified name

    def number_of(self, obj: Definable) -> int | None:
        """Return the number of *obj*; ``None``: it is to be pickled by its name.

        A function without a name, a lambda above all, is left to fail: plain data is what belongs
        in items, and the error names the field.
        """
        number = self._numbers.get(id(obj))
        if number is not None:
            return number
        if isinstance(obj, FunctionType) and "<" in obj.__qualname__:
            return None
        if self._importing.finds(obj):
            self.importable[id(obj)] = obj
            return None
        return self.number(obj)

    def knows(self, obj: Definable) -> bool:
        """Return whether *obj* has a number, or workers can import it."""
        if id(obj) in self._numbers or self._importing.finds(obj):
            return True
        return self._importing.elsewhere(obj) is not None

    def number(self, obj: Any) -> int:
        """Return the number of *obj*, which is pickled by value when it is met first."""
        number = self._numbers.get(id(obj))
        return self._define(obj) if number is None else number

    def needs(self, number: int) -> dict[int, None]:
        """Return the numbers that a frame needs which refers to *number*.

        The classes within are among them: a worker may make objects of these.
        """
        needed = {number: None}
        rest = [number]
        while rest:
            new = [one for one in self._within.get(rest.pop(), ()) if one not in needed]
            needed.update(dict.fromkeys(new))
            rest += new
        return needed

    def has_aged(self) -> bool:
        """Return whether a name means something else by now: another attempt may succeed."""
        aged = [key for key, obj in self.importable.items() if not self._importing.finds(obj)]
        for key in aged:
            del self.importable[key]
        return bool(aged)

    def _define(self, obj: Any) -> int:
        binding = self._importing.elsewhere(obj)
        pickler, blob = _ByValue(obj, self._importing), None
        try:
            blob = pickler.dumps()
        except Exception:
            if binding is None:
                raise
            pickler.within.clear()
        number = self._numbers[id(obj)] = next(self._free_numbers)
        self.objects[number] = obj
        self._count(obj)
        self.blobs[number] = pickle.dumps(_Imported(obj, binding, blob)) if binding else blob or b""
        numbers = []
        for part in pickler.within:
            with suppress(Exception):  # alone it may not cross; then nothing refers to it
                numbers.append(self.number(part))
        self._within[number] = tuple(numbers)
        return number

    def _count(self, obj: Any) -> None:
        name = f"{getattr(obj, '__module__', None)}.{obj.__qualname__}"
        self._made[name] += 1
        if self._made[name] == MANY:
            logger.warning(
                "%s has been made %d times, and each one is kept here and in every worker until "
                "the crawl ends. Make it once, at module level.",
                name,
                MANY,
            )


class _Imported:
    """Unpickles in a worker to an object that it imports, or, if it cannot, makes from *blob*."""

    def __init__(self, obj: Any, binding: Binding, blob: bytes | None) -> None:
        self._wire = (*binding, obj.__qualname__, blob, fingerprint(obj))

    def __reduce__(self) -> Any:
        return imported, self._wire


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one class or function by value, with all of its kind that it refers to.

    cloudpickle takes it that whatever is in ``sys.modules`` can be imported elsewhere, unless a
    module is registered with it.
    """

    def __init__(self, obj: Any, importing: Importing) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=5)
        self._obj = obj
        self._importing = importing
        self._luggage = Luggage(importing)
        self.within: list[type] = []  #: classes that crossed along

    def dumps(self) -> bytes:
        with self._luggage:
            self.dump(self._obj)
        return self._file.getvalue()

    def reducer_override(self, part: Any) -> Any:
        """Tell cloudpickle what it has to know of *part*, or reduce it here."""
        self._luggage.take_along(part)
        if isinstance(part, type) and part is not self._obj and not self._importing.finds(part):
            binding = self._importing.elsewhere(part)
            if binding is not None:
                return imported, (*binding, part.__qualname__, None, fingerprint(part))
            self.within.append(part)
        return super().reducer_override(part)


class Luggage(ExitStack):
    """Modules that cloudpickle is told not to import, for as long as one pickle takes."""

    def __init__(self, importing: Importing) -> None:
        super().__init__()
        self._importing = importing

    def take_along(self, part: Any) -> None:
        """Register the module of *part*, if no worker can import that."""
        if isinstance(part, ModuleType):
            self._register(part.__name__)
        elif isinstance(part, (type, FunctionType)):
            self._register(part.__module__)

    def _register(self, name: str | None) -> None:
        known = cloudpickle.list_registry_pickle_by_value()
        if name is None or name in known or name == "__main__":  # which cloudpickle knows
            return
        if self._importing.is_foreign(name):
            cloudpickle.register_pickle_by_value(sys.modules[name])
            self.callback(cloudpickle.unregister_pickle_by_value, sys.modules[name])
