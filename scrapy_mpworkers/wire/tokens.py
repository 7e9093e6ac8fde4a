"""Tokens stand in a frame for objects that do not travel as they are.

The other side puts its own object in the place of a token.

==============  ==========================  =================================================
token           stands for                  in a worker / back in Scrapy's process
==============  ==========================  =================================================
``shared``      spider, crawler, settings   the worker's own / the crawl's own
``response``    a Response, going down      one without request and selector
``handle``      that Response, going on     the worker's own / the very Response that was shipped
``at_home``     what cannot cross at all    a stand-in / it goes back as a ``handle``
``defined``     what cannot be imported     sent by value, to each worker once / the same object
``in_main``     of ``__main__``, never sent — / looked up in ``__main__`` by name
==============  ==========================  =================================================
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from scrapy.http import Response, TextResponse


def plain_response(arrived: Response) -> dict[str, Any]:
    """Return the arguments from which the other side makes the response again."""
    # The request drags callbacks and meta along; a certificate is an OpenSSL object. To detect an
    # encoding takes milliseconds, and the other side would have it as a declared one.
    stays = ("request", "certificate", "encoding")
    kept = {name: getattr(arrived, name) for name in arrived.attributes if name not in stays}
    return kept if not isinstance(arrived, TextResponse) else kept | {"encoding": arrived._encoding}


def made_response(
    cls: type[Response], kwargs: Mapping[str, Any], attributes: Mapping[str, Any] | None = None
) -> Response:
    """Make a response again from what :func:`plain_response` says, and set *attributes*, which
    those have that go to a callback."""
    made = cls(**kwargs)
    for name, value in (attributes or {}).items():
        setattr(made, name, value)
    return made


def find_in_main(qualname: str) -> Any:
    """Return what has this name in this process's ``__main__``."""
    return attrgetter(qualname)(sys.modules["__main__"])


def _token(name: str) -> Callable[..., Any]:
    def token(*args: Any) -> Any:
        raise NotImplementedError(name)  # it is a name in frames; an unpickler has its own function

    token.__name__ = token.__qualname__ = name
    return token


shared, response, handle, at_home, defined, in_main = map(
    _token, ("shared", "response", "handle", "at_home", "defined", "in_main")
)
ALL = frozenset({shared, response, handle, at_home, defined, in_main})
#: Tokens that only Scrapy's process knows, if a worker has left them.
HOME = frozenset({defined, in_main})
