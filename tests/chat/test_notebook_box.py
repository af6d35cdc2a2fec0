"""The chat box without a browser: what its controls do, in threads, with a tiny model."""

import threading

import pytest

from rnagpt_lib.chat import generate, notebook_box
from rnagpt_lib.chat.decoding import Sampling
from rnagpt_lib.chat.notebook_box import chat_box, suggest_questions
from rnagpt_lib.chat.session import Session
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.curate.questions.question_templates import RELATIONS, relation_of
from tests.support import finished
from tests.support.rendered import Page

RNA = "GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUCAAGG"
FASTA = f">one first\n{RNA}\n>two\n{RNA[::-1]}\n>three\nMKLV\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run ``mini``, and its tiny model, which answers nonsense."""
    folder = tmp_path_factory.mktemp("widget")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNAGPT_RUNS", str(folder / "runs"))
        finished.made("mini")
        finished.trained("mini", folder / "models")
        return folder / "runs", generate.load_model("mini", "IT", 12)


@pytest.fixture
def box(run, monkeypatch):
    monkeypatch.setenv("RNAGPT_RUNS", str(run[0]))
    made = chat_box("mini", "IT", "beside", {"IT": run[1]})
    made.picker.take(RNA)
    return made


def done(box, act) -> None:
    """Act, and wait until the box has finished what that began."""
    ready = threading.Event()
    box.ask.observe(lambda change: change.new or ready.set(), "disabled")
    act()
    assert ready.wait(120)
    box.ask.unobserve_all("disabled")


def ask(box, question: str) -> None:
    box.question.value = question
    done(box, box.ask.click)


def turns(box) -> list:
    return [turn for one in box.sessions for turn in one.turns]


def text(box) -> str:
    """All that the log shows."""
    return Page("".join(line.value for line in box.lines.children)).text


def status(box) -> str:
    return Page(str(box.status.value)).text


def test_an_answer_is_the_sessions(box):
    ask(box, "What type of RNA is the RNA?")
    (said,) = turns(box)
    assert said == Session(box.chats["IT"], RNA).ask("What type of RNA is the RNA?")
    assert said.retrieved["neighbours"][0]["rna_ids"][0] in text(box)
    assert said.question in text(box) and box.question.value == ""
    assert status(box) == "" and not box.ask.disabled and box.stop.disabled


def test_enter_asks_once_whether_the_text_has_changed_or_not(box, monkeypatch):
    monkeypatch.setattr(notebook_box, "ENTER", 3600)  # the browser's second message is in time
    asked = []
    monkeypatch.setattr(box, "_ask", lambda: asked.append(box.question.value))
    box.question.value = "typed, and left by the Tab key"
    assert asked == []
    box.question._handle_custom_msg({"event": "submit"}, [])
    box.question.value = "typed"
    assert asked == ["typed"]
    monkeypatch.setattr(notebook_box, "ENTER", 0)
    box.question._handle_custom_msg({"event": "submit"}, [])
    box._entered.join()
    assert asked == ["typed", "typed"]


def test_an_answer_is_stopped_while_it_is_written(box, monkeypatch):
    stream = Session.stream

    def stopped_by_the_button(self, question):
        for number, piece in enumerate(stream(self, question)):
            yield piece
            if number == 1:
                box.stop.click()  # the kernel's thread does so while this one writes

    monkeypatch.setattr(Session, "stream", stopped_by_the_button)
    ask(box, "What do you know?")
    (said,) = turns(box)
    assert said.stop_reason == "cancelled" and 0 < said.n_tokens < 12
    assert "stopped by the reader" in text(box)
    monkeypatch.undo()
    monkeypatch.setattr(Session, "stream", stream)
    ask(box, "And now?")
    assert turns(box)[1].stop_reason != "cancelled"


def test_a_stop_before_the_first_token_counts(box, monkeypatch):
    about = box._session_about

    def stopped_meanwhile(*given):
        found = about(*given)
        box.stop.click()
        return found

    monkeypatch.setattr(box, "_session_about", stopped_meanwhile)
    ask(box, "What do you know?")
    assert turns(box)[0].stop_reason == "cancelled" and turns(box)[0].n_tokens == 1


@pytest.mark.parametrize("fault", [InputError("of the test"), RuntimeError("of <b>the test</b>")])
def test_what_fails_is_a_sentence_and_the_box_goes_on(box, monkeypatch, fault, capfd):
    def fails(self, question):
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(Session, "stream", fails)
        ask(box, "Why?")
    assert str(fault) in status(box)
    assert box.question.value == "Why?" and turns(box) == []
    done(box, box.ask.click)
    assert len(turns(box)) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


def test_one_answer_at_a_time(box, monkeypatch):
    stream, told = Session.stream, []

    def asked_again(self, question):
        box.question.value = "Another?"
        box.ask.click()
        told.append((status(box), box.ask.disabled, box.picker.upload.disabled, box.stop.disabled))
        return stream(self, question)

    monkeypatch.setattr(Session, "stream", asked_again)
    ask(box, "One?")
    assert told == [(notebook_box.BUSY, True, True, False)]
    assert [said.question for said in turns(box)] == ["One?"]
    assert box.question.value == "Another?"


def test_options_hold_for_the_next_answer(box):
    box.temperature.value, box.top_p.value, box.seed.value = 0.7, 0.9, 3
    box.memory.value = True
    box.retrieval.value = "off"
    ask(box, "Why?")
    (said,) = turns(box)
    assert said.sampling == Sampling(0.7, 0.9, 3) and said.memory and said.retrieved is None
    expected = Session(box.chats["IT"], RNA, sampling=Sampling(0.7, 0.9, 3), memory=True)
    assert said == expected.ask("Why?")


def test_retrieval_alone_asks_no_model(box, monkeypatch):
    monkeypatch.setattr(Session, "stream", None)
    box.retrieval.value = "only"
    ask(box, "What type of RNA is the RNA?")
    (said,) = turns(box)
    assert said.answer == "" and said.n_tokens == 0 and said.retrieved is not None


def test_a_run_without_tables_answers_and_says_what_is_missing(run, box, monkeypatch, tmp_path):
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "none"))
    ask(box, "Why?")
    assert turns(box)[0].retrieved is None
    assert "Nothing was retrieved: run mini has no finished" in text(box)


def test_models_are_loaded_when_they_are_asked(box):
    ask(box, "Why?")
    box.model.value = "vanilla"
    ask(box, "Why?")
    box.model.value = "IT"
    ask(box, "Why?")
    assert [one.chat.name for one in box.sessions] == ["IT", "vanilla", "IT"]
    assert set(box.chats) == {"IT", "vanilla"}
    assert text(box).count("about pasted sequence") == 3


def test_a_conversation_ends_with_its_rna_and_begins_anew_on_demand(box):
    ask(box, "Why?")
    ask(box, "And?")
    assert len(box.sessions) == 1
    box.picker.take(FASTA)
    box.picker.records.index = 1
    ask(box, "Why?")
    assert [one.rna_id for one in box.sessions] == ["pasted sequence", "two"]
    box.new.click()
    assert box.sessions == [] and text(box) == ""
    ask(box, "Why?")
    assert len(turns(box)) == 1


def test_nothing_is_asked_without_an_rna_or_a_question(box):
    box.ask.click()
    assert "no question yet" in status(box)
    box.picker.take("MKLVFFAEDV")
    box.question.value = "Why?"
    box.ask.click()
    assert "no RNA yet" in status(box) and box.question.value == "Why?"
    box.export.click()
    assert "nothing to export" in status(box)


def test_records_are_chosen_and_refused_ones_told(box):
    box.picker.take(FASTA.encode())
    assert [one.id for one in box.picker.found] == ["one", "two"]
    assert box.picker.chosen.id == "one"
    assert "three" in box.picker.refused.value and "protein" in box.picker.refused.value
    box.picker.records.index = 1
    assert box.picker.chosen.id == "two" and "two" in box.picker.about.value
    for good in (RNA, FASTA, RNA[::-1]):  # each after a fault
        for wrong in ("ACGUA", "MKLVFFAEDVGSNK", b"\x00\x01\x02", b"no header", ""):
            box.picker.take(wrong)
            assert box.picker.chosen is None and "error" in box.picker.about.value
        box.picker.take(good)
        assert box.picker.chosen is not None and "rnagpt-chosen" in box.picker.about.value


def test_an_rna_of_the_run_is_looked_up_by_its_id(box, run):
    import pandas as pd

    row = pd.read_parquet(run[0] / "mini" / "03_decompose_qa" / "rnas.parquet").iloc[3]
    box.picker.rna_id.value = row.rna_id
    done(box, box.picker.find.click)
    assert (box.picker.chosen.id, box.picker.chosen.sequence) == (row.rna_id, row.sequence)
    box.picker.rna_id.value = "nobody"
    done(box, box.picker.find.click)
    assert "nobody" in status(box) and box.picker.chosen.id == row.rna_id


def test_what_cannot_be_written_still_has_links(box, monkeypatch, tmp_path):
    ask(box, "Why?")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RNAGPT_RUNS", str(tmp_path / "file"))
    box.export.click()
    assert "cannot be written" in status(box) and box.files.value.count("data:") == 2
    ask(box, "And?")
    assert box.files.value == ""  # they would say less than the page


def test_suggestions_are_the_runs_own_one_of_a_kind(box):
    label, question = box.suggested.options[1]
    box.suggested.value = question
    assert box.question.value == question == label and box.suggested.value == ""
    found = suggest_questions("mini")
    assert len({relation_of(question) for question in found}) == len(found) > 3
    assert suggest_questions("nothing") == [one.questions[0] for one in RELATIONS.values()]


def test_the_box_around_it(box):
    with pytest.raises(InputError, match="it can be beside, only, off"):
        chat_box("mini", retrieval="always")
    shown = box._repr_mimebundle_()["text/plain"]
    assert shown.startswith("A box to talk to an RNA in (run mini)")
    for button in (box.ask, box.stop, box.new, box.export, box.picker.find, box.picker.upload):
        assert button.tooltip
