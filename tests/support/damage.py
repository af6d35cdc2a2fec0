"""Damage by chance: bytes that are cut and overwritten, values of JSON that are others."""

import copy
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

DAMAGED = [
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", "\u2028\u202e\u200b\xad".encode(), b"\r",
    b"\x1b[31m", b"9" * 400, b"1e309", b"NaN", b"-Infinity", b"null", b"[" * 3000, b"{" * 3000,
    b'{"a":' * 3000, b"&a [*a, *a]", b"!!python/object:os.system", b"\t", b'"', b"'", b">", b"<a ",
    b"{{7*7}}", b"../../etc/passwd", b"http://user:pw@127.0.0.1:9/", b"-1", b"2024-13-45", b"NA",
]  # fmt: skip
VALUES = [
    None, True, -1, 0, 2**31, 2**63, -(2**62), 1e308, 10**400, "", "\0", "x" * 100_000, "../..",
    "NaN", [], {}, [[]], [None], {"": {}}, "\u202e", "http://user:pw@127.0.0.1:9/", 0.5, "1",
    {"auto_map": {"AutoModel": "evil.Model"}}, [1] * 5000, "hf:somebody/model", "/dev/zero",
]  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to four damages: cut, doubled, overwritten, flipped, put in between."""
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randint(0, len(data)) for _ in range(2))
        data = rng.choice([
            lambda d, a, b: d[:a], lambda d, a, b: d[:a] + d[b:], lambda d, a, b: d[:b] + d[a:],
            lambda d, a, b: d[:a] + rng.choice(DAMAGED) + d[a:],
            lambda d, a, b: d[:a] + rng.choice(DAMAGED) + d[a + 3 :],
            lambda d, a, b: d[:a] + bytes([rng.randrange(256)]) + d[a + 1 :],
            lambda d, a, b: gzip.compress(d), lambda d, a, b: d.decode("latin-1").encode("utf-16"),
        ])(data, a, b)  # fmt: skip
    return data


def spoil(data: object, rng: random.Random) -> object:
    """JSON of which one to three values are others, or are gone."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.randint(1, 3)):
        places = [*_places(data)]
        if not places:
            return copy.deepcopy(rng.choice(VALUES))
        parent, name = rng.choice(places)
        if isinstance(parent[name], str) and rng.random() < 0.4:
            parent[name] = mutate(parent[name].encode(), rng).decode("utf-8", "replace")
        elif isinstance(parent, dict) and rng.random() < 0.2:
            parent.pop(name)
        else:
            parent[name] = copy.deepcopy(rng.choice(VALUES))
    return data


def _places(node: object) -> Iterator[tuple]:
    if isinstance(node, dict | list):
        for name in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, name
            yield from _places(node[name])


def spoil_file(path: Path, rng: random.Random) -> None:
    """Damage a file in place: its values where it is JSON, most times, or else its bytes."""
    data = path.read_bytes()
    path.unlink()  # it may be a link to one that others read
    if path.suffix in {".json", ".jsonl"} and rng.random() < 0.7:
        lines = data.decode().splitlines() if path.suffix == ".jsonl" else [data.decode()]
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(spoil(json.loads(lines[at]), rng))
        path.write_text("\n".join(lines))
    else:
        path.write_bytes(mutate(data, rng))
