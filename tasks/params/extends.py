"""`extends: NAME`: an entry starts from another one of the same section."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.basics import BadInput, suggestion


@dataclass(frozen=True)
class Written:
    """Where an entry is written. place: by its file, as messages call it; joint: between it and a key."""

    place: str
    joint: str
    read: Callable[[], Any]


@dataclass(frozen=True)
class Entry:
    """An entry with what it extends filled in. parents: the nearest first."""

    name: str
    written: Written
    parents: tuple[str, ...]
    settings: Mapping[str, Any]

    def message(self, fault: tuple[str, str]) -> str:
        """A fault (key, what is wrong) with the whole path of the key."""
        key, text = fault
        extends = f" (extends {', which extends '.join(self.parents)})" if self.parents else ""
        joint = (": " if self.parents else self.written.joint) if key else ""
        return f"{self.written.place}{extends}{joint}{key}: {text}"


def resolved(entries: Mapping[str, Written], name: str) -> Entry:
    """The entry `name` of a section. Raises BadInput for a parent that is not there, and for a circle."""
    chain, layers = [name], []
    while True:
        written = entries[chain[-1]]
        if not isinstance(layer := written.read(), dict):
            raise BadInput(f"{written.place}: expected settings (key: value), found {layer!r:.80}")
        layers.append({key: value for key, value in layer.items() if key != "extends"})
        if (parent := layer.get("extends")) is None:
            break
        at = f"{written.place}{written.joint}extends"
        if not isinstance(parent, str) or parent not in entries:
            near = suggestion(str(parent), entries)
            raise BadInput(f"{at}: there is no {parent!r:.80}.{near} Valid: {', '.join(entries)}")
        if parent in chain:
            raise BadInput(
                f"{at}: a circle: {' extends '.join([*chain, parent])}. One of them must not extend another."
            )
        chain.append(parent)
    settings = layers.pop()
    while layers:
        settings = merged(settings, layers.pop())
    return Entry(name, entries[name], tuple(chain[1:]), settings)


def merged(parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """A parent's settings with the child's in their place: mappings merge, null removes, anything else replaces.

    The parent's keys stay in its order and new ones follow; a child that names all of them gives its own order.
    """
    order = child if parent.keys() <= child.keys() else {**parent, **child}
    return {
        key: _merged_value(parent.get(key), child[key]) if key in child else parent[key]
        for key in order
        if not (key in parent and key in child and child[key] is None)
    }


def _merged_value(parent: Any, child: Any) -> Any:
    return merged(parent, child) if isinstance(parent, dict) and isinstance(child, dict) else child
