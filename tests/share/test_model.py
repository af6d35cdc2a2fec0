"""The exported model: it answers like the one that was trained, whole or refused; its card."""

import json
import pickle
import shutil
from dataclasses import replace
from functools import cache, partialmethod
from pathlib import Path

import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from rnagpt_lib.chat.generate import MINIATURE, load_model
from rnagpt_lib.core import paper, paths, tables, weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.files import MARKER, read_json, read_marker, read_sums, sha256
from rnagpt_lib.evaluate import results
from rnagpt_lib.miniature import world
from rnagpt_lib.model import checkpoint as checkpoints
from rnagpt_lib.model import exported, language_model
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.report.tables import bounded
from rnagpt_lib.runs import provenance, stages
from rnagpt_lib.runs.run import Run
from rnagpt_lib.share import cards, dataset
from rnagpt_lib.share import folder as export
from rnagpt_lib.share import model as shared_model
from tests.support import llama3
from tests.support.finished import LAST, SMALL, TUNED, changed, made, trained
from tests.support.rendered import pages
from tests.support.tiny_model import config_of, write_llm

QUESTIONS = ["What type of RNA is the RNA?", "Which family does the RNA belong to?"]
KINDS = {
    "plain": {},
    "merged": {"merged": True},
    "MA": {"model": "MA"},
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The committed reference run, exported in every way: name → folder."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RNAGPT_RUNS")
        for name, options in KINDS.items():
            shared_model.export_model("reference", folder / name, **options)
    return {name: folder / name for name in KINDS}


@pytest.fixture
def reference(monkeypatch):
    """The project's own ``runs/`` in place of the tests' empty one."""
    monkeypatch.delenv("RNAGPT_RUNS")


@cache
def committed(name):
    """A model of the reference run, as anyone loads it."""
    return load_model("reference", name)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run ``w`` with a tiny model of its own: runs/ and models/."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNAGPT_RUNS", str(folder / "runs"))
        made("w", first={"world_size": 30})
        trained("w", folder / "models")
    return folder


@pytest.fixture
def tiny(base, own_runs):
    """A copy of that run to do with as a test likes; where its models are."""
    shutil.copytree(base / "runs", own_runs)
    return {name: str(base / "models" / name) for name in ("llm", "encoder")}


@pytest.fixture
def copy(shipped, tmp_path):
    return Path(shutil.copytree(shipped["plain"], tmp_path / "copy"))


def snapshot(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def flipped(data):
    """One bit in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def text(folder):
    return (folder / "README.md").read_text("utf-8")


def header(folder):
    """As the hub's own software reads it."""
    return ModelCard(text(folder)).data.to_dict()


def logits(model, seed=0):
    """Of 20 random soft tokens after a word."""
    soft = torch.randn(20, model.config.encoder_dim, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        prompt = model.prompt(soft, QUESTIONS[0])
        return model.llm(inputs_embeds=prompt[None]).logits


# --- it is the model


def test_loaded_with_one_call_it_answers_like_the_committed_model(shipped, reference):
    rnas = [rna.sequence for rna in world.entries(4, seed=3)] * 2
    asked = [QUESTIONS[i // 4] for i in range(8)]
    for kind, options in KINDS.items():
        name = options.get("model", "IT")
        ours, theirs = load_model(model=str(shipped[kind])), committed(name)
        assert ours.name == theirs.name == name
        assert ours.warning == theirs.warning == MINIATURE  # merged, too
        assert ours.run == theirs.run == "reference"
        assert torch.equal(logits(ours.model), logits(theirs.model))
        found = ours.answer_all(rnas, asked)
        assert found == theirs.answer_all(rnas, asked) and len({a.text for a in found}) > 3


def test_merged_weights_are_llm_and_adapters_and_any_software_loads_them(shipped, reference):
    trained = checkpoints.load(stages.stage_folder("reference", TUNED))
    assert isinstance(trained.llm, PeftModel)
    folder = shipped["merged"] / "llm"
    llm, tokenizer = (
        kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    ids = tokenizer(trained.template.prompt, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = trained.llm(input_ids=ids).logits
        assert torch.allclose(llm(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
        with trained.llm.disable_adapter():
            assert not torch.allclose(trained.llm(input_ids=ids).logits, expected, atol=0.1)
    own = weights.llm_folder("models/mini-llm")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_text() == (own / name).read_text()
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in folder.iterdir())


def test_what_cannot_be_trained_moves_no_training_aside(tiny, own_runs):
    kept = snapshot(own_runs / "w" / TUNED)
    for asked, said in (
        ({"llm": "build/nowhere"}, "nowhere.*is missing"),
        ({"encoder": "build/nowhere"}, "nowhere.*is missing"),
        ({"encoder_layers": 2, "cache": "live"}, "has 1 layers; ENCODER_LAYERS is 2"),
    ):
        with pytest.raises(InputError, match=said):
            Run.open(TUNED, run="w", **tiny | {"train": "lora", "recipe": "packed"} | asked)
        assert snapshot(own_runs / "w" / TUNED) == kept
        assert not (own_runs / "w" / ".previous").exists()


def test_layers_of_the_encoder_that_trained_go_along(tiny, base, tmp_path):
    trained("w", base / "models", encoder_layers=1, cache="live")
    about = shared_model.export_model("w", tmp_path / "out")
    ours, theirs = load_model(model=str(tmp_path / "out"), **tiny), load_model("w", "IT")
    rnas = [rna.sequence for rna in world.entries(3, seed=3)]
    read = [encoder.encode(rnas) for encoder in (ours.encoder, theirs.encoder)]
    assert all(map(torch.equal, *read))
    assert not any(map(torch.equal, read[0], Encoder.load(tiny["encoder"]).encode(rnas)))
    assert ours.answer_all(rnas, QUESTIONS[:1] * 3) == theirs.answer_all(rnas, QUESTIONS[:1] * 3)
    assert about["encoder"]["hash"] == Encoder.load(tiny["encoder"]).hash
    assert "layers of the encoder, the last 1" in text(tmp_path / "out")
    assert "encoder_layers.safetensors" in text(tmp_path / "out")


def test_merged_shards_in_half_precision_answer_like_the_adapters(tmp_path, monkeypatch):
    config = config_of(llama3.write(tmp_path / "llm"), "lora")
    model = changed(RnaGpt.build(replace(config, precision="bf16")))
    checkpoint = checkpoints.save(model, tmp_path, 1, {}, val_loss=None)
    save = type(model.causal).save_pretrained
    monkeypatch.setattr(
        type(model.causal), "save_pretrained", partialmethod(save, max_shard_size="40KB")
    )
    out = tmp_path / "out"
    shared_model._copy(checkpoint, out)
    shared_model._merge(checkpoint, out)
    assert len(list((out / "llm").glob("*.safetensors"))) > 2
    merged = checkpoints.assemble(out, llm=str(out / "llm"))
    assert not torch.equal(logits(merged), logits(model))  # the sum is rounded to bf16
    model.llm.merge_adapter()  # as load_model does
    assert torch.equal(logits(merged), logits(model))
    assert merged.ends == model.ends and len(model.ends) == 2


def test_peft_alone_reads_the_adapters(shipped, reference):
    bare = language_model.load("models/mini-llm", "fp32")
    ours = PeftModel.from_pretrained(bare, shipped["plain"] / "adapter")
    trained = checkpoints.load(stages.stage_folder("reference", TUNED))
    with torch.inference_mode():
        ids = torch.arange(40)[None]
        assert torch.equal(ours(input_ids=ids).logits, trained.llm(input_ids=ids).logits)


def test_frozen_models_elsewhere_are_named_and_their_hashes_must_agree(tiny, tmp_path):
    out = tmp_path / "out"
    shared_model.export_model("w", out)
    with pytest.raises(InputError, match="models/llm: no LLM there"):
        load_model(model=str(out))
    chat = load_model(model=str(out), max_new_tokens=5, **tiny)
    given = (["ACGUACGUACGU"], ["Why?"])
    assert chat.answer_all(*given) == load_model("w", max_new_tokens=5).answer_all(*given)
    assert chat.warning == MINIATURE and chat.run == "w"
    other = write_llm(tmp_path / "other")
    config = (
        (other / "config.json")
        .read_text()
        .replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05')
    )
    (other / "config.json").write_text(config)
    with pytest.raises(InputError, match="other: not the LLM that this model was made with"):
        load_model(model=str(out), llm=str(other), encoder=tiny["encoder"])
    Encoder.fresh(SMALL, seed=1).save(tmp_path / "foreign", {})
    with pytest.raises(InputError, match="foreign.*the model was trained on"):
        load_model(model=str(out), llm=tiny["llm"], encoder=str(tmp_path / "foreign"))


def test_a_merged_model_needs_no_other_llm(tiny, tmp_path):
    out = tmp_path / "out"
    shared_model.export_model("w", out, merged=True)
    given = (["ACGUACGUACGU"], ["Why?"])
    chat = load_model(model=str(out), max_new_tokens=5, encoder=tiny["encoder"])
    assert chat.answer_all(*given) == load_model("w", max_new_tokens=5).answer_all(*given)
    with pytest.raises(InputError, match="not the LLM that this model was made with"):
        load_model(model=str(out), **tiny)
    assert not (out / "adapter").exists() and "before the adapters were merged" in text(out)


def test_a_model_is_found_beside_who_asks(tiny, tmp_path, monkeypatch, rnagpt):
    monkeypatch.chdir(tmp_path)
    assert rnagpt("export-model", "w", "my-model")[0] == 0
    assert load_model(model="my-model", **tiny).name == "IT"
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="is unknown.*none is at .*/my-model or /my-model"):
        load_model(model="my-model")


# --- what is in it


def test_every_file_has_its_hash_and_nothing_else_is_there(shipped):
    for kind, folder in shipped.items():
        sums = read_sums(folder)
        files = set(snapshot(folder)) - {"SHA256SUMS"}
        assert set(sums) == files and all(sha256(folder / n) == h for n, h in sums.items())
        assert not any("state" in name or name.endswith((".pt", ".bin")) for name in files)
        weights = {"plain": "adapter/adapter_model", "merged": "llm/model", "MA": "projection"}
        assert f"{weights[kind]}.safetensors" in files


def test_the_same_run_gives_the_same_bytes_and_stays_as_it_is(tiny, own_runs, base, tmp_path):
    """Of the best checkpoint, not the last; and no folder of this machine is named."""
    before = snapshot(own_runs)
    for merged in (False, True):
        out, again = tmp_path / f"{merged}", tmp_path / f"deep/{merged}"
        about = shared_model.export_model("w", out, merged=merged)
        shared_model.export_model("w", again, merged=merged)
        assert snapshot(out) == snapshot(again) and snapshot(own_runs) == before
        best = checkpoints.find(stages.stage_folder("w", TUNED))
        assert about["step"] == 7 and best.name == "step-00000007"
        for name in ("projection.safetensors", "template.json"):
            assert (out / name).read_bytes() == (best / name).read_bytes()
        for name, data in snapshot(out).items():
            for folder in (base, tmp_path, paths.root()):
                assert str(folder).encode() not in data, name
        config = read_json(out / "config.json")
        assert config["encoder"] == "models/encoder"
        assert config["llm"] == ("llm" if merged else "models/llm")


def test_names_that_mean_something_elsewhere():
    for given, public in (
        ("models/mini-llm", "models/mini-llm"), ("models/../models/x", "models/x"),
        ("../secret/x", "models/x"), ("/home/me/x", "models/x"), ("hf:some/llm@v2", "hf:some/llm@v2"),
        (str(paths.root() / "models/x"), "models/x"),
    ):  # fmt: skip
        assert shared_model._public(given) == public


def test_an_llm_of_the_hub_is_named_for_it_and_for_peft(copy):
    config = checkpoints.Config(**read_json(copy / "config.json"))
    shared_model._name_parts(copy, replace(config, llm="hf:some/llm@v2"))
    adapter = read_json(copy / "adapter/adapter_config.json")
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("some/llm", "v2")
    about = {"llm": {"name": "hf:some/llm@v2"}, "merged": False}
    run = provenance.Provenance("r", {}, {LAST: {}, stages.STAGES[0]: {"input": "files"}}, {}, ())
    made = cards.model_header(run, about).to_dict()
    assert (made["base_model"], made["base_model_relation"]) == ("some/llm", "adapter")
    assert (
        cards.model_header(run, about | {"merged": True}).to_dict()["base_model_relation"]
        == "finetune"
    )
    assert "synthetic" not in made["tags"]


# --- the card


def test_the_card_says_what_the_run_s_files_say(shipped, reference):
    folder = shipped["plain"]
    said = text(folder)
    known = header(folder)
    assert known["license"] == "other" and known["pipeline_tag"] == "text-generation"
    assert "base_model" not in known and "synthetic" in known["tags"]
    rnas = tables.read(stages.stage_folder("reference", LAST) / "rnas.parquet", "rnas")
    pairs = tables.read(stages.stage_folder("reference", LAST) / "pairs.parquet", "pairs")
    side = pairs.rna_id.map(rnas.set_index("rna_id").split)
    units = rnas[rnas.split == "test"].unit.nunique()
    counts = f"{(rnas.split == 'test').sum():,} | {units:,} | {(side == 'test').sum():,}"
    assert f"| test | {counts} |" in said
    for stage in stages.STAGES[:6]:
        about = read_json(stages.stage_folder("reference", stage) / "manifest.json")
        assert about["hash"][:12] in said and about["git"][:12] in said
    config = read_json(folder / "config.json")
    assert config["encoder_hash"] in said and config["llm_hash"] in said
    best = read_json(stages.stage_folder("reference", "05_train_stage2") / "checkpoints/best.json")
    told = f"step {best['step']:,} of the last of these stages, the best by validation loss"
    assert f"{told} ({best['val_loss']})" in said
    assert "torch 2.13.0" in said and "seed 0" in said


def test_scores_stand_beside_floors_and_controls_and_never_the_paper_s(shipped, reference):
    found = results.load("reference")
    for kind, name in (("plain", "IT"), ("MA", "MA")):
        said = text(shipped[kind]).replace("\\", "")
        section = said.split("## Scores")[1].split("## Known limits")[0]
        assert "of run `reference` of the generated miniature world" in section
        for model in (name, "vanilla", *results.FLOORS):
            score = bounded(found, model, "fact.all").partition(" n=")[0]
            line = next(x for x in section.splitlines() if x.startswith("| fact.all |"))
            assert f" {score} " in line and model in section
        assert ("control.swapped" in section) == (name == "IT")
        assert not any(f"{v:.4f}" in said for v in paper.scores().value)
        written = pd.read_csv(shipped[kind] / "scores.csv", dtype=found.scores.dtypes.to_dict())
        pd.testing.assert_frame_equal(written, found.scores)


def test_a_model_without_scores_says_so(tiny, tmp_path):
    Run.open("06_ablations", run="w")  # begun, not finished
    about = shared_model.export_model("w", tmp_path / "out")
    assert not about["scored"] and "**This model was not scored**" in text(tmp_path / "out")
    assert not (tmp_path / "out/scores.csv").exists()


@pytest.mark.slow
def test_hostile_texts_stay_texts(shipped, reference, tmp_path):
    hostile = "</td><script>alert(1)</script>|[x](http://evil.example)```\n---\nlicense: evil\n# T"
    run = provenance.Provenance.of("reference", stages.STAGES[:6])
    params = {stage: dict(given) for stage, given in run.params.items()}
    params[LAST] |= {"provider": "openai", "model": hostile}
    params[TUNED] |= {"llm": hostile, "recipe": hostile, "learning_rate": hostile}
    manifests = run.manifests | {TUNED: run.manifests[TUNED] | {"device": hostile}}
    params[stages.STAGES[0]] |= {"input": "rnacentral", "limit": 3}
    source = provenance.Source(name=hostile, licence=hostile, query=hostile)
    run = replace(run, params=params, manifests=manifests, sources=(source,))
    about = read_marker(shipped["plain"])
    about |= {"llm": {"name": f"hf:{hostile}", "hash": hostile}}
    said = cards.model_card(run, about, shipped["plain"], None)
    (tmp_path / "README.md").write_text(said)
    assert header(tmp_path)["license"] == "other"
    (page,) = pages([ModelCard(said).text])
    assert "alert(1)" in page.text and "evil.example" in page.text
    known = "h1 h2 p strong em code pre ul li table thead tbody tr th td div span".split()
    assert set(page.tags) <= set(known) and page.tags.count("h1") == 1


# --- loading verifies


def test_every_file_that_is_damaged_missing_or_foreign_is_named(copy):
    for name in [*read_sums(copy), "SHA256SUMS"]:
        if name == "README.md":
            continue
        whole = (copy / name).read_bytes()
        for data in (flipped(whole), None):
            (copy / name).unlink()
            if data is not None:
                (copy / name).write_bytes(data)
            with pytest.raises(InputError, match="copy") as refused:
                load_model(model=str(copy))
            told = str(refused.value)
            assert Path(name).name in told or name == "SHA256SUMS", told
            (copy / name).write_bytes(whole)
    (copy / "adapter/extra.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="extra.safetensors is no part of the exported model"):
        load_model(model=str(copy))


def test_the_owner_s_words_and_a_snapshot_of_links_are_no_damage(copy, tmp_path):
    """The card and the licence are the owner's to write; the hub's cache is made of links."""
    (copy / "README.md").write_text("mine")
    (copy / "LICENSE").write_text("MIT")
    (copy / ".gitattributes").write_text("of the hub")
    assert exported.check(copy) == "IT"
    for number, name in enumerate(snapshot(copy)):
        (copy / name).rename(tmp_path / f"blob{number}")
        (copy / name).symlink_to(tmp_path / f"blob{number}")
    assert exported.check(copy) == "IT"


class Danger:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_pickle_is_never_opened(copy, capsys):
    """Not even one that the sums agree with."""
    for name in ("projection.safetensors", "adapter/adapter_model.safetensors"):
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(pickle.dumps(Danger()))
        export.seal(copy, read_marker(copy))
        with pytest.raises(InputError, match=f"{Path(name).name} is no safetensors file"):
            load_model(model=str(copy))
        (copy / name).write_bytes(whole)
    assert "code ran" not in capsys.readouterr().out


def test_a_pickle_beside_the_weights_is_never_opened(shipped, tmp_path, capsys):
    copy = Path(shutil.copytree(shipped["merged"], tmp_path / "copy"))
    torch.save({"x": Danger()}, copy / "llm/pytorch_model.bin")
    with pytest.raises(InputError, match="pytorch_model.bin is no part"):
        load_model(model=str(copy))
    (copy / "llm/model.safetensors").unlink()
    export.seal(copy, read_marker(copy))
    with pytest.raises(InputError, match="not the LLM|no safetensors"):
        load_model(model=str(copy))
    assert "code ran" not in capsys.readouterr().out


def test_a_shared_model_runs_nothing_and_asks_nobody(shipped, copy, tmp_path, monkeypatch):
    """Hashes and sums are right: who shares a model makes them."""
    monkeypatch.setattr("builtins.input", lambda _: "y")
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    merged = Path(shutil.copytree(shipped["merged"], tmp_path / "merged"))
    ran = tmp_path / "ran"
    (merged / "llm/own.py").write_text(f"open({str(ran)!r}, 'w')")
    config = read_json(merged / "llm/config.json") | {"auto_map": {"AutoConfig": "own.C"}}
    (merged / "llm/config.json").write_text(json.dumps(config))
    (copy / "config.json").write_text(
        json.dumps(read_json(copy / "config.json") | {"llm": "hf:somebody/x"})
    )
    for folder, why in ((merged, "own.py is a program"), (copy, "asked for what you name alone")):
        export.seal(folder, read_marker(folder))
        with pytest.raises(InputError, match=why):
            load_model(model=str(folder))
    assert not ran.exists()
    load_model(model=str(copy), llm=str(weights.llm_folder("models/mini-llm")))


def test_parts_of_another_version_are_refused_by_name(copy):
    for name in ("config.json", "template.json"):
        whole = (copy / name).read_text()
        (copy / name).write_text(json.dumps(read_json(copy / name) | {"novelty": 1}))
        export.seal(copy, read_marker(copy) | {"version": "9.9"})
        with pytest.raises(InputError, match=f"{name} says novelty, .* the version that made it"):
            load_model(model=str(copy))
        (copy / name).write_text(whole)


def test_what_is_no_exported_model_is_refused(copy, reference, tmp_path):
    for bad in ("{oops", "[1]", '{"made_by": "rnagpt export-dataset"}'):
        (copy / MARKER).write_text(bad)
        with pytest.raises(InputError, match="holds no exported model"):
            load_model(model=str(copy))
    with pytest.raises(InputError, match="'nowhere' is unknown; models are vanilla, MA, IT, or"):
        load_model(model="nowhere")


# --- refusals, and the place


def test_unfinished_runs_are_refused_with_the_command(tiny, own_runs, tmp_path):
    with pytest.raises(InputError, match="there is no run none"):
        shared_model.export_model("none", tmp_path / "out")
    (own_runs / "w" / TUNED / "note.txt").write_text("by hand")
    with pytest.raises(InputError, match=f"finish it first: rnagpt run {TUNED}"):
        shared_model.export_model("w", tmp_path / "out")
    shared_model.export_model("w", tmp_path / "out", model="MA")  # stage 04 is as it was


def test_what_cannot_be_merged_is_refused_with_the_reason(tiny, tmp_path):
    with pytest.raises(InputError, match="'vanilla' cannot be exported; MA and IT can"):
        shared_model.export_model("w", tmp_path / "out", model="vanilla")
    with pytest.raises(InputError, match="MA of this run has no adapters"):
        shared_model.export_model("w", tmp_path / "out", model="MA", merged=True)
    config = checkpoints.load(stages.stage_folder("w", TUNED)).config
    with pytest.raises(InputError, match="4 bits, .* train with TRAIN lora"):
        shared_model._check_mergeable("IT", replace(config, train="qlora"))
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_export_of_a_model_is_replaced(tiny, tmp_path):
    out = tmp_path / "out"
    shared_model.export_model("w", out, model="MA")
    with pytest.raises(InputError, match="holds an export of run w; give --force"):
        shared_model.export_model("w", out)
    shared_model.export_model("w", out, force=True)
    assert (out / "adapter").is_dir()
    dataset.export_dataset("w", tmp_path / "data")
    with pytest.raises(InputError, match="is no earlier export"):
        shared_model.export_model("w", tmp_path / "data", force=True)


def test_a_full_disk_leaves_the_earlier_export(tiny, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shared_model.export_model("w", out)
    whole = snapshot(out)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_model, "_merge", full)
    with pytest.raises(InputError, match="out cannot be written: No space left on device"):
        shared_model.export_model("w", out, merged=True, force=True)
    assert snapshot(out) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs"]


# --- the command


def test_the_command(tiny, tmp_path, rnagpt):
    code, said, log = rnagpt("export-model", "w", tmp_path / "out", "--model", "MA")
    assert (code, log) == (0, "") and "Not scored: notebook 06" in said
    assert str(tmp_path / "out/README.md") in said
    assert exported.check(tmp_path / "out") == "MA"
    code, said, log = rnagpt("export-model", "w", tmp_path / "out", "--model", "vanilla")
    assert code == 2 and "'vanilla' is not one of 'MA', 'IT'" in log
