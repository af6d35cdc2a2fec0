"""Score the scores: reference answers in other words (``paraphrase``), and spoilt in five ways. A
metric notices a rung as far as its values tell it from the paraphrase: AUROC, 1 where each
paraphrase scores above each answer of the rung, one half where they cannot be told apart."""

import random
from pathlib import Path

import numpy as np
import pandas as pd

from rnagpt_lib.core.bootstrap import OUTER, OVERALL, Bootstrap
from rnagpt_lib.curate.questions.question_templates import NONE, RELATIONS, UNKNOWN
from rnagpt_lib.evaluate.fact_scores import lexicon

UNSUPPORTED = "evidence.unsupported"  # the more, the worse: ranked the other way round
PRECISION = "evidence.precision"  # of an answer that claims nothing there is none
PARAPHRASE = "paraphrase"
RUNGS = ("synonym", PARAPHRASE, "entity swapped", "negated", "another RNA's", "random")
# of each relation the paraphrase, and the reference's own sentence with another verb or noun
WORDS = pd.read_csv(Path(__file__).with_name("paraphrases.tsv"), sep="\t", index_col="relation")


def climb(asked: pd.DataFrame, pairs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The answers of all rungs to the templates' open questions (`questions.questions`) whose
    reference names one entity: a row for each question and rung, shaped like the answers of a model
    of the rung's name, so that whatever scores models scores rungs. A question without another
    entity, or another RNA, lacks that rung."""
    named = asked["entity"].notna() & ~asked["entity"].isin([UNKNOWN, NONE])
    own = asked[(asked["form"] == "open") & named & asked["relation"].isin([*RELATIONS])]
    draw, known, rows = random.Random(seed), lexicon(pairs), []
    for row in own.itertuples():
        for rung, text in _spoilt(row, own, known.get(row.relation, []), draw).items():
            if text is not None:
                rows.append((row.pair_id, rung, text))
    made = pd.DataFrame(rows, columns=["pair_id", "model", "prediction"])
    about = ["pair_id", "rna_id", "unit", "source", "kind", "form", "reference"]
    return own[about].merge(made, on="pair_id").assign(seed=seed)


def _spoilt(row, own: pd.DataFrame, known: list[str], draw: random.Random) -> dict:
    """What stands there at each rung for the reference of a question, or None."""
    relation = RELATIONS[row.relation]
    paraphrase, synonym = (words.format(row.entity) for words in WORDS.loc[row.relation])
    same = own["relation"] == row.relation
    right = {entity.casefold() for entity in own["entity"][(own["rna_id"] == row.rna_id) & same]}
    wrong = [entity for entity in known if entity.casefold() not in right]
    foreign = own["unit"] != row.unit

    def any_of(chosen: pd.Series) -> str | None:
        references = own["reference"].to_numpy(object)[chosen]
        return draw.choice(references) if len(references) else None

    return {
        "synonym": synonym,
        PARAPHRASE: paraphrase,
        "entity swapped": relation.say([draw.choice(wrong)]) if wrong else None,
        "negated": relation.denial.format(row.entity),
        "another RNA's": any_of(foreign & (own["reference"] != row.reference) & same),
        "random": any_of(foreign & ~same),
    }


def noticed(samples: pd.DataFrame, n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """How well each metric tells each rung from the paraphrase: metric, rung, value (AUROC), low,
    high (95 % over units), n. ``samples``: one value for each pair_id, model (the rung) and metric;
    facts of all open kinds are ``fact.all``. All metrics are compared over the questions that each
    of them scores; ``evidence.precision`` is left out, since a denial claims nothing."""
    columns = ["metric", "rung", "value", "low", "high", "n"]
    if samples.empty:
        return pd.DataFrame(columns=columns)
    samples = samples.reset_index(drop=True)
    facts = samples["metric"].isin([f"fact.{kind}" for kind in OVERALL])
    samples = samples[facts | ~samples["metric"].str.startswith(("fact.", PRECISION))]
    samples = samples.assign(
        metric=samples["metric"].mask(facts, "fact.all"),
        value=samples["value"] * np.where(samples["metric"] == UNSUPPORTED, -1, 1),
    )
    scored = samples.groupby("pair_id")["metric"].transform("nunique")
    samples = samples[scored == samples["metric"].nunique()]
    draws, rows = Bootstrap(samples["unit"], n, seed), []
    for metric, own in samples.groupby("metric", sort=False):
        fair = own[own["model"] == PARAPHRASE]
        for rung in RUNGS:
            if rung != PARAPHRASE and len(spoilt := own[own["model"] == rung]):
                rows.append((metric, rung, *_auroc(draws, fair, spoilt), len(spoilt)))
    return pd.DataFrame(rows, columns=columns)


def _auroc(draws: Bootstrap, fair: pd.DataFrame, spoilt: pd.DataFrame) -> tuple[float, ...]:
    """The share of pairs of a paraphrase and an answer of the rung in which the first scores
    higher, ties by half; and its bounds, with units drawn for both sides at once."""
    higher = np.sign(np.subtract.outer(fair["value"].to_numpy(), spoilt["value"].to_numpy()))
    mine, other = (draws.units.get_indexer(side["unit"]) for side in (fair, spoilt))
    wins = np.zeros((len(draws.units),) * 2)
    np.add.at(wins, (mine[:, None], other), (higher + 1) / 2)
    sizes = (np.bincount(side, minlength=len(draws.units)) for side in (mine, other))
    pairs = np.outer(*sizes)
    drawn = [np.einsum("nu,nu->n", draws.counts @ table, draws.counts) for table in (wins, pairs)]
    with np.errstate(invalid="ignore"):
        low, high = np.nanpercentile(drawn[0] / drawn[1], OUTER)
    return float(wins.sum() / pairs.sum()), float(low), float(high)
