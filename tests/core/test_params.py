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
    ]:
        with pytest.raises(InputError, match=words):
            profiles.load("mini").stage(stage, **overrides)


def test_bad_files_are_named_in_one_line(write):
    for text, words in [
        ("stages: {}\n", "mine.yaml: about Field required"),
        ("about: x.\nautorun: true\n", "autorun Extra inputs"),
        ("about: x.\nstages:\n  04_stage: {}\n", "unknown stage '04_stage'"),
        (f"about: x.\nstages:\n  {FILTER}: {{size: 5}}\n", "no parameter SIZE"),
        ("about: [\n", "is no YAML mapping"),
        ("", "is no YAML mapping"),
        ("just text", "is no YAML mapping"),
        (b"\xff\xfe\x00\x81", "is no YAML mapping"),
    ]:
        write(text)
        with pytest.raises(InputError, match=words) as caught:
            profiles.load("mine")
        assert "\n" not in str(caught.value) and "mine.yaml" in str(caught.value)


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
