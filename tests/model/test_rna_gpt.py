"""The template's bytes, the splice, what trains, and models that cannot be built."""

from dataclasses import replace

import pytest
import torch

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.weights import llm_hash
from rnagpt_lib.model.packing import collate
from rnagpt_lib.model.rna_gpt import RnaGpt, frozen_hash, trainable
from rnagpt_lib.model.template import bos_ids
from tests.support.tiny_model import config_of, letters_prompt, make_examples, rna_tables, write_llm

QUESTION = "What type of RNA is the RNA?"


@pytest.fixture(scope="module")
def model(llm):
    return RnaGpt.build(config_of(llm, "lora"))


def test_template_bytes_are_the_papers(model):
    template, tokenizer = model.template, model.tokenizer
    before = tokenizer.decode(template.prefix_ids(tokenizer))
    after = tokenizer.decode(template.question_ids(tokenizer, QUESTION))
    answer = tokenizer.decode(template.answer_ids(tokenizer, "A tRNA."))
    assert before == "<s>###Human: <RNA>"
    assert after + answer == f"</RNA> {QUESTION} ###Assistant: A tRNA.</s>"
    assert tokenizer.decode(template.annotation_ids(tokenizer, "A tRNA.")) == "A tRNA.</s>"
    assert template.text(QUESTION) == f"###Human: <RNA><RNAHere></RNA> {QUESTION} ###Assistant:"
    vanilla = tokenizer.decode(letters_prompt(model, "ACGU", QUESTION))
    assert vanilla == "<s>" + template.text(QUESTION, "ACGU")
    assert template.clean(" A tRNA. ###Human: more") == "A tRNA."
    for text in ("{answer} {0}?", "a</s>b<s>"):  # no special token, no field is read out of text
        asked = template.question_ids(tokenizer, text)
        assert tokenizer.decode(asked) == f"</RNA> {text} ###Assistant:"
        assert not {tokenizer.eos_token_id, tokenizer.bos_token_id} & set(asked)
    other = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer)
    assert other.bos_token_id is None and bos_ids(other) == []


def test_inference_prompt_is_the_training_prompt(model):
    """Whatever answer follows, the tokens before it are those that inference feeds."""
    for tree in make_examples(model, [12, 5, 20]):
        _, pairs = rna_tables([12, 5, 20])
        asked = pairs[pairs["rna_id"] == tree.rna_id]["question"]
        for branch, question in zip(tree.branches, asked, strict=True):
            assert tree.before == model.template.prefix_ids(model.tokenizer)
            assert branch.prompt == model.template.question_ids(model.tokenizer, question)
            trained = model.splice(tree.before, tree.embeddings, branch.prompt)
            assert torch.equal(trained, model.prompt(tree.embeddings, question))


def test_spliced_rows_are_what_forward_feeds(model):
    """The batch's soft tokens lie where splice puts them."""
    tree = make_examples(model, [9])[0]
    batch = collate([[tree]], 1).to(model.device)
    packed = model.embed(batch.ids).masked_scatter(
        batch.soft[..., None], model.soft(batch.embeddings)
    )
    branch = tree.branches[0]
    spliced = model.splice(tree.before, tree.embeddings, branch.prompt + branch.answer)
    assert torch.equal(packed[0], spliced)


def test_only_projection_and_adapters_train(llm, model):
    table = trainable(model)
    assert list(table.index) == ["LLM", "LoRA adapters", "projection"]
    assert table.loc["LLM", "trained"] == 0
    assert (table["trained"] == table["parameters"]).tolist() == [False, True, True]
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if "lora_" in name}
    assert len(adapted) == 2 * 7  # all linear layers of both blocks, not the output layer
    assert list(trainable(RnaGpt.build(config_of(llm))).index) == ["LLM", "projection"]


def test_new_adapters_change_nothing(llm, model):
    plain = RnaGpt.build(config_of(llm))
    batch = collate([make_examples(model, [9, 14])], 3).to(model.device)
    assert torch.equal(model(batch), plain(batch))
    again, other = (RnaGpt.build(config_of(llm), seed=n).projection.weight for n in (0, 1))
    assert torch.equal(again, plain.projection.weight) and not torch.equal(again, other)


def test_whitened_input_is_centred_and_decorrelated(llm):
    mixing = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    parts = [
        torch.randn(50 + i, 8, generator=torch.Generator().manual_seed(i)) @ mixing + 5
        for i in range(40)
    ]
    projection = RnaGpt.build(config_of(llm)).projection
    variances = projection.whiten([part.requires_grad_() for part in parts], floor=0.0)
    assert not projection.centre.requires_grad and projection.centre.is_leaf  # no graph is kept
    parts = [part.detach() for part in parts]
    pooled = torch.cat(parts)
    white = (pooled - projection.centre) @ projection.whitener
    assert torch.allclose(white.mean(0), torch.zeros(8), atol=1e-3)
    assert torch.allclose(white.T @ white / len(white), torch.eye(8), atol=1e-2)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)
    assert variances.sum().item() == pytest.approx(pooled.var(0, correction=0).sum().item(), 1e-3)


def test_the_whitened_projection_is_one_linear_map(llm):
    model = RnaGpt.build(config_of(llm)).double()
    vectors = 3 + torch.randn(30, 8, dtype=torch.float64) * torch.arange(1, 9)
    plain = model.soft(vectors)
    assert torch.allclose(plain, torch.nn.Linear.forward(model.projection, vectors))
    model.projection.whiten([vectors])
    weight = model.projection.weight @ model.projection.whitener.T
    bias = model.projection.bias - model.projection.centre @ weight.T
    assert torch.allclose(model.soft(vectors), vectors @ weight.T + bias)
    assert not torch.allclose(model.soft(vectors), plain)


def test_frozen_hash_sees_one_changed_weight(llm):
    model = RnaGpt.build(config_of(llm))
    before = frozen_hash(model)
    with torch.no_grad():
        model.projection.weight.add_(1)
    assert frozen_hash(model) == before
    with torch.no_grad():
        model.causal.lm_head.weight[0, 0] += 1
    assert frozen_hash(model) != before


def test_hash_follows_weights_and_tokenizer_alone(tmp_path):
    folder = write_llm(tmp_path / "llm")
    first = llm_hash(folder)
    (folder / "README.md").write_text("notes")
    assert llm_hash(folder) == first
    (folder / "tokenizer.json").write_text("{}")
    assert llm_hash(folder) != first


def test_models_that_cannot_be_built(llm, tmp_path):
    with pytest.raises(InputError, match=r"no LLM there"):
        RnaGpt.build(replace(config_of(llm), llm=str(tmp_path / "none")))
    with pytest.raises(InputError, match="not the LLM"):
        RnaGpt.build(replace(config_of(llm), llm_hash="0" * 64))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="train=qlora needs a CUDA GPU"):
            RnaGpt.build(config_of(llm, "qlora"))
