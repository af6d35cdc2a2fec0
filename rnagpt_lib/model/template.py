"""Every byte of the prompts, for training and for inference alike (paper, section 3.5)."""

import multiprocessing
import re
import resource
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.text import cut, one_line

DAY = "26 Jul 2024"  # of Llama's own template where no clock is
LONGEST = 4_000  # letters of a template's pieces
SECONDS, MOST_BYTES = 5, 1 << 29  # that an LLM's own template may take to put a question
ROLE = r"\w{1,30}(\.role|\[['\"]role['\"]\])"  # as a chat template writes it


@dataclass(frozen=True)
class Template:
    """All prompt bytes. Stage 2, and every question at inference:

    >>> Template().text("What type of RNA is the RNA?")
    '###Human: <RNA><RNAHere></RNA> What type of RNA is the RNA? ###Assistant:'

    The pieces before and after ``placeholder``, and the answer, are tokenised each on its own,
    so that a prompt has the same ids whatever follows it. The space after ``###Assistant:``
    belongs to the answer: LLMs write " The" as one token. Stage 1 has no text at all:
    BOS, soft tokens, annotation, EOS. ``later`` is a further question of a chat: behind the answer
    before it and that one's EOS.
    """

    prompt: str = "###Human: <RNA><RNAHere></RNA> {question} ###Assistant:"
    answer: str = " {answer}"
    placeholder: str = "<RNAHere>"
    stop: str = "###"
    later: str = "###Human: {question} ###Assistant:"

    def __post_init__(self) -> None:
        """Raises InputError for pieces of which no prompt can be made."""
        pieces = (self.prompt, self.answer, self.placeholder, self.stop, self.later)
        if not self.placeholder or self.prompt.count(self.placeholder) != 1:
            raise InputError("a prompt template holds its placeholder for the RNA once")
        if sum(map(len, pieces)) > LONGEST:
            raise InputError(f"a prompt template has {LONGEST:,} letters at most")

    def text(self, question: str, rna: str | None = None) -> str:
        """The prompt with the placeholder, or with ``rna`` in its place."""
        before, after = self.prompt.split(self.placeholder)
        rna = self.placeholder if rna is None else rna
        return before + rna + after.replace("{question}", question)

    def prefix_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """BOS and what stands before the RNA."""
        return bos_ids(tokenizer) + ids(tokenizer, self.prompt.split(self.placeholder)[0])

    def question_ids(self, tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
        """What stands between the RNA and the answer."""
        after = self.prompt.split(self.placeholder)[1]
        return ids(tokenizer, after.replace("{question}", question))

    def later_ids(self, tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
        """A question behind an earlier answer; the RNA stands in the first one's prompt."""
        return ids(tokenizer, self.later.replace("{question}", question))

    def answer_ids(self, tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
        """The answer and EOS; these carry the loss of stage 2."""
        return ids(tokenizer, self.answer.replace("{answer}", answer)) + [tokenizer.eos_token_id]

    def annotation_ids(self, tokenizer: PreTrainedTokenizerBase, annotation: str) -> list[int]:
        """The annotation and EOS; these carry the loss of stage 1, right after the RNA."""
        return ids(tokenizer, annotation) + [tokenizer.eos_token_id]

    def clean(self, generated: str) -> str:
        """An answer out of generated text: cut at the stop string, outer spaces off."""
        return generated.split(self.stop)[0].strip()


class ChatTemplate(Template):
    """A question in the chat template that an LLM brings: special tokens are read out of that one
    alone, and only the LLM's own ends stop an answer."""

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "ChatTemplate | None":
        """None where the tokenizer has no template. Raises InputError, a few words, for one that
        does not put a user's message somewhere."""
        if not tokenizer.chat_template:
            return None
        said = f"<RNA>{cls.placeholder}</RNA> {{question}}"
        text = _rendered(tokenizer, said)
        if len(text) >= LONGEST / 2:
            raise InputError(f"it writes {LONGEST // 2:,} letters or more around a question")
        if any(text.count(part) != 1 for part in (said, cls.placeholder, "{question}")):
            raise InputError("it does not write the question as it is, and once")
        return cls(prompt=text, stop="")

    def prefix_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        before = self.prompt.split(self.placeholder)[0]
        return tokenizer(before, add_special_tokens=False)["input_ids"]

    def question_ids(self, tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
        before, after = self.prompt.split(self.placeholder)[1].split("{question}")
        asked = ids(tokenizer, before + question)
        return asked + tokenizer(after, add_special_tokens=False)["input_ids"]


def _rendered(tokenizer: PreTrainedTokenizerBase, said: str) -> str:
    """The start of what the LLM's own template makes of a message. It is a program, of the LLM's
    authors: only another process can be held to its time and memory. Raises InputError."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_render, args=(tokenizer, said, theirs), daemon=True
    )
    process.start()
    theirs.close()
    late = False, f"it does not end within {SECONDS} s"
    try:
        good, text = ours.recv() if ours.poll(10 * SECONDS) else late
    except EOFError:
        good, text = late
    finally:
        process.kill()
        process.join()
        ours.close()
    if not good:
        raise InputError(cut(one_line(text), 200))
    return text


def _render(tokenizer: PreTrainedTokenizerBase, said: str, found: Connection) -> None:
    with suppress(OSError, ValueError):  # a lower limit holds already, or the system has none
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        # Llama's writes the day, here always the same one, so that answers stay what they are
        options = {"tokenize": False, "add_generation_prompt": True, "date_string": DAY}
        message = {"role": "user", "content": said}
        found.send((True, tokenizer.apply_chat_template([message], **options)[:LONGEST]))
    except MemoryError:
        found.send((False, "it takes too much memory"))
    except Exception as error:
        found.send((False, f"it cannot be used ({str(error)[:LONGEST]})"))


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of plain text: no special token is added, and none is read out of the text."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """[BOS]; nothing for a tokenizer without one, or whose BOS opens every turn of a chat, behind
    which the LLM waits for a role. The text prefix of stage 1."""
    turn = rf"({re.escape(tokenizer.bos_token or '')}|bos_token)[\s'\"+~{{}}-]{{0,30}}" + ROLE
    opens = re.search(turn, str(tokenizer.chat_template or ""))
    return [] if tokenizer.bos_token_id is None or opens else [tokenizer.bos_token_id]
