"""Tables say what a run's files say: in the paper's layout, variants, types, runs beside, LaTeX."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from rnagpt_lib.core import paper
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.evaluate import ablation, results
from rnagpt_lib.report import tables
from rnagpt_lib.report.tables import NONE, OTHER, SEVERAL
from rnagpt_lib.runs.stages import MODELS, stage_folder
from tests.support import fake_results

SAY = fake_results.TYPED.format
PAYLOAD = "<script>alert(1)</script>\\input{x} \"'&$\\frac{x$"

# --- the tables of `results`


def test_the_papers_layout_has_our_values_and_the_papers_labelled(found):
    table = tables.rouge_table(found)
    assert list(table.index) == ["vanilla", "MA", "IT"]
    assert table.loc["IT", "ROUGE-L"] == f"{found.value('IT', 'rougeL'):.4f}"
    assert table.loc["MA", "ROUGE-1 (paper)"] == "0.0922"  # Table 4: the source is dnc
    given = replace(found, scores=found.scores.assign(source="given"))
    assert tables.rouge_table(given).loc["MA", "ROUGE-1 (paper)"] == "0.2239"  # Table 2
    published = {f"{value:.4f}" for value in paper.scores().value}
    for table in (tables.rouge_table(found), tables.semantic_table(found)):
        for column in table.columns:
            cells = {part for cell in table[column] for part in cell.split(" / ")}
            assert (cells <= published) == column.endswith("(paper)")


def test_facts_table_lists_models_floors_and_controls(found):
    table = tables.facts_table(found)
    assert len(table) == 12 and table.loc["IT", "all"] == f"{found.value('IT', 'fact.all'):.2f}"
    assert table.loc["IT", "species"] == "–"
    seen = tables.facts_table(found, stratum="seen")
    assert seen.loc["IT", "rna_type"] == f"{found.value('IT', 'fact.rna_type', stratum='seen'):.2f}"
    scores = found.scores[~found.scores.metric.str.startswith("S_")]  # a scorer is missing
    without = replace(found, scores=scores)
    assert [c for c in tables.semantic_table(without) if "paper" not in c] == []
    assert not any("MiniLM" in c for c in tables.facts_table(without))


def test_evidence_has_its_own_number_of_answers(found):
    assert set(tables.evidence_table(found).to_numpy().ravel()) == {"–"}  # a run without it
    scores = found.scores.replace({"metric": {"rouge1": "evidence.precision"}})
    table = tables.evidence_table(replace(found, scores=scores))
    assert list(table.columns) == ["precision", "recall", "unsupported"] and len(table) == 12
    assert table.precision["IT"] == tables.bounded(found, "IT", "rouge1")


def test_place_is_zero_at_the_random_floor_and_differences_say_which_are_clear(found):
    table = tables.place_table(found)
    assert set(table.loc["floor.random"]) <= {"0.00", "–"}
    assert 0 < float(table.loc["IT", "ROUGE-L"]) < 1
    perfect = replace(found, scores=found.scores.assign(value=1.0))
    assert set(tables.place_table(perfect).loc["IT"]) == {"–"}
    table = tables.differences_table(found, [("IT", "vanilla", "fact.all"), ("IT", "x", "rouge1")])
    assert len(table) == 1 and table.clear[0] == "yes" and table.difference[0].startswith("+0.")


# --- IT beside its variants


def test_variants_have_a_row_each_with_their_lead(found):
    table = tables.variants(found)
    assert list(table.index) == ["it.text", "it.blind"] and table.trainings.tolist() == ["3", "1"]
    row = found.differences.query(
        "model_a == 'IT' and model_b == 'it.blind' and metric == 'fact.all'"
    ).iloc[0]
    told = f"{row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    assert table.loc["it.blind", "IT − it, fact.all"] == told
    assert table.loc["it.text", "rougeL"] == f"{found.value('it.text', 'rougeL'):.2f}"
    answers = found.answers[~found.answers.model.str.startswith("it.")]
    assert tables.variants(replace(found, answers=answers)).empty


def test_what_lacks_stage_1_too_stands_beside_the_training_without_it(found):
    column = "it.no_ma − it, fact.local"
    assert column not in tables.variants(found)  # it was not trained
    wanted = [(a, b) for a, b, metric in ablation.comparisons() if metric == "fact.local"]
    assert {("it.no_ma", "it.text"), ("it.no_ma", "it.blind")} <= set(wanted)
    both = found.differences.query("model_a == 'IT' and model_b == 'it.text'")
    others = [both.assign(model_a="it.no_ma", value=0.25), both.assign(model_b="it.no_ma")]
    said = found.answers[found.answers.model == "IT"].assign(model="it.no_ma")
    more = replace(
        found,
        differences=pd.concat([found.differences, *others]),
        answers=pd.concat([found.answers, said]),
    )
    table = tables.variants(more)
    assert table.loc["it.text", column].startswith("+0.25 [")
    assert table.loc["it.no_ma", column] == "–"


def test_local_facts_by_type_are_those_of_each_training(found):
    table = tables.local_types(found)
    trainings = ["IT, seed 0", "IT, seed 1", "IT, seed 2", "it.text, seed 0", "it.text, seed 1"]
    assert list(table.index) == [*trainings, "it.text, seed 2", "it.blind, seed 0", "floor.nearest"]
    samples = pd.read_parquet(found.folder / "samples.parquet")
    rnas = pd.read_parquet(found.folder.parent / "03_decompose_qa" / "rnas.parquet")
    local = samples[samples.metric == "fact.local"].merge(rnas[["rna_id", "rna_type"]], on="rna_id")
    for rna_type, own in local.groupby("rna_type"):
        one = own[(own.model == "IT") & (own.seed == 2)]
        assert table.loc["IT, seed 2", f"{rna_type} (n={len(one)})"] == f"{one.value.mean():.2f}"
    samples[samples.metric != "fact.local"].to_parquet(found.folder / "samples.parquet")
    assert tables.local_types(found).empty
    (found.folder / "samples.parquet").unlink()
    assert tables.local_types(found).empty


def test_minimal_pairs_have_a_row_for_each_training_that_was_asked(found):
    table = tables.minimal_pairs(found)
    assert list(table.index) == ["IT, seed 0", "it.text, seed 1"]
    assert table.followed["IT, seed 0"].startswith("0.93 [0.8")
    assert table.tRNA.tolist() == ["0.95", "0.50"] and table.pre_miRNA.tolist() == ["0.90", "0.00"]
    (found.folder / tables.MINIMAL).unlink()
    assert tables.minimal_pairs(found).empty


# --- RNA types


def answering(found, told: list[tuple[str, str]]) -> results.Results:
    """The run with these (reference, prediction) as IT's answers for the type."""
    rows = found.answers.query("model == 'IT' and kind == 'rna_type'").head(len(told))
    references, predictions = zip(*told, strict=True)
    return replace(found, answers=rows.assign(reference=references, prediction=predictions))


def test_confusion_counts_every_answer_where_it_belongs(found, monkeypatch):
    told = [(SAY("tRNA"), SAY("tRNA")), (SAY("tRNA"), "It is a TRNA, I think."),
            (SAY("tRNA"), SAY("rRNA")), (SAY("rRNA"), "A tRNA or an rRNA."), (SAY("rRNA"), "DNA."),
            (SAY("tRNA"), "The RNA is not of the type tRNA."), (SAY("rRNA"), "")]  # fmt: skip
    table = tables.confusion(answering(found, told))
    assert table.loc["tRNA"].to_dict() == {"tRNA": 2, "rRNA": 1, NONE: 1, SEVERAL: 0}
    assert table.loc["rRNA"].to_dict() == {"tRNA": 0, "rRNA": 0, NONE: 2, SEVERAL: 1}
    assert list(table.index) == list(table.columns[:2]) == ["tRNA", "rRNA"]
    path = stage_folder("fake", "03_decompose_qa") / "pairs.parquet"  # types of the training side
    pairs = pd.read_parquet(path)
    pairs.loc[pairs.kind == "rna_type", "answer"] = SAY("tmRNA")
    pairs.to_parquet(path)
    told = [(SAY("tRNA"), SAY("tmRNA")), (SAY("tRNA"), SAY("tRNA")), (SAY("rRNA"), SAY("rRNA"))]
    table = tables.confusion(answering(found, told))
    assert table.loc["tRNA"].to_dict() == {"tRNA": 1, "rRNA": 0, OTHER: 1, NONE: 0, SEVERAL: 0}
    monkeypatch.setattr(tables, "MOST_TYPES", 1)
    table = tables.confusion(answering(found, told))
    assert list(table.index) == ["tRNA"] and list(table) == ["tRNA", OTHER, NONE, SEVERAL]


# --- other runs beside


@pytest.fixture
def others(found):
    """Runs of two other sources, about the same RNAs."""
    for name, source in (("ai", "given"), ("one", "single_pass")):
        fake_results.write(name)
        path = stage_folder(name, "06_ablations") / "scores.parquet"
        own = pd.read_parquet(path)
        own.assign(source=source, value=own.value * len(name) / 4).to_parquet(path)
    return [results.load(name) for name in ("ai", "one")]


def sequences(found) -> pd.Series:
    rnas = pd.read_parquet(stage_folder(found.run, "03_decompose_qa") / "rnas.parquet")
    return rnas.set_index("rna_id").sequence


def test_runs_of_all_sources_stand_side_by_side(found, others):
    table = tables.side_by_side([found, *others], "fact.local")
    assert list(table.index[:4].get_level_values("model")) == [*MODELS, "floor.nearest"]
    assert list(dict.fromkeys(table.index.get_level_values("source"))) == [
        "dnc", "litsumm", "single_pass",
    ]  # fmt: skip
    for run in (found, *others):
        own = table.xs(run.run).xs("IT", level="model").iloc[0]
        assert tables.bounded(run, "IT", "rougeL").startswith(own["ROUGE-L"])
        assert (own["RNAs"], own["questions"]) == (40, 160)
    semantic, rouge = tables.paper_layout(others[0])
    assert (semantic.name, rouge.name) == ("ai_semantic", "ai_rouge")
    assert rouge.title.endswith("litsumm, run ai") and "Tables 1 and 2 (AIS)" in rouge.note
    assert "no table of a single pass" in tables.paper_layout(others[1])[0].note


def test_runs_about_other_rnas_are_refused_or_told(found, others, monkeypatch):
    assert tables.check_comparable("fake", sequences(found), others) == []
    some = sequences(found).iloc[:30]
    [first, _] = tables.check_comparable("fake", some, others)
    assert "Run ai was asked about 40 RNAs and run fake about 30, of which 30 are the same" in first
    path = stage_folder("ai", "03_decompose_qa") / "rnas.parquet"
    rnas = pd.read_parquet(path)
    rnas.assign(sequence="GGGG").to_parquet(path)
    with pytest.raises(InputError, match="run ai cannot stand beside run fake: R0 is another seq"):
        tables.check_comparable("fake", sequences(found), others)
    rnas.to_parquet(path)
    elsewhere = sequences(found).rename(index="X{}".format)
    split = {"fake": "cluster", "ai": "random", "one": "random"}
    monkeypatch.setattr(tables, "setting", lambda run, *_: split[run])
    said = tables.check_comparable("fake", elsewhere, others)
    assert len(said) == 2 and "(SPLIT random)" in said[0] and "leakage tax alone" in said[0]
    monkeypatch.setattr(tables, "setting", lambda *_: "cluster")
    with pytest.raises(InputError, match="no RNA is in both"):
        tables.check_comparable("fake", elsewhere, others)


def test_metrics_that_are_defined_otherwise_are_named(found, others):
    assert tables.compare_definitions(found, others) == []
    scores = others[0].scores.copy()
    scores.loc[scores.metric.isin(["rouge1", "rougeL"]), "definition"] = "new"
    [said] = tables.compare_definitions(found, [replace(others[0], scores=scores)])
    assert said == (
        "Run ai defines rouge1, rougeL as new, run fake as fake: these values do not compare."
    )


# --- LaTeX


def lines_up(text: str) -> None:
    """Braces close, environments nest, and rows have the cells that the columns promise."""
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    depths = [bare[:i].count("{") - bare[:i].count("}") for i in range(len(bare) + 1)]
    assert depths[-1] == 0 and min(depths) >= 0
    assert bare.count("$") % 2 == 0 and not set(bare) & set("#^~")
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        assert opened.pop() == name if kind == "end" else not opened.append(name)
    assert not opened
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert rows and all(len(re.findall(r"(?<!\\)&", row)) == columns - 1 for row in rows)


def test_every_table_is_a_latex_file_the_same_twice(found, others):
    (found.folder / "params.json").write_text('{"params": {"runs": ["fake", "ai", "one", "ai"]}}')
    answers = pd.read_parquet(found.folder / "answers.parquet")
    answers.loc[answers.kind == "rna_type", "reference"] = SAY(f"tRNA{PAYLOAD}")
    answers.to_parquet(found.folder / "answers.parquet")
    written = tables.write_latex("fake")
    first = {path: path.read_text("utf-8") for path in written}
    assert {path.stem for path in written} == {
        "facts", "strata", "place", "differences", "variants", "local_types", "rouge", "semantic",
        "confusion", "minimal_pairs", "leakage", "sources", "ai_rouge", "ai_semantic", "one_rouge",
        "one_semantic",
    }  # fmt: skip
    for text in first.values():
        lines_up(text)
        assert r"\toprule" in text and r"\caption{" in text and r"\label{tab:" in text
    confusion = first[found.folder / "tables" / "confusion.tex"]
    assert (
        r"\textbackslash{}input\{x\}" in confusion and r"\$\textbackslash{}frac\{x\$" in confusion
    )
    (found.folder / "params.json").unlink()
    assert len(tables.write_latex("fake")) == 11 and not list(found.folder.glob("tables/ai*"))
    (found.folder / "minimal_pairs.parquet").unlink()  # a run of an earlier version
    (found.folder / "leakage.parquet").unlink()
    assert len(tables.write_latex("fake")) == 9


def test_latex_escapes():
    for text, latex in {
        "a_b & 50 % of #1": r"a\_b \& 50 \% of \#1",
        "\\input{/etc/passwd}": r"\textbackslash{}input\{/etc/passwd\}",
        "$x^2$ ~": r"\$x\textasciicircum{}2\$ \textasciitilde{}",
        "[0, 1]": "{[}0, 1]",
        "*new": "{*}new",
        "– → −": r"-- $\rightarrow$ $-$",
        "café β\x00\n\u202ec": r"café U+03B2 c",
        "": "",
    }.items():
        assert tables.escape(text) == latex
