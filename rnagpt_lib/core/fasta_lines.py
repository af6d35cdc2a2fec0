"""Lines of a file, an upload or pasted text that nobody has vouched for, in pieces of bounded size.

What makes a source unreadable as a whole is an InputError that names it, the line and the remedy.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from rnagpt_lib.core.errors import InputError

Source = str | Path | bytes  # text, a file, an upload
PIECE = 1 << 16  # characters read at a time
_INDENT = " \t\r\f\v\xa0\ufeff"  # before a line's first letter; joined files keep their BOMs
_BLANK = _INDENT + "\n"
_MARKED = re.compile(f"\n[{_INDENT}]*+(?:>[^\n]*+|;[^\n]*+(?:\n[{_INDENT}]*+;[^\n]*+)*+)")
_BREAKS = re.compile("[\f\v\x1c-\x1e\x85\u2028\u2029]")  # what ends lines in pasted text
_BINARY = re.compile("[\0\ud800-\udfff]")  # surrogates are bytes that are no UTF-8
_FORMATS = {  # by their first bytes
    b"\x1f\x8b": "a gzip file that was zipped twice",
    b"PK\x03\x04": "a zip archive (or an office document)",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"%PDF": "a PDF",
}


def lines(source: Source) -> Iterator[tuple[int, bool, str]]:
    """(number, whether a line begins, text): a header, comments, or the lines between such.

    Lines that belong together come together, as ``2, True, "ACGU\\nACGU"``, a header by itself.
    Where a piece of the source ends, a line is cut in two, and its rest comes without a beginning.
    Lines begin with the first character that is not blank; blank ones are left out, but count.
    """
    number, ended = 0, "\n"  # the end of the line before, as if there were one before the first
    for chunk in _chunks(source):
        binary = _binary(chunk)
        text = ended + (chunk if binary is None else chunk[: chunk.rfind("\n", 0, binary) + 1])
        for part in _parts(text):
            begins = part.startswith("\n")
            body = part.lstrip(_BLANK) if begins else part
            if body:
                yield number + part[: len(part) - len(body)].count("\n"), begins, body
            number += part.count("\n")
        if binary is not None:
            raise InputError(
                f"{label(source)}, line {number}: this is binary, not text, or text that is not"
                " UTF-8; give a FASTA file, saved as plain text in UTF-8"
            )
        ended = "\n" if text.rstrip(_INDENT).endswith("\n") else ""
        number -= len(ended)


def _parts(text: str) -> Iterator[str]:
    """The rest of a line, then what `lines` tells apart, each with the line end before it."""
    place = 0 if text.startswith("\n") else text.find("\n") % (len(text) + 1)
    if place:
        yield text[:place]
    for mark in _MARKED.finditer(text, place) if ">" in text or ";" in text else ():
        if mark.start() > place:
            yield text[place : mark.start()]
        yield mark.group()
        place = mark.end()
    if place < len(text):
        yield text[place:]


def _binary(text: str) -> int | None:
    """Where the first character is that no text has."""
    if text.isascii():
        return text.index("\0") if "\0" in text else None
    found = _BINARY.search(text)
    return found and found.start()


def _chunks(source: Source) -> Iterator[str]:
    """The text in pieces, every line end as ``\\n``, bytes that are no UTF-8 as surrogates."""
    if isinstance(source, str):
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        for start in range(0, len(source), PIECE):
            last = start + PIECE >= len(source)
            yield _BREAKS.sub("\n", newlines.decode(source[start : start + PIECE], last))
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(_opened(source))
            if stream.peek(2)[:2] == b"\x1f\x8b":
                stream = stack.enter_context(gzip.open(stream, "rb"))
            _check_format(stream.peek(8), source)
            text = io.TextIOWrapper(stream, "utf-8", "surrogateescape")
            while chunk := text.read(PIECE):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"{label(source)} is a damaged gzip file ({error}); fetch it again"
            raise InputError(message) from error
        except OSError as error:
            message = f"{label(source)} cannot be read: {error.strerror or error}; check the path"
            raise InputError(message) from error


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BufferedReader(io.BytesIO(source))
    try:
        return source.open("rb")
    except (FileNotFoundError, ValueError):  # a path with NUL
        raise InputError(f"{label(source)}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{label(source)} is a folder; give a FASTA file") from None


def _check_format(head: bytes, source: Path | bytes) -> None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise InputError(f"{label(source)}, line 1: this is UTF-16 or UTF-32; save it as UTF-8")
    for magic, what in _FORMATS.items():
        if head.startswith(magic):
            raise InputError(
                f"{label(source)} is {what}; give the FASTA file itself, as plain text or .gz"
            )


def label(source: Source) -> str:
    """What messages call it."""
    if isinstance(source, str):
        return "the FASTA text"
    return "the upload" if isinstance(source, bytes) else printable(str(source))


def printable(text: str) -> str:
    """White space as spaces, and � for what else does not print, as a terminal's commands.

    >>> printable("a\\tb \\x1b[31m")
    'a b �[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
