"""The base models: what they were trained on, that the recipe works, that the files are whole."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.build import build, dictionary
from models.build import encoder as masking
from models.build import llm as writing
from models.build.texts import texts
from rnagpt_lib.core import paths
from rnagpt_lib.core.files import digest, read_json, sha256
from rnagpt_lib.core.sequences import nearest
from rnagpt_lib.curate.splits.relatives import similar
from rnagpt_lib.evaluate import leakage
from rnagpt_lib.miniature import world
from rnagpt_lib.model.encoder import Encoder

TINY = masking.ENCODER | {"layers": 2, "embed_dim": 32, "ffn_embed_dim": 64}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
MODELS = ("mini-encoder", "mini-llm")


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return texts(world.make(60, 0, build.POOL))


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    return [rna.sequence for rna in world.entries(600, 0, build.POOL)]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(paths.models() / "mini-llm")


@pytest.mark.slow
def test_no_sequence_of_a_run_is_near_one_of_the_pool():
    kept = build.pool_rnas(1000, against=300)
    pool = [rna.sequence for rna in kept]
    run = [rna.sequence for rna in world.entries(300, build.SEED, "run")]
    assert len(kept) > 900 and not set(pool) & set(run)
    assert not {rna.lineage for rna in kept} & {rna.lineage for rna in world.entries(300)}
    closest = nearest(run, pool, k=6)
    assert not [i for i, j in enumerate(closest) if similar(run[i], pool[j])]


@pytest.mark.slow
def test_what_the_base_models_may_have_read_is_known_for_every_seed(monkeypatch):
    monkeypatch.setattr(leakage, "RUN_SIZE", 300)
    monkeypatch.setattr(leakage, "POOL_RNAS", 1000)
    assert not leakage.read_before(world.make(200, build.SEED).rnas).any()
    rnas = world.make(200, 1).rnas
    near = leakage.read_before(rnas)
    assert near.any() and near.mean() < 0.2 and near.index.equals(rnas.index)
    pool = [rna.sequence for rna in world.entries(1000, build.SEED, build.POOL)]
    apart = rnas.sequence[~near & (rnas.family != "")].tolist()
    closest = nearest(apart, pool, k=6)
    assert not [i for i, j in enumerate(closest) if similar(apart[i], pool[j])]
    assert not leakage.read_before(rnas.assign(rna_id="mine")).any()


def test_no_abstract_and_no_name_of_a_run_is_in_the_texts(documents):
    run = world.make(300, 0, "run")
    read = "\n".join(documents)
    assert not [a for a in run.articles.abstract if a in read]
    held_out = {rna.family.name for rna in world.entries(300, 0) if rna.stratum == "held_out"}
    assert held_out and not [name for name in held_out if f"{name}-" in read or f"{name}." in read]


def test_texts_are_the_same_again_and_ask_about_no_sequence(documents):
    assert texts(world.make(60, 0, build.POOL)) == documents
    assert any(document.startswith("###Human: ") for document in documents)
    assert any("<RNA>" in document for document in documents)
    assert not [d for d in documents if "###" in d and "<RNA>" in d]


@pytest.mark.slow
def test_pretraining_lowers_the_encoders_loss_and_repeats(sequences):
    recipe = build.Recipe(rnas=600, steps=20, step_tokens=500, rate=3e-3, warmup=2)
    curves, weights = [], []
    for _ in range(2):
        encoder = Encoder.fresh(masking.ENCODER, seed=0)
        dictionary.install(encoder, sequences, seed=0)
        before = encoder.model.layers[1].fc1.weight.clone()
        losses = masking.masked_losses(encoder, sequences, recipe.step_tokens, 0)
        curves.append(build.fit(encoder.model, losses, recipe, "tiny"))
        assert torch.equal(encoder.model.layers[1].fc1.weight, before)  # until the thaw
        weights.append(encoder.model.layers[3].fc1.weight.detach())
    assert curves[0][-1] < curves[0][0] - 0.05
    assert curves[0] == curves[1] and torch.equal(*weights)
    dictionary.thaw(encoder)
    frozen = [n for n, p in encoder.model.named_parameters() if not p.requires_grad]
    assert frozen == ["embed_positions.weight"]


def test_words_recur_but_not_everywhere_and_cover_the_rnas(sequences):
    for kind in dictionary.KINDS:
        kind = replace(kind, count=40, rare=10)  # a small pool
        words = dictionary.recurring(sequences, kind)
        assert len(set(words)) == 40 and {len(word) for word in words} == {kind.length}
        holders = [{i for i, s in enumerate(sequences) if word in s} for word in words]
        for rows in holders:
            assert kind.rare <= len(rows) <= kind.common * len(sequences)
        assert len(set().union(*holders[:10])) > len(set().union(*holders[-10:]))


def test_words_of_the_same_rnas_have_like_topics():
    sequences = ["AAAACCCC", "AAAACCCC", "GGGGUUUU", "GGGGUUUU"]
    vectors = dictionary.topics(["AAAA", "CCCC", "GGGG"], sequences, size=2)
    alike = vectors @ vectors.T
    assert alike[0, 1] == pytest.approx(1) and alike[0, 2] == pytest.approx(0, abs=1e-9)


def test_the_dictionary_fetches_neighbours_and_finds_words(sequences):
    encoder = Encoder.fresh(masking.ENCODER, seed=0)
    dictionary.install(encoder, sequences, seed=0)
    kind, letters = dictionary.KINDS[0], "ACGU"
    words = dictionary.recurring(sequences, kind)
    sequence = next(s for s in sequences if any(word in s for word in words))
    layers = encoder.model(encoder.tokens([sequence]), repr_layers=[2])["representations"]
    vectors = layers[2][0, 1:-1]
    for offset in (-7, -3, -1, 0, 2, 6):
        held = vectors[10:-10, dictionary._slot(offset)] @ dictionary._CODES.T
        read = "".join(letters[i] for i in held.argmax(1))
        assert read == sequence[10 + offset : len(sequence) - 10 + offset]
    loud = vectors[:, dictionary._TOPICS].norm(dim=1)
    found = [sequence.index(word) + kind.length // 2 for word in words if word in sequence]
    assert loud[found].min() > loud.median() + dictionary.LOUD / 2


@pytest.mark.slow
def test_pretraining_lowers_the_llms_loss_and_repeats(documents):
    tokenizer = writing.make_tokenizer(documents, vocabulary=500)
    tokens = writing.tokenise(tokenizer, documents)
    recipe = build.Recipe(rnas=60, steps=20, step_tokens=1024, rate=5e-3, warmup=2)
    curves = []
    for _ in range(2):
        llm = writing.make_llm(tokenizer, 0, **SMALL)
        losses = writing.next_token_losses(llm, tokens, recipe.step_tokens, 0)
        curves.append(build.fit(llm, losses, recipe, "tiny"))
    assert curves[0][-1] < curves[0][0] - 0.5 and curves[0] == curves[1]


def test_the_mask_hides_letters_only_and_its_share():
    encoder = Encoder.fresh(TINY, seed=0)
    alphabet = encoder.alphabet
    tokens = encoder.tokens(["ACGU" * 30, "ACGU" * 20] * 20)
    inputs, where = masking.mask(tokens, alphabet, torch.Generator().manual_seed(0))
    letters = tokens >= alphabet.get_idx("A")
    assert not (where & ~letters).any() and torch.equal(inputs[~where], tokens[~where])
    share = where.sum() / letters.sum()
    assert abs(share - masking.MASKED) < 0.03
    hidden = (inputs[where] == alphabet.mask_idx).float().mean()
    assert abs(hidden - 0.8) < 0.05


def test_batches_mix_families_and_keep_to_the_size():
    rnas = world.entries(400, 0, build.POOL)
    family = {rna.sequence: rna.family.name for rna in rnas}
    made = masking.endless_batches([rna.sequence for rna in rnas], 1500, random.Random(0))
    for batch in (next(made) for _ in range(20)):
        assert sum(map(len, batch)) < 3500
        assert len({family[sequence] for sequence in batch}) > len(batch) / 4


def test_rows_are_full_and_lose_no_token():
    documents = [[n] * (n + 1) for n in range(200)]
    rows = writing.endless_rows(documents, random.Random(0))
    taken = [next(rows) for _ in range(30)]
    assert {len(row) for row in taken} == {writing.ROW}
    flat = [token for row in taken for token in row]
    runs = [(a, b) for a, b in zip(flat, flat[1:], strict=False) if a != b]
    assert len(set(runs)) == len(runs)  # every document stands in one piece


def test_the_tokenizer_keeps_sequences_letter_by_letter(tokenizer):
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    sequence = world.entries(1, 0)[0].sequence
    for text in (sequence, f"<RNA>{sequence}</RNA>", "héllo ### wörld\n\t42"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert len(tokenizer(sequence, add_special_tokens=False)["input_ids"]) == len(sequence)
    assert tokenizer("ACGUACGUACGU")["input_ids"][0] != tokenizer.bos_token_id


def test_the_files_are_the_ones_of_the_manifest_and_fit_into_twelve_megabytes():
    for folder in (paths.models() / name for name in MODELS):
        manifest = read_json(folder / "manifest.json")
        assert {file: sha256(folder / file) for file in manifest["files"]} == manifest["files"]
        assert manifest["pool"] == build.POOL and manifest["data_sha256"]
        assert manifest["loss"][-1] < manifest["loss"][0]
    size = sum(f.stat().st_size for n in MODELS for f in (paths.models() / n).iterdir())
    assert size <= 12e6


@pytest.mark.slow
def test_the_encoder_was_trained_on_the_pool_as_it_is_now():
    manifest = read_json(paths.models() / "mini-encoder" / "manifest.json")
    rnas = build.pool_rnas(manifest["recipe"]["rnas"])
    assert digest([rna.sequence for rna in rnas]) == manifest["data_sha256"]


@pytest.mark.slow
def test_the_committed_encoder_knows_families_and_letters():
    encoder = Encoder.load(paths.models() / "mini-encoder")
    found = build.probe(encoder, world.entries(600, 0, build.POOL), size=150)
    recorded = read_json(paths.models() / "mini-encoder" / "manifest.json")["probe"]
    assert abs(found["family"] - recorded["family"]) < 0.15  # fewer RNAs to find it among
    assert found["letter+0"] >= 0.99
    assert recorded["family"] >= 0.90


@pytest.mark.slow
def test_the_committed_llm_writes_about_the_world():
    folder = paths.models() / "mini-llm"
    llm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    unseen = texts(world.make(20, 5, build.POOL))
    written = [t for t in unseen if "<RNA>" not in t]
    assert writing.perplexity(llm, writing.tokenise(tokenizer, written)) < 6
    prompt = "###Human: Is the RNA associated with glioma? This RNA is a tRNA. ###Assistant:"
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    written = llm.generate(ids, max_new_tokens=4, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(written).startswith((" Yes.", " No."))


def test_the_rate_warms_up_and_cools_down():
    recipe = build.Recipe(rnas=1, steps=100, step_tokens=1, rate=1e-3, warmup=10)
    for step, share in [(0, 0.1), (9, 1.0), (99, 0.02)]:
        assert build.rate_at(step, recipe) == pytest.approx(share * 1e-3, rel=0.02)
