"""Transcripts: all of a conversation as JSON, and as Markdown in which no text acts."""

import json
import re

import pytest

from rnagpt_lib.chat import transcript
from rnagpt_lib.chat.decoding_batch import Sampling
from rnagpt_lib.chat.retrieved_evidence import HEADING, Beside, Neighbour, Sentence
from rnagpt_lib.chat.session import Turn
from rnagpt_lib.chat.transcript import RETRIEVED_ONLY, Said, Transcript, how
from rnagpt_lib.core.errors import InputError
from tests.support.payloads import PAYLOADS
from tests.support.rendered import pages


def neighbour(text: str) -> Neighbour:
    values = {"rna_type": (text,), "species": (text,), "family": ()}
    sentences = (Sentence(text, ("A1", text)), Sentence("It binds HuR.", ("12345",)))
    return Neighbour((text,), values, sentences, identity=0.5, cosine=0.25, near=False)


def said(text: str, reason: str = "eos", beside: bool = True) -> Said:
    found = Beside((neighbour(text),), (text,)) if beside else None
    return Said(Turn(text, text, 3, reason), "2026-11-26T02:00:00+00:00", Sampling(), False, found)


def conversation(*turns: Said, text: str = "R1") -> Transcript:
    return Transcript(text, "IT", "abc" * 20, text, "GGCUAGCUCAAU", [text], list(turns))


def test_json_holds_all_that_there_is():
    one = conversation(said("Why?"), said("And?", beside=False))
    found = json.loads(transcript.to_json([one, conversation()]))
    assert found == transcript.to_dict([one, conversation()])
    first, second = found["conversations"]
    assert second["turns"] == []
    about = {name: value for name, value in first.items() if name != "turns"}
    assert about == {"run": "R1", "model": "IT", "model_hash": "abc" * 20, "rna_id": "R1",
                     "sequence": "GGCUAGCUCAAU", "notes": ["R1"]}  # fmt: skip
    why, more = first["turns"]
    assert why["question"] == why["answer"] == "Why?" and why["stop_reason"] == "eos"
    assert why["sampling"] == {"temperature": 0.0, "top_p": 1.0, "seed": 0}
    assert why["memory"] is False and why["n_tokens"] == 3 and why["at"].startswith("2026")
    assert why["retrieved"]["about"] == HEADING
    assert why["retrieved"]["neighbours"][0]["sentences"][1]["article_ids"] == ["12345"]
    assert more["retrieved"] is None


def test_half_a_character_spoils_no_file():
    made = transcript.files([conversation(said("\ud83d half"))])
    transcript.keep("mini", made)
    (text, _) = made.values()
    assert json.loads(text)["conversations"][0]["turns"][0]["question"] == "\ud83d half"


@pytest.mark.parametrize("reason", ["eos", RETRIEVED_ONLY])
def test_in_markdown_no_text_acts(reason):
    one = [conversation(said(text, reason), text=text) for text in PAYLOADS]
    (page,) = pages([transcript.to_markdown(one)])
    assert set(page.tags) <= {
        "h1", "h2", "p", "strong", "em", "code", "pre", "div", "span", "ul", "ol", "li", "a"
    }  # fmt: skip
    assert set(re.findall(r"\]\((.*?)\)", transcript.to_markdown(one))) <= {
        "https://pubmed.ncbi.nlm.nih.gov/12345/",
        *re.findall(r"\]\((.*?)\)", " ".join(PAYLOADS)),
    }
    assert page.tags.count("a") == len(PAYLOADS)  # of PubMed's
    assert page.text.count("PWNED") >= 5 * len(PAYLOADS)


def test_how_an_answer_came_about():
    turn = Turn("q", "a", 1200, "cancelled")
    assert how(Said(turn, "", Sampling(), False)) == "1,200 tokens, stopped by the reader, greedy"
    drawn = Said(Turn("q", "a", 1, "length"), "", Sampling(0.7, 0.9, 4), True)
    assert how(drawn) == (
        "1 tokens, cut at its limit, temperature 0.7, top-p 0.9, seed 4, with memory"
    )


def test_files_are_kept_beside_the_stages(own_runs):
    made = transcript.files([conversation(said("Why?"))])
    folder = transcript.keep("mini", made)
    assert folder == own_runs / "mini" / "chats"
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == made
    assert sorted(name.rpartition(".")[2] for name in made) == ["json", "md"]


def test_what_cannot_be_written_is_told(own_runs):
    own_runs.mkdir()
    (own_runs / "mini").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="mini/chats cannot be written"):
        transcript.keep("mini", transcript.files([conversation()]))
