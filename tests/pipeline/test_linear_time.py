"""No text makes an expression of the library slow: what is read may come from anywhere.

Each expression is attacked by texts made of itself: what leads to one of its repetitions, and then
what that repeats, over and over. Work that grows with the square of a text, or faster, shows.
"""

import ast
import importlib
import pkgutil
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from re import _constants as sre
from re import _parser as parser

import pytest

import rnagpt_lib
from rnagpt_lib.curate.questions.facts import LONGEST
from rnagpt_lib.curate.text.sentences import MOST_LETTERS

TEXTS = 400, 4_000  # letters: ten times as many
RATIO = 35  # between their times: 10 where linear, 100 where quadratic
SENTENCES = 100, MOST_LETTERS
SENTENCES_RATIO = 250  # 100 where quadratic, 1,000 where cubic: sentences have an end
ENTITIES = 10, LONGEST
OF_SENTENCES = ("rnagpt_lib.curate.questions.facts", "rnagpt_lib.curate.text.sentences")
STARTED = 0.01  # seconds below which nothing is said of growth
MOST = 0.5  # seconds that no text of that length takes, were it slow by a power or not
SOURCES = "".join(p.read_text("utf-8") for p in Path(rnagpt_lib.__file__).parent.rglob("*.py"))


def modules() -> Iterator[str]:
    found = pkgutil.walk_packages(rnagpt_lib.__path__, "rnagpt_lib.")
    return (module.name for module in found if not module.name.endswith("__main__"))


def expressions() -> dict[re.Pattern, tuple[str, str]]:
    """Every expression of the library → where it stands, and how it is called: values of modules, within containers too,
    and what is given to a function of `re` wherever the module's own names say what that is."""
    found: dict[re.Pattern, tuple[str, str]] = {}

    def look(value: object, where: str, how: str = "", depth: int = 0) -> None:
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            name = where.rpartition(".")[2]
            found.setdefault(value, (where, how or use(name)))
        elif depth < 4:
            inside = [("", one) for one in value] if isinstance(value, list | tuple) else []
            if type(value).__module__.startswith(("rnagpt_lib", "types")):
                value = getattr(value, "__dict__", {})
            inside = value.items() if isinstance(value, dict) else inside
            for name, one in inside:
                look(one, f"{where}.{name}", how, depth + 1)

    for name in modules():
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if not key.startswith("__"):
                look(value, f"{name}.{key}")
        for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if call and getattr(node.func.value, "id", "") == "re" and node.args:
                how = node.func.attr
                parts = node.args[: 1 + (how == "compile")]  # with its flags: as the module has it
                texts = [compile(ast.Expression(part), name, "eval") for part in parts]
                try:
                    pattern = re.compile(*(eval(text, dict(vars(module))) for text in texts))
                    look(pattern, f"{name}:{node.lineno}", how if "match" in how else "finditer")
                except (NameError, TypeError, AttributeError):
                    continue  # made of a function's own values
    return found


def one_of(items) -> str:
    """A letter of a set."""
    for kind, value in items:
        if kind is sre.LITERAL:
            return chr(value)
        if kind is sre.RANGE:
            return chr(value[0])
        if kind is sre.CATEGORY:
            return {sre.CATEGORY_DIGIT: "1", sre.CATEGORY_SPACE: " ", sre.CATEGORY_WORD: "a"}.get(
                value, "-"
            )
    return "a"


def branches(tree) -> Iterator[tuple[int, int]]:
    """Every alternative within a parsed expression: (which alternation, its number)."""
    for kind, value in tree:
        inside = {sre.BRANCH: lambda v: v[1], sre.SUBPATTERN: lambda v: [v[-1]],
                  sre.ATOMIC_GROUP: lambda v: [v]}.get(kind, lambda v: [])(value)  # fmt: skip
        for number, one in enumerate(inside):
            yield from [(id(value), number)] if kind is sre.BRANCH else []
            yield from branches(one)


def sample(tree, attacks: set[tuple[str, str]], said: str = "", pick=(0, 0)) -> str:
    """A text that a parsed expression may match, behind ``said``; adds to ``attacks`` what leads to
    each of its repetitions, and what is repeated, in each of the alternatives there (``pick``)."""
    for kind, value in tree:
        if kind is sre.LITERAL:
            said += chr(value)
        elif kind in (sre.NOT_LITERAL, sre.ANY):
            said += "a"
        elif kind is sre.IN:
            barred = {chr(v) for k, v in value if k is sre.LITERAL}
            negated = value[0][0] is sre.NEGATE
            said += next(c for c in "a -<(1" if c not in barred) if negated else one_of(value)
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            least, most, body = value
            for other in {(0, 0), *branches(body)} if most > 5 else ():
                if once := sample(body, set(), said, other)[len(said) :]:
                    attacks.add((said, once))
            said += sample(body, attacks, said, pick)[len(said) :] * max(least, 1)
        elif kind is sre.SUBPATTERN:
            said = sample(value[-1], attacks, said, pick)
        elif kind is sre.ATOMIC_GROUP:
            said = sample(value, attacks, said, pick)
        elif kind is sre.BRANCH:
            texts = [sample(branch, attacks, said, pick) for branch in value[1]]
            said = texts[pick[1] if pick[0] == id(value) else 0]
        elif kind in (sre.ASSERT, sre.ASSERT_NOT) and value[0] > 0:
            sample(value[1], attacks, said, pick)
    return said


def use(name: str) -> str:
    """How the library calls an expression: what is only matched need not be quick to search."""
    called = set(re.findall(rf"\b{name}\.(\w+)\(", SOURCES))
    return next((how for how in ("fullmatch", "match") if called == {how}), "finditer")


@pytest.mark.slow
def test_no_expression_grows_faster_than_its_text():
    slow = []
    for pattern, (where, how) in expressions().items():
        attacks = {("", each) for each in (" ", "a", "a ", "a-", "(", "<a ", "A", "1", ", ")}
        whole = sample(parser.parse(pattern.pattern, pattern.flags), attacks)
        texts = {
            (lead, text) for lead, once in attacks | {("", whole)} for text in (once, lead + once)
        }
        bounded = where.startswith(OF_SENTENCES)
        sizes, most = (SENTENCES, SENTENCES_RATIO) if bounded else (TEXTS, RATIO)
        if where.endswith(("_is", "_not")):
            sizes = ENTITIES
        for lead, once in texts - {("", "")}:
            short, long = (lead + once * (n // len(once)) + "\n!" for n in sizes)
            if (took := cost(pattern, how, long)) > STARTED:
                least = cost(pattern, how, short, times=50)
                if took > min(most * least, MOST):  # or the machine was busy
                    took = cost(pattern, how, long, times=20)
                if took > min(most * least, MOST):
                    said = f"{where} ({how}): {lead[-40:]!r}, then {once[-40:]!r}"
                    slow.append(f"{said}: {least:.5f} s, {took:.5f} s")
    assert not slow, "\n".join(slow)


def cost(pattern: re.Pattern, how: str, text: str, times: int = 2) -> float:
    """Seconds, the least of some times; `MOST` of the processor's is as long as any is waited for."""

    def stop(*_):
        raise TimeoutError

    def run() -> float:
        began = time.perf_counter()
        found = getattr(pattern, how)(text)
        list(found) if how == "finditer" else found
        return time.perf_counter() - began

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST * max(1, times / 4))
    try:
        return min(run() for _ in range(times))
    except TimeoutError:
        return 2 * MOST
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
