"""Recognizes what items change but is no memory: caches, and targets that each item begins anew."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from scrapy_mpworkers.lint.accesses import Access, AccessKind, Uses
from scrapy_mpworkers.lint.code import GIVEN, Function
from scrapy_mpworkers.lint.source import Source
from scrapy_mpworkers.lint.syntax import find, mentions, names_in

#: Usual names of an item. That a call and a key both use the item does not link them.
_ITEMS = frozenset({"item", "adapter", "data", "row"})
#: The uses of a target in a method: whether each assigns or reads.
_Met = dict[ast.AST, AccessKind]
_ASKING = frozenset({AccessKind.MEMBER, AccessKind.LOOK_UP})
_ALLOWED = _ASKING | {AccessKind.LENGTH, AccessKind.CLEAR, AccessKind.STORE, AccessKind.TAKE}


def is_cache(changes: Uses, items: Uses) -> bool:
    """Return whether changes only fill in, by key, what was missing and can be computed again."""
    if any(access.kind is not AccessKind.STORE for access in changes):
        return False
    if any(access.kind not in _ALLOWED for access in items if access.kind is not AccessKind.ASSIGN):
        return False
    filled = all(_is_computed(access) and _is_asked_for(access, items) for access in changes)
    return filled and not any(_decides(access) for access in items)


def _is_computed(access: Access) -> bool:
    """Return whether it is ``self.x[key] = f(key)``, also by way of locals."""
    value = _resolved(access.value, access.function)
    if access.key is None or value is None or mentions(value, access.node):
        return False
    if isinstance(value, ast.Subscript) and _is_member(value.value, access.function):
        return ast.unparse(value.slice) == ast.unparse(access.key)  # self.db[name]
    calls = find(value, ast.Call)
    if calls and any(word in access.target.lower() for word in ("cache", "memo")):
        return True
    called_on = [call.func.value for call in calls if isinstance(call.func, ast.Attribute)]
    if any(_is_member(one, access.function) for one in called_on):
        return True  # self.cursor.fetchone()
    return any(_is_given(call, access.key, access.function) for call in calls)


def _is_given(call: ast.Call, key: ast.expr, function: Function) -> bool:
    """Return whether the call is given the key, or what the key is made of."""
    given = [*call.args, *(one.value for one in call.keywords)]
    if any(ast.unparse(key) in ast.unparse(one) for one in given):
        return True
    made_of = _resolved(key, function)
    parts = names_in(made_of) if made_of else set()
    used = set[str]().union(*map(names_in, given))
    return bool((parts - _ITEMS - function.own_names) & used)


def _is_member(node: ast.expr, function: Function) -> bool:
    root = node.value if isinstance(node, ast.Attribute) else None
    return isinstance(root, ast.Name) and root.id in function.own_names


def _is_asked_for(change: Access, items: Uses) -> bool:
    """Return whether it is filled only where it was looked into before: ``if key not in it``."""
    if change.method == "setdefault":
        return True
    function = change.function
    asking = [one for one in items if one.function is function and one.kind in _ASKING]
    if asking and find(function.ancestors(change.node), (ast.If, ast.ExceptHandler)):
        return True
    for access in asking:
        for branch in find(function.ancestors(access.node), ast.If)[:1]:
            if find(branch.body, ast.Return):
                return True  # if key in self.x: return self.x[key]
    return False


def _decides(access: Access) -> bool:
    """Return whether an item depends on what is there: ``if key in self.x: raise DropItem``."""
    if access.kind not in _ASKING:
        return False
    before: ast.AST = access.node
    for node in access.function.ancestors(access.node):
        is_tested = isinstance(node, ast.If) and node.test is before
        if is_tested and any(find(part, ast.Raise) for part in node.body):  # type: ignore[attr-defined]
            return True
        before = node
    return False


def _resolved(value: ast.expr | None, function: Function) -> ast.expr | None:
    if isinstance(value, ast.Name):
        computed = [one for one in function.values.get(value.id, []) if find(one, ast.Call)]
        return computed[-1] if computed else None
    return value


def begins_anew(items: Uses, source: Source) -> bool:
    """Return whether a method binds the target first, and then calls all others that use it."""
    users = {access.function for access in items}
    return any(_is_first(function, items, users, source) for function in users)


def is_built_as_a_whole(changes: Uses, items: Uses) -> bool:
    """Return whether one method makes and fills the target, and is given nothing of an item."""
    function = changes[0].function
    if any(access.function is not function for access in changes):
        return False
    return not set(function.parameters) - GIVEN and assigns_first(function, items)


def assigns_first(function: Function, items: Uses) -> bool:
    own = [access for access in items if access.function is function]
    met = {access.node: AccessKind.READ for access in own}
    met |= {access.node: AccessKind.ASSIGN for access in own if access.kind is AccessKind.ASSIGN}
    return _first_of(function.node.body, met) is AccessKind.ASSIGN


def _is_first(function: Function, items: Uses, users: set[Function], source: Source) -> bool:
    if not assigns_first(function, items):
        return False
    if function.owner is None or not users.issubset(source.reachable([function.name])):
        return False
    own = [access for access in items if access.function is function]
    begin = min(access.top.lineno for access in own if access.kind is AccessKind.ASSIGN)  # type: ignore[attr-defined]
    # None of the methods that use the target is called before that line.
    names = {one.name for one in users} - {function.name}
    members = find(function.nodes, ast.Attribute)
    return not any(node.lineno < begin and node.attr in names for node in members)


def _first_of(body: Sequence[ast.stmt], met: _Met) -> AccessKind | None:
    return next((kind for one in body if (kind := _first_in(one, met))), None)


def _first_in(statement: ast.stmt, met: _Met) -> AccessKind | None:
    if isinstance(statement, ast.If):
        return _first_in_branches(statement, met)
    if isinstance(statement, (ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.While, ast.Try)):
        head = [n for n in ast.iter_child_nodes(statement) if not isinstance(n, ast.stmt)]
        if any(not isinstance(n, ast.ExceptHandler) and _reads(n, met) for n in head):
            return AccessKind.READ
        return _first_of(statement.body, met)
    if _reads(statement, met):
        return AccessKind.READ
    return next((met[node] for node in ast.walk(statement) if node in met), None)


def _first_in_branches(statement: ast.If, met: _Met) -> AccessKind | None:
    first = _first_of(statement.body, met), _first_of(statement.orelse, met)
    if AccessKind.READ in first or _reads(statement.test, met):
        return AccessKind.READ
    # One branch may assign and the other leave; an if without else is taken at its word only if
    # all that is done with the target is done inside.
    branches = zip(first, (statement.body, statement.orelse), strict=True)
    is_settled = all(kind is AccessKind.ASSIGN or _leaves(body) for kind, body in branches)
    inside = set(ast.walk(statement))
    is_all = all(node in inside for node, kind in met.items() if kind is AccessKind.READ)
    return AccessKind.ASSIGN if AccessKind.ASSIGN in first and (is_settled or is_all) else None


def _leaves(body: Sequence[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue))


def _reads(tree: ast.AST, met: _Met) -> bool:
    return any(met.get(node) is AccessKind.READ for node in ast.walk(tree))
