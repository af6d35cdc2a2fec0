"""A hundred inputs that call themselves FASTA, and how reading each has to end.

For the tests and the campaign in ``benchmarks/``. What chance has a part in is seeded.
"""

import codecs
import gzip
import io
import json
import random
import zipfile
from pathlib import Path

from rnagpt_lib.core.fasta import MAX_ID, MAX_LENGTH, MAX_RECORDS
from tests.support.fasta_ends import Case, Make

GB, MB, MILLION = 1 << 30, 1 << 20, 10**6


def rna(n: int = 30, seed: object = 0, letters: str = "ACGU") -> str:
    """A random sequence."""
    return "".join(random.Random(f"{n} {seed}").choices(letters, k=n))


def good(name: str = "good", n: int = 30) -> str:
    """A record that is read."""
    return f">{name} a good one\n{rna(n, name)}\n"


def upload(content: bytes) -> Make:
    return lambda folder: content


def text(content: str) -> Make:
    return lambda folder: content


def file(content: bytes | str) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "in.fasta"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def pieces(*parts: tuple[bytes, int]) -> Make:
    """A gzip file of ``parts``, each so many times: small, whatever is in it.

    Its members hold 16 MB each, so that a gigabyte is made in no time.
    """

    def make(folder: Path) -> Path:
        path = folder / "in.fasta.gz"
        with path.open("wb") as out:
            for content, times in parts:
                once = min(times, 16 * MB // max(1, len(content)))
                out.write(gzip.compress(content * once, 9) * (times // once))
        return path

    return make


def sparse(head: bytes, size: int) -> Make:
    """A file of which the disk holds ``head`` alone, and NULs up to ``size``."""

    def make(folder: Path) -> Path:
        path = folder / "in.fasta"
        with path.open("wb") as out:
            out.write(head)
            out.truncate(size)
        return path

    return make


def many(count: int, record: str) -> Make:
    """A plain file of ``count`` records, ``{0}`` in them being their number."""

    def make(folder: Path) -> Path:
        path = folder / "in.fasta"
        with path.open("w") as out:
            for first in range(0, count, 10_000):
                numbers = range(first, min(first + 10_000, count))
                out.writelines(record.format(number) for number in numbers)
        return path

    return make


def locked(folder: Path) -> Path:
    path = file(good())(folder)
    path.chmod(0)
    return path


def mixed(name: str, body: str, *refused: str, parsed: int = 1) -> Case:
    """A file with records to refuse; the last one is good."""
    return Case(name, file(body + good()), parsed, refused)


def zipped(content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("in.fasta", content)
    return out.getvalue()


# Seeded changes of good files.


def formatted(seed: int) -> Case:
    """Good records, written as differently as FASTA allows."""
    rng = random.Random(f"formatted {seed}")
    count, end = rng.randint(1, 40), rng.choice(["\n", "\r\n", "\r"])
    lines = []
    for number in range(count):
        letters = rng.choice(["ACGU", "acgt", "ACGTNryk"])
        sequence = rna(rng.randint(10, 400), (seed, number), letters)
        width = rng.randint(1, 80)
        lines += [" " * rng.randint(0, 2) + f">r{number}" + rng.choice(["", " x > y", "\t;z"])]
        for start in range(0, len(sequence), width):
            lines += [rng.choice(["", " ", "\t"]) + sequence[start : start + width]]
            lines += rng.choice([[], [], [], [""], ["; a comment"], ["--..  "]])
    content = (end.join(lines) + rng.choice(["", end])).encode()
    content = rng.choice([b"", codecs.BOM_UTF8]) + content
    content = rng.choice([content, gzip.compress(content)])
    return Case(f"good, formatted by chance {seed}", upload(content), parsed=count)


def one_letter(seed: int) -> Case:
    """Good records, some of them with a letter that is none of an RNA's."""
    rng = random.Random(f"one letter {seed}")
    records, wrong = [], []
    for number in range(20):
        sequence = rna(rng.randint(10, 300), (seed, number))
        if rng.random() < 0.3:
            letter = rng.choice("XEFZJ1*@!àАΑ\u200b\u202e\x1b\x07")
            place = rng.randrange(len(sequence))
            sequence = sequence[:place] + letter + sequence[place + 1 :]
            wrong.append(f"line {2 * number + 1}: letter .* at position {place + 1}: ")
        records.append(f">r{number}\n{sequence}\n")
    make = file("".join(records))
    return Case(f"wrong letters {seed}", make, 20 - len(wrong), tuple(wrong))


def cut_gzip(seed: int) -> Case:
    """A gzip file that ends too early."""
    content = gzip.compress("".join(good(str(number)) for number in range(500)).encode())
    place = random.Random(f"cut {seed}").randrange(2, len(content))
    return Case(f"gzip cut short {seed}", file(content[:place]), None, error="damaged gzip")


def flipped_gzip(seed: int) -> Case:
    """A gzip file with one bit of its data or its checksum turned."""
    content = bytearray(gzip.compress("".join(good(str(n)) for n in range(500)).encode()))
    rng = random.Random(f"flipped {seed}")
    content[rng.randrange(10, len(content) - 4)] ^= 1 << rng.randrange(8)
    return Case(
        f"gzip with a bit flipped {seed}", file(bytes(content)), None, error="damaged gzip|binary"
    )


def noise(seed: int) -> Case:
    content = random.Random(f"noise {seed}").randbytes(5000)
    return Case(f"random bytes {seed}", file(content), None, error="binary|header")


FILES = [
    Case("empty file", file(b""), error="in.fasta is empty; give"),
    Case("empty text", text(""), error="text is empty"),
    Case("blank lines alone", file(b"\n \r\n\t\n"), error="is empty"),
    Case("comments alone", file(b"; a\n;b\n"), error="is empty"),
    Case("byte order mark alone", file(codecs.BOM_UTF8), error="is empty"),
    Case("no such file", lambda folder: folder / "none.fa", error="none.fa: there is no such"),
    Case("NUL in the path", lambda folder: folder / "a\0b", error="no such file"),
    Case("very long path", lambda folder: folder / ("a" * 5000), error="cannot be read: .*long"),
    Case("folder", lambda folder: folder, error="cannot be read: Is a directory"),
    Case("no permission", locked, error="cannot be read: Permission", as_nobody=True),
    Case("no header", file(f"{rna()}\n{good()}"), error=r"in.fasta, line 1: .*header.*add it"),
    Case("no header, upload", upload(rna().encode()), error="upload, line 1: .*header"),
    Case("no header, late", file(f"\n;x\n\n{rna()}"), error="line 4: .*header"),
    Case("English", text("What is\nan RNA?"), error="text, line 1: .*header"),
    Case("pasted, header later", text(f"{rna()}\n{good()}"), error="line 1: .*header"),
    Case("pasted protein", text("MKVLAAGEF"), error="line 1: .*header"),
    Case("FASTQ", file(f"@r1\n{rna()}\n+\n{'I' * 30}\n"), error="line 1: this is FASTQ.*convert"),
    Case("GenBank", file(f"LOCUS  X\nORIGIN\n   1 {rna()}\n//"), error="line 1: this is GenBank.*convert"),
    Case("JSON", file(json.dumps([{"id": "a", "seq": rna()}])), error="line 1: .*header"),
    Case("HTML", file("<html>\n<body>\n>a\nACGU"), error="line 1: .*header"),
    Case("CSV", file(f"id,sequence\na,{rna()}\n"), error="line 1: .*header"),
    Case("PNG", file(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), error="line 1: .*binary"),
    Case("zip", file(zipped(good())), error="is a zip archive"),
    Case("bzip2", file(b"BZh91AY&SY\0\x01"), error="is a bzip2 file"),
    Case("xz", upload(b"\xfd7zXZ\0\0\x04"), error="is an xz file"),
    Case("PDF", file(b"%PDF-1.7\n%\xe2\xe3\n"), error="is a PDF"),
    Case("NUL in a sequence", file(good() + ">a\nACGU\0ACGUACGU\n"), 1, error="line 4: .*binary"),
    Case("lone surrogate", text(">a\n\udcffACGUACGUACGU"), error="line 2: .*binary"),
    Case("UTF-16, little", file(good().encode("utf-16")), error="line 1: .*UTF-16.*save"),
    Case("UTF-16, big", file(codecs.BOM_UTF16_BE + good().encode("utf-16-be")), error="UTF-16"),
    Case("UTF-16 without mark", upload(good().encode("utf-16-le")), error="line 1: .*binary"),
    Case("UTF-32", upload(good().encode("utf-32")), error="UTF-32"),
    Case("Latin-1", file(f"{good()}\r\n>b é\r\n".encode("latin-1")), error="line 4: .*not UTF-8"),
    Case("Shift-JIS", file(">a 塩基配列\nACGU".encode("shift-jis")), error="line 1: .*UTF-8"),
    Case("overlong UTF-8", file(b">a \xc0\x80\nACGU"), error="line 1: .*not UTF-8"),
    Case("half a character", file(">a\nACGUACGUAC\n>é".encode()[:-1]), error="line 3: .*UTF-8"),
    Case("gzip magic alone", file(b"\x1f\x8b"), error="damaged gzip"),
    Case("gzip magic, then text", file(b"\x1f\x8b" + good().encode()), error="damaged gzip"),
    Case("gzip of nothing", file(gzip.compress(b"")), error="is empty"),
    Case("gzip in gzip", file(gzip.compress(gzip.compress(good().encode()))), error="zipped twice"),
    Case("gzip, then other bytes", file(gzip.compress(good().encode()) + b"x"), error="damaged"),
    Case("gzip of UTF-16", upload(gzip.compress(good().encode("utf-16"))), error="UTF-16"),
]  # fmt: skip
RECORDS = [
    mixed("letter X", ">a\nACGUXACGUACGU\n", "line 1: letter 'X' at position 5"),
    mixed("protein", ">a\nMKVLAAGEF\n", "line 1: letter 'L'.*protein"),
    mixed("no sequence", ">a\n>b\n\n", "line 1: .*empty", "line 2: .*empty"),
    Case("no sequence at the end", file(good() + ">c"), 1, ("line 3: .*empty",)),
    mixed("no id", f">\n{rna()}\n> \t\n{rna()}\n", "line 1: .*no id", "line 3: .*no id"),
    mixed("9 and 10 nt", f">a\n{rna(9)}\n>b\n{rna(10)}\n", "line 1: .*9 nt; under 10", parsed=2),
    mixed("gaps alone", ">a\n----....\n", "line 1: .*empty"),
    mixed("the same record twice", good().lower(), "line 3: .*same record as on line 1"),
    mixed("an id with another sequence", f">good\n{rna(40)}\n",
          "line 3: its id was used on line 1 for another sequence"),
    mixed("an id three times", good() * 2, "line 3: .*on line 1$", "line 5: .*on line 1$"),
    mixed("an id again after a refusal", ">good\nXXX\n", "line 1: letter"),
    mixed("ids of other case", f">a\n{rna()}\n>A\n{rna()}\n", parsed=3),
    mixed("long ids", f">{'i' * MAX_ID}\n{rna()}\n>{'i' * MAX_ID}i\n{rna()}\n",
          "line 3: .*id has more", parsed=2),
    mixed("long description", f">a {'d ' * MB}\n{rna()}\n", parsed=2),
    mixed("a terminal's commands, header", f">a\x1b[2J\x07 \x1b]0;x\x07\n{rna()}\n", parsed=2),
    mixed("a terminal's commands, sequence", ">a\nACGUACGUAC\x1b[31m\n", r"letter '\\x1b'"),
    mixed("right to left", f">a\u202eb\n{rna()}\n>c\nACGU\u202eU\n", r"'\\u202e'", parsed=2),
    mixed("longest, and one more", f">a\n{rna(MAX_LENGTH)}\n>b\n{rna(MAX_LENGTH + 1)}\n",
          "line 3: .*more than 100,000 letters", parsed=2),
    mixed("numbers of GenBank", f">a\n   1 {rna()}\n", "letter '1' at position 1: numbers"),
    mixed("star at the end", f">a\n{rna()}*\n", r"letter '\*' at position 31: a star"),
    mixed("Cyrillic А", f">a\n{rna()}АC\n", "position 31: .*CYRILLIC CAPITAL LETTER A"),
    mixed("full-width letters", ">a\nＡＣＧＵ\n", "FULLWIDTH LATIN"),
    mixed("zero-width space", f">a\n{rna()}\u200b\n", "position 31: .*ZERO WIDTH SPACE"),
    mixed("long s and sharp s", f">a\n{rna()}ſ\n>b\nß{rna()}\n", "LONG S", "SHARP S"),
    mixed("emoji", f">🧬\n{rna()}\n>b\n🧬🧬🧬\n", "line 3: .*DNA DOUBLE HELIX", parsed=2),
    mixed("header inside of a line", f">a\n{rna()}>b\n{rna()}\n", "letter '>' at position 31"),
    mixed("breaks in a line", ">a\nACGUA\u2028CGUAC\n>b\nACG\v\fUACGUAC\n", parsed=3),
]  # fmt: skip
BOM, TWO = codecs.BOM_UTF8.decode(), good("a") + good("b")
FORMS = [
    Case("CRLF", file(TWO.replace("\n", "\r\n")), 2),
    Case("CR alone, as of an old Mac", file(TWO.replace("\n", "\r")), 2),
    Case("joined files, each with a mark", file(BOM + good("a") + BOM + good("b")), 2),
    Case("form feeds between pages", file(f"\f{TWO}\f{good('c')}\v\n"), 3),
    Case("lower case, DNA, all IUPAC codes", file(">a\nacgttgcaryswkmbdhvnu\n"), 1),
    Case("gaps and white space", file(">a\tx\nAC--GU..AC GU\xa0AC\t\n  G\n"), 1),
    Case("members of bgzip", pieces((good("a").encode(), 1), (good().encode(), 1), (b"", 1)), 2),
    Case("pasted FASTA", text(f"\n\n  >a b\v{rna()}\u2028{rna()}\r\n\r\n{good()}"), 2),
    Case("pasted DNA", text("  >a\n  " + rna(80).lower().replace("u", "t")), 1),
    Case("pasted, in lines", text(f"\ufeff>a\r\n{rna(60)}\r\n{rna(60)}\r\n\r\n{rna(7)}\n"), 1),
    Case("pasted, too short", text(">a\nACGU"), 0, ("line 1: .*4 nt",)),
    Case("pasted, too long", text(f">a\n{rna(MAX_LENGTH)}A"), 0, ("line 1: .*more than 100,000",)),
]  # fmt: skip
CHANCE = [*map(formatted, range(3)), *map(one_letter, range(2))]
CHANCE += [*map(cut_gzip, range(2)), *map(flipped_gzip, range(2)), noise(0)]
TAIL = (b"\n" + good().encode(), 1)
SMALL = "ACGUACGUACGU\n"
LARGE = [
    Case("1 GB of letters in a line, zipped", pieces((b">a\n", 1), (b"ACGU", GB // 4), TAIL), 1,
         ("line 1: .*more than 100,000 letters",)),
    Case("1 GB of letters in lines, zipped", pieces((b">a\n", 1), (b"ACGUACG\n", GB // 8), TAIL), 1,
         ("line 1: .*more than 100,000 letters",)),
    Case("1 GB of a header, zipped", pieces((b">", 1), (b"ACGU", GB // 4), TAIL), 1, ("id has more",)),
    Case("1 GB of blanks and gaps, zipped", pieces(TAIL, (b" -.\n", GB // 4)), 1),
    Case("1 GB of zeros, zipped", pieces(TAIL, (b"\0", GB)), error="line 4: .*binary"),
    Case("1 GB, sparse", sparse(good().encode(), GB), error="line 3: .*binary"),
    Case("1,000,000 records", many(MILLION, ">rna_{0} of many\n" + SMALL), MILLION),
    Case("1,000,000 times one record", many(MILLION, ">a\n" + SMALL), 1,
         ("same record as on line 1$",), times=MILLION - 1),
    Case("2,000,001 records", many(MAX_RECORDS + 1, ">{0}\n" + SMALL), MAX_RECORDS,
         error="line 4000001: there are more than 2,000,000 records"),
]  # fmt: skip
GROUPS = {
    "FASTA: unreadable as a whole": FILES,
    "FASTA: records to refuse": RECORDS,
    "FASTA: ways to write it": FORMS,
    "FASTA: good files changed by chance": CHANCE,
    "FASTA: a gigabyte, or a million records": LARGE,
}
