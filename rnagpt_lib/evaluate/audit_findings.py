"""What an audit's numbers say, in sentences that are computed from them."""

from rnagpt_lib.evaluate.audit import SIDES, STRATA

FEW = 0.005  # a share below it is hardly worth a sentence of its own


def of(found: dict, baseline: str, stratum: str = "all", metric: str = "exact") -> dict | None:
    """A row of the audit's scores; None where there is none."""
    rows = (
        row
        for row in found["scores"]
        if (row["baseline"], row["stratum"], row["metric"]) == (baseline, stratum, metric)
    )
    return next(rows, None)


def strata(found: dict, metric: str) -> list[str]:
    """Strata that hold records, and not all of them once more."""
    rows = {name: of(found, "floor.random", name, metric) for name in STRATA}
    held = {name: row["records"] for name, row in rows.items() if row}
    return [name for name, n in held.items() if name == "all" or n < held["all"]]


def findings(found: dict) -> list[str]:
    """The sentences, the gravest first."""
    said = [
        _copies(found),
        _near(found),
        _distant(found),
        _chance(found),
        _composition(found),
        _blind(found),
        _answers(found),
        _contradictions(found),
        _repeats(found),
        _trials(found),
        _left_out(found),
        _remedy(found),
    ]
    return [sentence for sentence in said if sentence]


def _copies(found: dict) -> str:
    between = found["between"]
    n, total = between["rnas_in_train"], between["rnas"]
    if not n:
        return f"None of the {total:,} test RNAs is in train letter by letter."
    records = between["records_of_rnas_in_train"]
    return (
        f"{_percent(n, total)} of the test RNAs ({n:,} of {total:,}) are in train letter by letter; "
        f"{_percent(records, between['records'])} of the test records ask about them."
    )


def _near(found: dict) -> str:
    between, nearest = found["between"], of(found, "floor.nearest")
    n, total = between["rnas_with_relative_in_train"], between["rnas"]
    copying = f"A model that copies the answer of its nearest train RNA scores {_score(nearest)}"
    if not n:
        return f"No test RNA has a relative in train. {copying}."
    said = (
        f"{_percent(n, total)} of the test RNAs ({n:,} of {total:,}) have a relative in train, "
        f"{100 * found['identity']:.0f} % identical over {100 * found['coverage']:.0f} % of the "
        f"shorter one{', copies included' if between['rnas_in_train'] else ''}. {copying}"
    )
    without = of(found, "floor.nearest", "unrelated")
    if without is None:
        return f"{said}, so up to there a score can be memory alone; no test RNA lacks a relative."
    return (
        f"{said}, so up to there a score can be memory alone; on the records about RNAs without a "
        f"relative in train it scores {_score(without)}."
    )


def _distant(found: dict) -> str:
    """Whether the nearest RNA still helps where no relative is near."""
    near, common = (of(found, f"floor.{name}", "unrelated") for name in ("nearest", "most_common"))
    if near is None or near["low"] <= common["high"]:
        return ""
    return (
        f"Without near relatives, too, the nearest train RNA's answer ({_score(near)}) is better "
        f"than the most common one ({_score(common)}): farther kin, such as other members of a "
        "family, or a like composition tell answers as well."
    )


def _chance(found: dict) -> str:
    common, length = of(found, "floor.most_common"), of(found, "floor.length")
    return (
        f"Always giving the most common answer scores {_score(common)}; looking at nothing but the "
        f"RNA's length, {_score(length)}."
    )


def _composition(found: dict) -> str:
    row = max((of(found, f"kmers.{name}") for name in ("logistic", "nearest")), key=_value)
    kind = (
        "a logistic regression" if row["baseline"].endswith("logistic") else "a nearest neighbour"
    )
    common = of(found, "floor.most_common")
    above = "above" if row["low"] > common["high"] else "not clearly above"
    return (
        f"Counting words of one to four letters ({kind}) scores {_score(row)}, {above} the most "
        "common answer: what a model knows of structure or sequence order begins above that."
    )


def _blind(found: dict) -> str:
    blind, random = of(found, "blind"), of(found, "floor.random")
    if found["within"]["test"]["questions"] == 1:
        return "All test records ask the same, so the question alone tells nothing."
    if blind["low"] > random["high"]:
        return (
            f"Without seeing any RNA, the words of the question alone score {_score(blind)}, a "
            f"random answer to the same question {_short(random)}: the wording gives answers away, "
            "or some answers are far more common than others."
        )
    return (
        f"Without seeing any RNA, the words of the question alone score {_score(blind)}, hardly "
        f"more than a random answer ({_short(random)})."
    )


def _answers(found: dict) -> str:
    between = found["between"]
    shared, total = between["records_shared"], between["records"]
    if found["classes"] is not None:
        n = len(found["classes"])
        new = total - shared["answer"]
        rest = f"; {new:,} test records have a class that train lacks" if new else ""
        return f"The answers are {n:,} classes{rest}."
    return (
        f"{_percent(shared['answer'], total)} of the test answers are answers in train word for "
        f"word, {_percent(shared['question and answer'], total)} with the same question: nothing "
        "new has to be written to give them."
    )


def _contradictions(found: dict) -> str:
    across = found["between"]["records_contradicting_train"]
    within = {side: found["within"][side]["contradicting_records"] for side in SIDES}
    told = [f"{n:,} within {side}" for side, n in within.items() if n]
    told += [f"{across:,} of test against train"] if across else []
    if not told:
        return ""
    return (
        f"Some records give one RNA different answers to one question ({', '.join(told)}): no "
        "model can get them all right."
    )


def _repeats(found: dict) -> str:
    told = [
        f"{n:,} in {side} ({_percent(n, found['within'][side]['records'])})"
        for side in SIDES
        if (n := found["within"][side]["repeated_records"])
    ]
    return f"Records that repeat an earlier one in full: {', '.join(told)}." if told else ""


def _trials(found: dict) -> str:
    here = found["within"]["test"]
    return (
        f"The {here['records']:,} test records are about {here['rnas']:,} RNAs in "
        f"{here['groups']:,} groups of similar ones; these, not the records, are what bounds are "
        "drawn over."
    )


def _left_out(found: dict) -> str:
    told = [f"{n:,} of {side}" for side in SIDES if (n := found["files"][side]["left_out"])]
    return f"Records that could not be used were left out: {', '.join(told)}." if told else ""


def _remedy(found: dict) -> str:
    between = found["between"]
    if between["rnas_with_relative_in_train"] <= FEW * between["rnas"]:
        return ""
    return (
        f"What to do: leave out the {between['records_of_rnas_with_relative_in_train']:,} test "
        "records that the JSON lists as overlapping, or report their score apart; better, split "
        "by groups of similar RNAs or by families, and audit again."
    )


def _value(row: dict) -> float:
    return row["value"]


def _percent(n: int, total: int) -> str:
    """37 %, 0.4 %, and never 0 % or 100 % of what is not."""
    share = 100 * n / total
    return f"{share:.1f} %" if 0 < share < 1 or 99 < share < 100 else f"{share:.0f} %"


def _score(row: dict) -> str:
    return f"{_short(row)} [{row['low']:.2f}, {row['high']:.2f}]"


def _short(row: dict) -> str:
    return f"{row['value']:.2f}"
