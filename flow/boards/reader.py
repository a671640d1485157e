"""Typed values out of a parsed TOML file, every fault collected on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flow.boards.board import Source
from flow.errors import near


class Reader:
    """Takes typed values out of a parsed TOML table by dotted key and collects every fault on the way."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        self.faults: list[str] = []
        self.seen: list[str] = []

    def _get(self, key: str, expected: str) -> Any:
        self.seen.append(key)
        value: Any = self._table
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                self.faults.append(f"{key}: missing; expected {expected}; add the key")
                return None
            value = value[part]
        return value

    def fault(self, key: str, value: object, expected: str) -> None:
        self.faults.append(f"{key}: found {value!r}; expected {expected}; correct the value")

    def text(self, key: str, *, may_be_empty: bool = False) -> str:
        expected = "a string" if may_be_empty else "a string that is not empty"
        value = self._get(key, expected)
        if isinstance(value, str) and (value or may_be_empty):
            return value
        if value is not None:
            self.fault(key, value, expected)
        return ""

    def choice(self, key: str, choices: Iterable[str]) -> str:
        options = tuple(choices)
        expected = f"one of {', '.join(options)}"
        value = self._get(key, expected)
        if value in options:
            return str(value)
        if value is not None:
            self.fault(key, value, expected)
        return options[0]

    def integer(self, key: str, minimum: int = 1) -> int:
        expected = f"an integer of at least {minimum}"
        value = self._get(key, expected)
        # bool is an int to Python; a TOML boolean is no count.
        if isinstance(value, int) and not isinstance(value, bool) and value >= minimum:
            return value
        if value is not None:
            self.fault(key, value, expected)
        return minimum

    def real(self, key: str, maximum: float) -> float:
        expected = f"a number above 0 and at most {maximum:g}"
        value = self._get(key, expected)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= maximum:
            return float(value)
        if value is not None:
            self.fault(key, value, expected)
        return maximum

    def has(self, key: str) -> bool:
        """Whether the file has this key of the top level."""
        return key in self._table

    def tables(self, key: str) -> tuple[str, ...]:
        """Names of the tables below a key, in the order of the file; none where the key is missing."""
        value: Any = self._table
        for part in key.split("."):
            value = value.get(part, {}) if isinstance(value, dict) else {}
        if isinstance(value, dict) and all(isinstance(item, dict) for item in value.values()):
            return tuple(value)
        self.seen.append(key)
        self.fault(key, value, f"tables such as [{key}.half]")
        return ()

    def unknown_keys(self) -> None:
        known = [*self.seen, "sources"]
        for key in leaves(self._table):
            if key not in known:
                self.faults.append(
                    f"{key}: unknown key; expected a key of another board file{near(key, known)}"
                )

    def sources(self, figures: list[str]) -> tuple[Source, ...]:
        """Read `[[sources]]` and check that together they prove exactly `figures`."""
        entries = self._get("sources", "a list of [[sources]] tables")
        if not isinstance(entries, list):
            return ()
        read = [self._source(index, entry) for index, entry in enumerate(entries)]
        sources = tuple(source for source in read if source is not None)
        proven = [figure for source in sources for figure in source.figures]
        for figure in figures:
            count = proven.count(figure)
            if count != 1:
                self.faults.append(
                    f"{figure}: {count} sources; expected exactly one; name it in one [[sources]]"
                )
        for figure in proven:
            if figure not in figures:
                hint = near(figure, figures)
                self.faults.append(f"sources: {figure!r} is no figure; expected the key of a figure{hint}")
        return sources

    def _source(self, index: int, entry: object) -> Source | None:
        keys = ("document", "title", "place")
        expected = "a table with the strings document, title and place and the list figures"
        if not isinstance(entry, dict) or set(entry) != {*keys, "figures"}:
            self.fault(f"sources[{index}]", entry, expected)
            return None
        texts, figures = [entry[key] for key in keys], entry["figures"]
        strings = [*texts, *figures] if isinstance(figures, list) else [None]
        if not all(isinstance(text, str) and text for text in strings):
            self.fault(f"sources[{index}]", entry, expected)
            return None
        return Source(texts[0], texts[1], texts[2], tuple(figures))


def leaves(table: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of everything in a parsed table that is no table itself."""
    keys: list[str] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        keys.extend(leaves(value, f"{key}.") if isinstance(value, dict) else [key])
    return keys
