"""README, docs and the READMEs of folders: links lead somewhere, commands are commands."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rnagpt_lib.cli import commands
from rnagpt_lib.core import paths

ROOT = paths.root()
LISTED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.split()
PAGES = sorted(name for name in LISTED if not name.startswith(("runs/reference/", "tests/data")))
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")
ANCHOR = re.compile(r"(?m)^#+ (.+)$")


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def shell_lines(text: str) -> list[str]:
    """The lines of a page's shell blocks, continued ones joined, comments left out."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_there_are_pages():
    assert "README.md" in PAGES and len(PAGES) > 10


def test_the_readme_is_short():
    for name in ("README.md", "benchmarks/README.md"):
        assert len((ROOT / name).read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in map(slug, ANCHOR.findall(target.read_text("utf-8"))), f"{name}: {link}"


@pytest.mark.parametrize("name", PAGES)
def test_commands_are_commands(name):
    """Names, options and targets exist; what they do is tested where it is done."""
    targets = set(re.findall(r"(?m)^([\w-]+):", (ROOT / "Makefile").read_text("utf-8")))
    for line in shell_lines((ROOT / name).read_text("utf-8")):
        for part in re.split(r" \| | && ", line.split("#")[0].strip()):
            words = shlex.split(part)
            words = words[: words.index("<")] if "<" in words else words
            program, *rest = (word for word in words if not re.fullmatch(r"\w+=\S*", word))
            program = Path(program).name
            if program == "make":
                assert {w for w in rest if "=" not in w} <= targets, line
            elif program in ("python", "python3") and rest[0] == "-m":
                check_module(rest[1], rest[2:], line)
            elif "rnagpt_lib" in rest:
                check_command(rest[rest.index("rnagpt_lib") + 1 :], line)
            elif program == "rnagpt":
                check_command(rest, line)


def check_module(module: str, rest: list[str], line: str) -> None:
    if module == "rnagpt_lib":
        check_command(rest, line)
    else:
        assert importlib.util.find_spec(module), line
    if module == "benchmarks":
        listed = subprocess.run(
            [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True
        ).stdout
        names = {word.strip(",") for word in listed.split()}
        known = names | {name.partition(".")[2] for name in names}
        assert {word for word in rest if not word.startswith("-")} - {"NAME"} <= known, line


def check_command(words: list[str], line: str) -> None:
    if words[0].startswith("-"):
        return
    assert words[0] in commands.commands, line
    command = commands.commands[words[0]]
    try:
        command.make_parser(click.Context(command)).parse_args([w for w in words[1:] if w != "…"])
    except click.UsageError as error:
        pytest.fail(f"{line}: {error}")
