"""BERTScore: bert_score's values, each text embedded once, empty and long texts counted."""

import logging
import random

import numpy as np
import pytest
import torch
from bert_score import BERTScorer
from transformers import BertModel, BertTokenizer

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.params import Ablations
from rnagpt_lib.evaluate import bertscore
from rnagpt_lib.evaluate.bertscore import BertScore, Weights
from rnagpt_lib.evaluate.semantic_scorers import scorers
from tests.support import random_bert

WORDS = "the RNA rna binds HuR targets naïve β-actin 5S 28S-A1310 cells, running runs it. x".split()
TINY = Weights("tiny", 2)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return random_bert.write(tmp_path_factory.mktemp("bert"), **random_bert.TINY)


@pytest.fixture(scope="module")
def minilm():
    return next(scorers(Ablations(semantic=("MiniLM",))))


def pairs(n: int, distinct: int) -> tuple[list[str], list[str]]:
    """``n`` pairs out of ``distinct`` texts a side; empty ones and those of 600 words among them."""
    rng = random.Random(0)
    sides = []
    for long in ("cell " * 600, "x " * 601):
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(distinct)]
        sides.append(rng.choices([*texts, "", " \n", long], k=n))
    return sides


def peer(folder, layer: int, dtype: torch.dtype, predictions, references) -> np.ndarray:
    """bert_score itself, with nothing padded; it cannot read empty texts, which count as 0."""
    scorer = BERTScorer(model_type=str(folder), num_layers=layer, use_fast_tokenizer=True)
    scorer._tokenizer.model_max_length = 512
    scorer._model.to(dtype)
    found = np.zeros((len(predictions), 3))
    full = [i for i, pair in enumerate(zip(predictions, references, strict=True))
            if all(map(str.strip, pair))]  # fmt: skip
    texts = [[side[i] for i in full] for side in (predictions, references)]
    found[full] = torch.stack(scorer.score(*texts, batch_size=1), dim=1)
    return found


def check_equal(scorer: BertScore, folder, layer: int, dtype: torch.dtype) -> None:
    predictions, references = pairs(500, 40)
    scorer.model.to(dtype)
    found = scorer.score(predictions, references)
    expected = peer(folder, layer, dtype, predictions, references)
    scorer.model.to(torch.float32)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5
    np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)
    empty = sum(not text.strip() for text in predictions + references)
    cut = sum(len(text) > 600 for text in predictions + references)
    assert (found == 0).all(axis=1).sum() > 10 and empty > 10 and cut > 10
    assert found.iloc[:, 2].max() > found.iloc[:, 2].mean() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_bert_scores_by_minilm(minilm, dtype):
    folder = minilm.tokenizer.name_or_path
    check_equal(minilm, folder, 6, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_bert_scores_by_a_model_of_berts_size(tmp_path, dtype):
    folder = random_bert.write(tmp_path / "base")
    check_equal(BertScore("base", folder, Weights("base", 9)), folder, 9, dtype)


def naive(folder, prediction: str, reference: str, layer: int) -> tuple:
    """Greedy matching, one text at a time: [CLS] and [SEP] may be matched but do not count."""
    tokenizer = BertTokenizer.from_pretrained(folder)
    model = BertModel.from_pretrained(folder).eval()

    def vectors(text):
        ids = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**ids, output_hidden_states=True).hidden_states[layer][0]
        return torch.nn.functional.normalize(hidden, dim=-1)

    cosine = vectors(prediction) @ vectors(reference).T
    precision = cosine.max(1).values[1:-1].mean().item()
    recall = cosine.max(0).values[1:-1].mean().item()
    return precision, recall, 2 * precision * recall / (precision + recall)


def test_it_is_greedy_matching(bert, caplog, capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    scorer = BertScore("tiny", bert, TINY)
    predictions = [
        "the rna is a trna.",
        "it binds hur",
        "",
        "word " * 200,
        "same",
        "same",
        "\u200b",
    ]
    references = ["the rna is a snorna.", "it binds la.", "text", "other", "same", "  ", "text"]
    found = scorer.score(predictions, references)
    assert not caplog.text, "texts that are cut are counted, and no warning stands in a notebook"
    assert not capfd.readouterr().err
    assert list(found) == ["S_tiny.precision", "S_tiny.recall", "S_tiny.f1"]
    for row in (0, 1, 3, 4):
        expected = naive(bert, predictions[row], references[row], 2)
        assert found.iloc[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert (found.iloc[[2, 5, 6]] == 0).all(axis=None)
    said = scorer.definition
    assert (said["empty_texts"], said["cut_texts"], said["layer"]) == (3, 1, 2)
    assert said["bert_score"].startswith("tiny_L2_no-idf") and len(said["sha256"]) == 64
    assert scorer.id == f"S_tiny-layer2-{said['sha256'][:8]}-unpadded" and str(bert) not in str(
        said
    )


def test_a_score_does_not_depend_on_the_other_texts(bert):
    scorer = BertScore("tiny", bert, Weights("tiny", 3))
    predictions, references = pairs(60, 30)
    together = scorer.score(predictions, references)
    for row in range(0, 60, 7):
        alone = scorer.score(predictions[row : row + 1], references[row : row + 1])
        np.testing.assert_allclose(together.iloc[row], alone.iloc[0], atol=1e-5)


def test_every_distinct_text_is_embedded_once_whichever_models_said_it(bert, monkeypatch):
    monkeypatch.setattr(bertscore, "HELD", 2)
    scorer = BertScore("tiny", bert, TINY)
    rows = []
    scorer.model.register_forward_hook(lambda model, given, out: rows.append(len(out[0])))
    references = ["the rna is a trna.", "it binds hur", "a much longer reference of an rna"]
    answers = ["it binds la.", *references[:2], "a", "b", "c", "it binds la.", "", "c"]
    scorer.score(answers, references * 3)
    assert sum(rows) == len({*answers, *references} - {""})


def test_batches_hold_to_their_tokens():
    lengths = {str(n): n for n in (3, 5, 900, 8, 500, 13, 4096)}
    made = list(bertscore._batches(lengths))
    assert sorted(sum(made, [])) == sorted(lengths) and len(made) == 1
    many = {f"{n}": 400 for n in range(25)}
    assert [len(batch) for batch in bertscore._batches(many)] == [10, 10, 5]


def test_other_weights_are_refused(bert, tmp_path):
    with pytest.raises(InputError, match="sha256 .*, but that of tiny is 000000000000…; put"):
        BertScore("tiny", bert, Weights("tiny", 2, "0" * 64))
    with pytest.raises(InputError, match="lacks layer 4, it has 3"):
        BertScore("tiny", bert, Weights("tiny", 4))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="neither model.safetensors nor pytorch_model.bin"):
        BertScore("tiny", empty, TINY)


def test_weights_that_lack_a_part_are_refused(bert, tmp_path):
    """Else the library would draw that part anew, with a warning."""
    from safetensors.torch import load_file, save_file

    folder = random_bert.write(tmp_path / "part", **random_bert.TINY)
    kept = load_file(folder / "model.safetensors")
    del kept["bert.encoder.layer.1.output.dense.weight"]
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks encoder.layer.1.output.dense.weight"):
        BertScore("tiny", folder, TINY)


def test_a_pickle_is_read_as_tensors_alone(bert, tmp_path):
    folder = random_bert.write(tmp_path / "bin", **random_bert.TINY)
    expected = BertScore("tiny", folder, TINY).score(["it binds hur"], ["it binds la"])
    state = BertModel.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    found = BertScore("tiny", folder, TINY).score(["it binds hur"], ["it binds la"])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    torch.save({"layer": Armed()}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        BertScore("tiny", folder, TINY)


class Armed:
    """Runs when it is unpickled without care."""

    def __reduce__(self):
        return pytest.fail, ("a pickle ran",)
