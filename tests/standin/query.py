"""The part of EBI Search's query language that clients here use.

Terms ``field:"value"``, ``field:value`` and ``field:[low TO high]``, joined by AND and OR, with
parentheses. Anything else is an error, so that a client's slip shows.
"""

import re
from collections.abc import Callable

Matches = Callable[[dict], bool]
_TOKEN = re.compile(
    r"\s*(?:(?P<mark>[()])|(?P<word>AND|OR)\b|"
    r'(?P<field>\w+):(?:"(?P<quoted>[^"]*)"|\[(?P<low>\d+) TO (?P<high>\d+)\]|(?P<bare>[\w-]+)))'
)


def matcher(query: str) -> Matches:
    """The query as a function of an entry (field → list of texts)."""
    tokens, at = [], 0
    while query[at:].strip():
        found = _TOKEN.match(query, at)
        if not found:
            raise ValueError(f"cannot read {query[at:]!r}")
        tokens.append(found)
        at = found.end()
    matches = _either(tokens)
    if tokens:
        raise ValueError(f"too much in {query!r}")
    return matches


def _either(tokens: list[re.Match]) -> Matches:
    parts = [_both(tokens)]
    while tokens and tokens[0]["word"] == "OR":
        tokens.pop(0)
        parts.append(_both(tokens))
    return lambda entry: any(part(entry) for part in parts)


def _both(tokens: list[re.Match]) -> Matches:
    parts = [_one(tokens)]
    while tokens and tokens[0]["word"] == "AND":
        tokens.pop(0)
        parts.append(_one(tokens))
    return lambda entry: all(part(entry) for part in parts)


def _one(tokens: list[re.Match]) -> Matches:
    token = tokens.pop(0)
    if token["mark"] == "(":
        inner = _either(tokens)
        assert tokens.pop(0)["mark"] == ")"
        return inner
    name = token["field"]
    if token["low"]:
        low, high = int(token["low"]), int(token["high"])
        return lambda entry: any(low <= int(value) <= high for value in entry.get(name, []))
    wanted = (token["quoted"] or token["bare"] or "").lower()
    return lambda entry: any(_same(wanted, value.lower()) for value in entry.get(name, []))


def _same(wanted: str, value: str) -> bool:
    """A phrase matches the beginning of a hyphenated id too, as in an analysed index."""
    return value == wanted or value.startswith(f"{wanted}-")
