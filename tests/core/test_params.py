"""Profiles: sections are checked, overrides win, mistakes are named."""

from typing import get_args

import pytest

from rnagpt_lib.core import params as profiles
from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.runs import notebooks

FILTER, STAGE2 = "00_filter_rnacentral", "05_train_stage2"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("RNAGPT_ROOT", str(tmp_path))
    paths.profiles().mkdir()

    def write(text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        (paths.profiles() / "mine.yaml").write_bytes(data)

    return write


def test_every_profile_resolves_every_stage():
    for name in profiles.names():
        profile = profiles.load(name)
        assert profile.name == name and profile.about.endswith(".")
        for stage, model in profiles.STAGE_MODELS.items():
            assert isinstance(profile.stage(stage), model)


def test_only_mini_runs_predecessors_and_only_the_large_ones_refuse():
    loaded = {name: profiles.load(name) for name in profiles.names()}
    assert {"mini", "local", "paper_5k", "full", "reference"} <= set(loaded)
    assert [name for name, profile in loaded.items() if profile.auto_run] == ["mini"]
    refusing = {name for name, profile in loaded.items() if profile.on_finished == "refuse"}
    assert refusing == {"full", "paper_5k"}


@pytest.mark.parametrize("name", ["paper_5k", "full"])
def test_the_large_ones_train_as_the_paper_says(name):
    profile = profiles.load(name)
    for stage, warmup in (("04_train_stage1", 2048), (STAGE2, 200)):
        found = profile.stage(stage)
        assert (found.recipe, found.epochs, found.rnas_per_step) == ("paper", 10, 1)
        assert (found.betas, found.weight_decay) == ((0.9, 0.98), 0.05)
        rates = found.initial_rate, found.learning_rate, found.final_rate
        assert (rates, found.warmup_steps) == ((1e-6, 1e-4, 8e-5), warmup)
        assert found.precision == "bf16" and getattr(found, "train", "projection") == "projection"
        assert not getattr(found, "whiten", False)
        assert found.encoder == "models/rna-fm" and "Llama-3-8B-Instruct" in found.llm


def test_overrides_win_and_none_leaves_the_profile(write):
    write(f"about: x.\nstages:\n  {FILTER}: {{world_size: 70}}\n")
    profile = profiles.load("mine")
    assert profile.stage(FILTER).world_size == 70
    assert profile.stage(FILTER, world_size=None).world_size == 70
    assert profile.stage(FILTER, world_size=80).world_size == 80
    assert profile.stage(STAGE2).warmup_steps == profiles.Stage2().warmup_steps


def test_bad_parameters_are_named():
    for stage, overrides, words in [
        (FILTER, {"wrld_size": 5}, "no parameter WRLD_SIZE; parameters are INPUT"),
        (FILTER, {"world_size": "many"}, "parameter WORLD_SIZE is 'many', but .*valid integer"),
        (FILTER, {"world_size": 3}, "greater than or equal to 20"),
        (FILTER, {"min_length": 9}, "greater than or equal to 10"),  # 04 could not read them
        (FILTER, {"input": "cloud"}, "'world', 'files' or 'rnacentral'"),
        (STAGE2, {"epochs": 1.5}, "parameter EPOCHS is 1.5"),
        (STAGE2, {"learning_rate": 0}, "parameter LEARNING_RATE is 0, but"),
        (STAGE2, {"betas": [0.9]}, "parameter BETAS is"),
        (STAGE2, {"betas": [0.9, 1.0]}, "BETAS is 1.0, but .* less than 1"),
        (STAGE2, {"learning_rate": 1e309}, "LEARNING_RATE is inf, but .* finite number"),
        (STAGE2, {"weight_decay": float("nan")}, "WEIGHT_DECAY is nan, but .* finite number"),
        (STAGE2, {"epochs": 10**13}, "EPOCHS is 10000000000000, but .* 1,000,000,000,000"),
        (STAGE2, {"llm": "a\0b"}, "LLM is .*, but it should be text"),
        (STAGE2, {"llm": "\ud800"}, "parameter LLM is .*, but it should be text"),
        (STAGE2, {"epochs": "9" * 10_000}, "EPOCHS is '9{100,200}…, but"),
        ("02_summarize", {"deadline": float("inf")}, "DEADLINE is inf, but .* finite number"),
        ("02_summarize", {"cap_dollars": "NaN"}, "CAP_DOLLARS is 'NaN', but .* finite number"),
    ]:
        with pytest.raises(InputError, match=words):
            profiles.load("mini").stage(stage, **overrides)


def test_bad_files_are_named_in_one_line(write):
    for text, words in [
        ("stages: {}\n", "mine.yaml: about Field required"),
        ("about: x.\nautorun: true\n", "autorun Extra inputs"),
        ("about: x.\nstages:\n  04_stage: {}\n", "unknown stage '04_stage'"),
        (f"about: x.\nstages:\n  {FILTER}: {{size: 5}}\n", "no parameter SIZE"),
        ("about: [\n", "is no YAML of parameters"),
        ("1: x\n", "the name 1 is of no kind that is read; quote it"),
        ("about: &a [*a]\n", "references unfold"),
        ("about: !!python/name:os.system\n", "could not determine a constructor"),
        ("", "is no YAML mapping"),
        ("just text", "is no YAML mapping"),
        (b"\xff\xfe\x00\x81", "is no YAML mapping"),
    ]:
        write(text)
        with pytest.raises(InputError, match=words) as caught:
            profiles.load("mine")
        assert "\n" not in str(caught.value) and "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (FILTER, "ebi_search"),
        (FILTER, "europepmc"),
        (FILTER, "rnacentral_api"),
        *((stage, "base_url") for stage in ("02_summarize", "03_decompose_qa", "06_ablations")),
    ],
)
@pytest.mark.parametrize(
    "address",
    ["http://me:hush@host/", "http://hush@host", "https://host/?key=hush", "https://host/#hush",
     "ftp://host/hush", "host/hush", "https://host/a@hush", ["https://hush"]],
)  # fmt: skip
def test_addresses_hold_no_secret_and_none_is_shown(stage, name, address):
    with pytest.raises(InputError, match=f"parameter {name.upper()} is .not shown.") as caught:
        profiles.load("mini").stage(stage, **{name: address})
    assert "hush" not in str(caught.value)
    assert profiles.load("mini").stage(stage, **{name: "http://localhost:8000/v1"})


DEEP = "a: " + "[" * 5000
PAIRS = ["&a0 [1, 1]"] + [f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1: 3", "the name 1"),
        ("yes: 3", "the name True"),
        ("a: {b: {.nan: 1}}", "the name nan"),
        ("? [a, b]\n: 1", "unhashable|hashable"),
        ("a: !!binary aGk=", "the value b'hi'"),
        ("a: !!set {b}", "the value"),
        ("a: !!timestamp x", "."),
        ("a: !!bool x", "."),
        ("a: !!int x", "."),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: " + "9" * 5000, "."),
        (DEEP, "nested too deeply"),
        ("- " * 5000 + "a", "nested too deeply"),
        (f"[{', '.join(PAIRS)}]", "references unfold"),
        (MERGES, "references unfold"),
        ("&a [*a]", "references unfold"),
        ("&a {b: *a}", "references unfold"),
        ("[" + "1, " * 60_000 + "]", "over 50,000 values"),
        ("#" * 300_000, "more than 200,000 characters"),
        ('"\\uD800"', "half a character"),
        ("'\ud800'", "."),
        ("a: 1\n--- \nb: 2", "expected a single document"),
        ("a: \0", "."),
        ("a: *b", "undefined alias"),
        ("<<: 3", "expected a mapping"),
    ],
)
def test_yaml_of_anybodys_is_bounded(text, fault):
    with pytest.raises(InputError, match=f"this is no YAML of parameters: .*{fault}") as caught:
        profiles.read_yaml(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_yaml_of_parameters_is_what_it_says():
    text = "A: 2024-99-99\nB: 2024-01-01\nC: &c [1, 0.5, ~, on]\nD: *c\nE: {<<: &e {x: 1}, y: *e}"
    assert profiles.read_yaml(text) == {
        "A": "2024-99-99", "B": "2024-01-01", "C": [1, 0.5, None, True],
        "D": [1, 0.5, None, True], "E": {"x": 1, "y": {"x": 1}},
    }  # fmt: skip
    assert profiles.read_yaml("") is None


@pytest.mark.parametrize("name", ["nope", "", "../pyproject", "mini.yaml"])
def test_unknown_profiles_are_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match="is unknown; profiles are .*mini"):
        profiles.load(name)


def test_parameters_are_frozen_and_keys_leave_out_what_changes_no_result():
    params = profiles.load("mini").stage("01_explore_topics", workers=2)
    with pytest.raises(ValueError, match="frozen"):
        params.workers = 3
    assert "workers" not in params.key() and "passes" in params.key()


def test_no_choice_of_a_parameter_reads_as_nothing():
    for stage, model in profiles.STAGE_MODELS.items():
        for name, field in model.model_fields.items():
            choices = {str(choice).lower() for choice in get_args(field.annotation)}
            assert choices.isdisjoint(notebooks.NOTHING) or field.default is None, (stage, name)
