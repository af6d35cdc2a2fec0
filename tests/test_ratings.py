"""The sheets for two raters: blind, harmless in a spreadsheet, and read back with care."""

import csv

import pandas as pd
import pytest

from rnagpt_lib import profiles, ratings
from rnagpt_lib.errors import InputError

EVIL = ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\r=1", "＝1", "'quoted", 'say "no", no;\n=1',
        "The RNA is a tRNA.", "é\u2028=1", ""]  # fmt: skip


def tables(n: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``n`` open questions and as many closed ones, answered by each model in its own words."""
    asked = pd.DataFrame(
        {"pair_id": f"P{i:03d}{form}", "unit": f"U{i // 2}", "form": form, "decidable": i % 10 != 0,
         "question": f"What is {i}?", "reference": f"The RNA is {i}."}
        for i in range(n) for form in ("open", "closed")
    )  # fmt: skip
    answers = pd.DataFrame(
        {"model": model, "pair_id": row.pair_id, "prediction": f"{model} says {row.pair_id}"}
        for model in (*ratings.MODELS, "control.none")
        for row in asked.itertuples()
    )
    return answers, asked


def test_models_are_mixed_evenly_and_hidden():
    items, key = ratings.draw(*tables(), n=20, seed=1)
    assert key.model.value_counts().to_dict() == dict.fromkeys(ratings.MODELS, 5)
    assert key.pair_id.is_unique and key.pair_id.str.endswith("open").all()
    assert list(items.columns) == ["item", "question", "reference", "answer"]
    expected = [f"{row.model} says {row.pair_id}" for row in key.itertuples()]
    assert items.answer.to_list() == expected
    assert key.model.to_list() != sorted(key.model) and key.pair_id.to_list() != sorted(key.pair_id)


def test_only_what_a_sequence_can_answer_is_asked():
    _, key = ratings.draw(*tables(), n=1000)
    assert not set(key.pair_id) & {f"P{i:03d}open" for i in range(0, 40, 10)}
    assert len(key) == 36 * 4 and not key.duplicated(["model", "pair_id"]).any()
    first = ratings.draw(*tables(), n=36)[1]
    assert first.pair_id.is_unique, "no question comes twice before all have come"


def test_of_a_model_with_several_trainings_the_first_is_rated():
    answers, asked = tables()
    again = answers[answers.model == "IT"].assign(prediction="of another seed")
    both = ratings.draw(pd.concat([answers, again], ignore_index=True), asked, n=20, seed=1)
    for one, alone in zip(both, ratings.draw(answers, asked, n=20, seed=1), strict=True):
        pd.testing.assert_frame_equal(one, alone)


def test_the_seed_alone_decides():
    one, other, third = (ratings.draw(*tables(), n=20, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one[0], other[0])
    assert not one[0].equals(third[0])


@pytest.fixture
def items() -> pd.DataFrame:
    return pd.DataFrame(
        {"item": range(1, len(EVIL) + 1), "question": "What?", "reference": "It.", "answer": EVIL}
    )


@pytest.fixture
def folder(items, tmp_path):
    key = items[["item"]].assign(model="IT", pair_id="P", unit="U")
    said = ratings.write(tmp_path / "ratings", items, key)
    assert "rater_1.csv and rater_2.csv" in said and "2: right" in said and "13 answers" in said
    return tmp_path / "ratings"


def cells(path) -> list[list[str]]:
    return list(csv.reader(path.open(encoding="utf-8-sig", newline="")))


def filled(
    folder, name="rater_1.csv", change=lambda rows: rows, mark=",", encoding="utf-8", **more
):
    """A sheet with ratings 0, 1, 2, 0, …, saved as some spreadsheet would."""
    head, *rows = cells(folder / "rater_1.csv")
    rows = change([[*row[:-1], str(i % 3)] for i, row in enumerate(rows)])
    path = folder.parent / name
    with path.open("w", encoding=encoding, newline="", **more) as file:
        csv.writer(file, delimiter=mark).writerows([head, *rows])
    return path


def test_no_cell_begins_a_formula(folder, items):
    head, *rows = cells(folder / "rater_1.csv")
    assert head == ratings.COLUMNS and not any(row[-1] for row in rows)
    assert cells(folder / "rater_2.csv") == [head, *rows]
    for row, text in zip(rows, EVIL, strict=True):
        assert not row[3].strip().startswith(tuple("=+-@＝")) and row[3] in (text, f"'{text}")
    assert [row[3][:1] for row in rows].count("'") == 9  # eight of them, and the quoted one
    assert "IT" not in (folder / "rater_1.csv").read_text("utf-8")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_sheets_come_back_from_any_spreadsheet(folder, items, mark, encoding):
    one = filled(folder, "a.csv", lambda rows: rows[::-1], mark, encoding)
    other = filled(folder, "b.csv", lambda rows: [*rows, [""] * 5, []], mark, encoding)
    found = ratings.read([one, other], items)
    assert found.one.to_list() == found.other.to_list() == [i % 3 for i in range(len(EVIL))]
    assert found.index.to_list() == items.item.to_list()


def at(place, column, value):
    def change(rows):
        rows[place][column] = value
        return rows

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (at(2, 4, ""), r"a.csv, row 4 \(item 3\): there is no rating; ratings are 0, 1, 2"),
        (at(2, 4, "3"), r"row 4 \(item 3\): rating '3' is none"),
        (at(0, 4, "right"), r"row 2 \(item 1\): rating 'right' is none"),
        (at(0, 4, "1.5"), "rating '1.5' is none"),
        (at(0, 0, "14"), "row 2: item '14' is none of 1 to 13"),
        (at(0, 0, "²"), "row 2: item '²' is none"),
        (at(1, 0, "1"), "row 3: item 1 has a rating already"),
        (at(10, 3, "The RNA is a snRNA."), "row 12: the answer is not that of item 11"),
        (at(3, 1, "Why?"), "row 5: the question is not that of item 4"),
        (lambda rows: rows[1:4] + rows[5:], "rows are missing, of item 1, 5"),
        (lambda rows: [], "rows are missing, of item 1, 2"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_row(folder, items, change, message):
    files = [filled(folder, "a.csv", change), filled(folder, "b.csv")]
    with pytest.raises(InputError, match=message):
        ratings.read(files, items)
    with pytest.raises(InputError, match=message):
        ratings.read(files[::-1], items)


def test_other_files_are_refused(folder, items, tmp_path):
    good = filled(folder, "b.csv")
    bad = tmp_path / "a.csv"
    for content, message in (
        (b"", "row 1 has no column item; it has nothing"),
        (b"item,question,reference,answer\n", "row 1 has no column rating; it has item, q"),
        ("item,é".encode("latin-1"), "is not UTF-8; save it"),
        (b"item,question,reference,answer,rating\n1," + b"x" * 200_000, "is no CSV file"),
    ):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=message):
            ratings.read([bad, good], items)
    bad.unlink()
    with pytest.raises(InputError, match="a.csv cannot be read: No such file"):
        ratings.read([bad, good], items)
    for files in ([good], [good, good], [good] * 3, []):
        with pytest.raises(InputError, match="two files, one of each rater"):
            ratings.read(files, items)
    with pytest.raises(InputError, match="two files"):
        profiles.load("mini").stage("06_ablations", rated=["a.csv"])


def test_items_and_key_are_found_again(folder, items, tmp_path):
    pd.testing.assert_frame_equal(ratings.load(folder)[0], items, check_dtype=False)
    with pytest.raises(InputError, match="items.parquet is missing; run 06"):
        ratings.load(tmp_path)
