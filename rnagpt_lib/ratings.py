"""Answers for two people to rate, blind, and what their ratings say about models and metrics.

The sheet has the reference, because no reader knows these RNAs: what is rated is whether an answer
says what the reference says. What a rater must not know is who answered: models are mixed, the
order is drawn, and the names stand in a file apart.
"""

import csv
import io
import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rnagpt_lib.errors import InputError
from rnagpt_lib.files import replacing
from rnagpt_lib.paths import shown

SCALE = {0: "wrong, or it says nothing", 1: "partly right", 2: "right, in whatever words"}
MODELS = ("vanilla", "MA", "IT", "floor.nearest")
ITEMS, KEY = "items.parquet", "key.parquet"
SHEETS = ("rater_1.csv", "rater_2.csv")
TEXTS = ["question", "reference", "answer"]
COLUMNS = ["item", *TEXTS, "rating"]
FORMULA = tuple("=+-@＝＋－＠\t\r\n")  # with these a spreadsheet begins a formula, or a cell anew


def draw(
    answers: pd.DataFrame, asked: pd.DataFrame, n: int = 100, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """At most ``n`` answers to open questions that the sequence can answer, and who gave them.

    The items have the columns item (1, 2, …) and `TEXTS`; the key item, model, pair_id and unit.
    Each of `MODELS` has as many as the others, and a question comes again, of another model, only
    once all have come.
    """
    told = asked[(asked.form == "open") & asked.decidable].drop_duplicates("pair_id")
    told, rng = told.sort_values("pair_id", ignore_index=True), random.Random(seed)
    models = [model for model in MODELS if model in set(answers.model)]
    order, size = rng.sample(range(len(told)), len(told)), len(models)
    dealt = [(place, models[(i + turn) % size]) for turn in range(size)
             for i, place in enumerate(order)][:n]  # fmt: skip
    rng.shuffle(dealt)
    key = told.loc[[place for place, _ in dealt], ["pair_id", "unit", "question", "reference"]]
    key = key.assign(model=[model for _, model in dealt], item=range(1, len(dealt) + 1))
    first = answers.drop_duplicates(["model", "pair_id"])  # the run's own training stands first
    given = first[["model", "pair_id", "prediction"]].rename(columns={"prediction": "answer"})
    whole = key.merge(given, on=["model", "pair_id"], how="left", validate="one_to_one")
    return whole[["item", *TEXTS]], whole[["item", "model", "pair_id", "unit"]]


def write(folder: Path, items: pd.DataFrame, key: pd.DataFrame) -> str:
    """Both raters' sheets, and apart from them the items and the key; what to do with them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in ((ITEMS, items), (KEY, key)):
        with replacing(folder / name) as temporary:
            frame.to_parquet(temporary, index=False)
    rows = items.assign(**{text: items[text].map(escaped) for text in TEXTS}, rating="")[COLUMNS]
    for name in SHEETS:
        with replacing(folder / name) as temporary:
            # the mark at the front tells spreadsheets that this is UTF-8
            rows.to_csv(temporary, index=False, encoding="utf-8-sig", quoting=csv.QUOTE_ALL)
    scale = "; ".join(f"{number}: {words}" for number, words in SCALE.items())
    sheets = " and ".join(SHEETS)
    return (
        f"{len(items)} answers to rate in {shown(folder)}: give {sheets}, copied, to a person "
        f"each, and keep {KEY}, which has the models' names, to yourself. Each fills the column "
        f"rating ({scale}), alone, and saves the file as CSV (UTF-8). Then:\n"
        f'    from rnagpt_lib import agreement\n    agreement.judged("{shown(folder)}", '
        f'["FILLED_1.csv", "FILLED_2.csv"])\nor name both files in RATED when this runs again.'
    )


def escaped(text: str) -> str:
    """The text as a spreadsheet shows it and nothing else: an apostrophe goes before what it
    would take for a formula.

    >>> escaped('=HYPERLINK("http://evil")')
    '\\'=HYPERLINK("http://evil")'
    """
    risky = text.startswith(FORMULA) or text.lstrip().startswith(FORMULA)
    return f"'{text}" if risky else text


def load(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The items and the key that ``write`` left. Raises InputError where it did not."""
    for name in (ITEMS, KEY):
        if not (folder / name).is_file():
            raise InputError(f"{shown(folder / name)} is missing; run 06 of this run again")
    return pd.read_parquet(folder / ITEMS), pd.read_parquet(folder / KEY)


def read(files: Sequence[Path], items: pd.DataFrame) -> pd.DataFrame:
    """The two raters' filled sheets: columns one and other, indexed by item.

    Rows may stand in any order, and columns be added. Raises InputError, with file and row, for a
    rating that is missing or not of `SCALE`, an item that is missing, unknown, or there twice,
    and texts that are not the item's; and for the same file given twice.
    """
    if len(files) != 2 or len({Path(file).resolve() for file in files}) != 2:
        named = ", ".join(shown(Path(file)) for file in files) or "none"
        raise InputError(f"ratings come in two files, one of each rater; given: {named}")
    known = items.set_index("item")
    one, other = (_rated(Path(file), known) for file in files)
    return pd.DataFrame({"one": one, "other": other}, index=known.index)


def _rated(path: Path, known: pd.DataFrame) -> dict[int, int]:
    """Item → rating in one sheet; rows are numbered as a spreadsheet does, the header is 1."""
    found: dict[int, int] = {}
    for number, row in enumerate(_rows(path), 2):
        if not any(filter(None, row.values())):
            continue
        where = f"{shown(path)}, row {number}"
        item = int(row["item"]) if row["item"].isdecimal() else None
        if item not in known.index:
            raise InputError(f"{where}: item {row['item']!r} is none of 1 to {len(known)}")
        if item in found:
            raise InputError(f"{where}: item {item} has a rating already; leave one of the rows")
        for text in TEXTS:
            if _plain(row[text]) != _plain(known.loc[item, text]):
                raise InputError(
                    f"{where}: the {text} is not that of item {item}; it was changed, or the "
                    "sheet was made of other answers: rate the sheet of this run"
                )
        if row["rating"] not in map(str, SCALE):
            scale = ", ".join(map(str, SCALE))
            what = f"rating {row['rating']!r} is none" if row["rating"] else "there is no rating"
            raise InputError(f"{where} (item {item}): {what}; ratings are {scale}")
        found[item] = int(row["rating"])
    lacking = [str(item) for item in known.index if item not in found]
    if lacking:
        raise InputError(f"{shown(path)}: rows are missing, of item {', '.join(lacking)}")
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a sheet, as comma, semicolon or tab part them, their cells stripped."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{shown(path)} is not UTF-8; save it as CSV (UTF-8)") from None
    mark = max(",;\t", key=text.partition("\n")[0].count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))
    except csv.Error as error:
        raise InputError(f"{shown(path)} is no CSV file: {error}") from None
    head, *rows = [[cell.strip() for cell in row] for row in table] or [[]]
    if lacking := [name for name in COLUMNS if name not in head]:
        has = ", ".join(head) or "nothing"
        raise InputError(f"{shown(path)}: row 1 has no column {lacking[0]}; it has {has}")
    return [dict.fromkeys(COLUMNS, "") | dict(zip(head, row, strict=False)) for row in rows]


def _plain(text: str) -> str:
    """What spreadsheets leave of a text: no apostrophe at the front, any white space."""
    return " ".join(text.strip().removeprefix("'").split())
