"""`extends: NAME`: an entry of a section starts from another one of the same section."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.basics import BadInput, suggestion


@dataclass(frozen=True)
class Entry:
    """An entry with what it extends filled in. section: as messages call it; parents: the nearest first."""

    section: str
    name: str
    parents: tuple[str, ...]
    settings: Mapping[str, Any]

    def message(self, fault: tuple[str, str]) -> str:
        """A fault (key, what is wrong) with the whole path of the key."""
        key, text = fault
        extends = f" (extends {', which extends '.join(self.parents)})" if self.parents else ""
        joint = (": " if self.parents else ".") if key else ""
        return f"{self.section}.{self.name}{extends}{joint}{key}: {text}"


def resolved(section: str, entries: Mapping[str, Any], name: str) -> Entry:
    """The entry `name` of a section. Raises BadInput for a parent that is not there, and for a circle."""
    chain, layers = [name], []
    while True:
        layer = entries[chain[-1]]
        if not isinstance(layer, dict):
            raise BadInput(f"{section}.{chain[-1]}: expected settings (key: value), found {layer!r:.80}")
        layers.append({key: value for key, value in layer.items() if key != "extends"})
        if (parent := layer.get("extends")) is None:
            break
        at = f"{section}.{chain[-1]}.extends"
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
    return Entry(section, name, tuple(chain[1:]), settings)


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
