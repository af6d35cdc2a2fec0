"""Tables → trees: what stands before the branches, what they are, and that no text is copied."""

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.train.training_examples import annotation_texts, stage1_examples, stage2_examples
from tests.support.tiny_model import config_of, letters_prompt, random_embeddings, rna_tables


@pytest.fixture(scope="module")
def model(llm) -> RnaGpt:
    return RnaGpt.build(config_of(llm))


def test_texts_in_pieces_are_the_same_texts_and_none_is_copied(model):
    """Read from parquet, a column lies in as many pieces as the file has groups of rows."""
    rnas, pairs = rna_tables([12, 15, 20, 17, 30, 11, 25])
    pairs["question"] += " Why?" * 3_000
    pairs["kind"] = ["local", "family"] * 6 + ["local"]
    pairs = pairs.sample(frac=1, random_state=0)
    arrow = pa.Table.from_pandas(pairs, preserve_index=False)
    parts = pa.concat_tables([arrow.slice(start, 3) for start in range(0, len(arrow), 3)])
    whole, pieces = (
        stage2_examples(model, rnas, frame, random_embeddings(rnas))
        for frame in (pairs, parts.to_pandas())
    )
    assert pieces.texts["question"].num_chunks == 5
    used = pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(used)
    trees = [(tree.rna_id, tree.branches) for tree in pieces]
    pa.set_memory_pool(pa.system_memory_pool())
    assert used.max_memory() < parts["question"].nbytes / 100
    assert trees == [(tree.rna_id, tree.branches) for tree in whole]
    assert pieces.hash() == whole.hash() and list(pieces.longest()) == list(whole.longest())
    kinds = [pieces.kinds(i) for i in range(7)]
    assert kinds == [whole.kinds(i) for i in range(7)]
    assert list(pieces.of_kinds(["local"])) == [each.count("local") for each in kinds]
    some = whole[1:6:2]
    assert list(some.rna_ids[some.chosen]) == ["R1", "R3", "R5"] and some.hash() != whole.hash()


def test_stage_1_reads_sentences_in_order_and_fields_without_literature(model):
    rnas, _ = rna_tables([12, 5, 9])
    said = {"sentence_no": [1, 0], "text": ["It regulates growth.", "A tRNA."]}
    annotations = pd.DataFrame({"rna_id": ["R0", "R0"], **said})
    pairs = pd.DataFrame(
        {
            "rna_id": ["R0", "R2", "R2", "R2"],
            "kind": ["rna_type", "rna_type", "rna_type", "species"],
            "form": ["open", "open", "closed", "open"],
            "answer": ["Not read.", "A tRNA.", "Yes.", "From yeast."],
        }
    )
    texts = annotation_texts(annotations, pairs)
    examples = stage1_examples(model, rnas, texts, random_embeddings(rnas))
    assert [tree.rna_id for tree in examples] == ["R0", "R2"]
    assert examples[0].before == [model.tokenizer.bos_token_id]
    assert examples[0].branches[0].prompt == []
    written = [model.tokenizer.decode(tree.branches[0].answer) for tree in examples]
    assert written == ["A tRNA. It regulates growth.</s>", "A tRNA. From yeast.</s>"]


@pytest.mark.parametrize("reads", ["letters", "nothing"])
def test_a_training_reads_what_is_read_when_it_is_asked(model, reads):
    """The ids of a tree are the prompt's, and no vector is asked for."""
    other = RnaGpt.build(replace(model.config, reads=reads))
    rnas, pairs = rna_tables([9, 14])
    for tree in stage2_examples(other, rnas, pairs, {}):
        sequence = rnas.set_index("rna_id").sequence[tree.rna_id]
        assert len(tree.embeddings) == 0
        asked = pairs[pairs.rna_id == tree.rna_id].question
        for branch, question in zip(tree.branches, asked, strict=True):
            letters = sequence if reads == "letters" else ""
            wanted = letters_prompt(other, letters, question)
            assert tree.before + branch.prompt == wanted
