"""A model that is ready to be asked: a chat takes a sequence and a question."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel

from rnagpt_lib.chat import decoding
from rnagpt_lib.chat.decoding import GREEDY, Answer, Keep, Rna, Sampling
from rnagpt_lib.core import weights
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.fasta import Record
from rnagpt_lib.core.files import digest, read_marker
from rnagpt_lib.core.text import one_line
from rnagpt_lib.model import checkpoint as checkpoints
from rnagpt_lib.model import exported
from rnagpt_lib.model.encoder import Encoder
from rnagpt_lib.model.rna_gpt import RnaGpt
from rnagpt_lib.model.template import ChatTemplate
from rnagpt_lib.runs.provenance import is_generated
from rnagpt_lib.runs.stages import STAGE_OF, check_run, stage_folder

PARTS = {"mini-llm", "mini-encoder"}  # the miniature's base models, in ``models/``
MINIATURE = "this model knows a generated world and no RNA of nature"


@dataclass(frozen=True)
class Chat:
    """A model of a run that is ready to be asked; ``load_model`` makes it.

    ``hash``: of the files that it was loaded from; ``run``: where it was trained; ``generated``:
    whether on RNAs of a generated world (None: nobody says).

    >>> chat = load_model("mini", "IT")
    >>> chat.ask("GGCUAGCUCAAUCGGUAGAGCGUGAGACUCUUAAUCUC", "What type of RNA is the RNA?")
    """

    name: str
    model: RnaGpt
    encoder: Encoder
    max_new_tokens: int = 256
    hash: str = ""
    run: str = ""
    generated: bool | None = None

    @property
    def warning(self) -> str:
        """What stands beside its answers: that it knows no RNA of nature, or which of its parts
        (of a merged model the encoder alone) does not; "" where all of it does."""
        config = self.model.config
        parts = {"encoder": config.encoder, "LLM": config.llm}
        own = [name for name, part in parts.items() if Path(part).name in PARTS]
        if self.generated or (own and self.generated is None):
            return MINIATURE
        are = "are the miniature's: they know" if own[1:] else "is the miniature's: it knows"
        what = f"{' and '.join(own)} {are} a generated world, and no RNA of nature but this run's"
        return f"this model's {what}" if own else ""

    @property
    def about(self) -> dict[str, str]:
        """By what an answer is, for whoever meets it later."""
        made = {"model": self.name, "model_hash": self.hash[:12], "run": self.run}
        made |= {"llm": self.model.config.llm, "warning": self.warning}
        return {name: value for name, value in made.items() if value}

    def in_own_template(self) -> "Chat | None":
        """The vanilla LLM asked in its own chat template; None where it has none. Raises InputError
        for one in which no question can be put."""
        if self.name != "vanilla" or not (own := ChatTemplate.of(self.model.tokenizer)):
            return None
        model = copy(self.model)  # of the same weights
        model.template = own
        return replace(self, model=model, hash=digest([self.hash, own.prompt]))

    @property
    def device(self) -> str:
        """What it answers on: ``cpu``, or the GPU's name."""
        device = self.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    def ask(self, sequence: str, question: str) -> str:
        """One answer about one RNA; notes on how the sequence was read are printed.

        DNA is read as RNA. Raises InputError for proteins, other letters and under 10 nt.
        """
        rna = Record.of("", "", sequence)
        for note in rna.notes:
            print(f"Note: {note}")
        return self.answer_all([rna.sequence], [question], batch_size=1)[0].text

    def answer_all(
        self, sequences: Sequence[str | None], questions: Sequence[str], batch_size: int = 64,
        keep: Keep | None = None, sampling: Sampling = GREEDY,
    ) -> list[Answer]:  # fmt: skip
        """``questions[i]`` about ``sequences[i]``, each read as the model was trained to: by the
        encoder, or as letters (vanilla, too), or not at all (as None). Options:
        `decoding.answer_all`."""
        distinct = sorted({s for s in sequences if s is not None})
        rnas: dict[str | None, Rna] = dict(zip(distinct, self.read(distinct), strict=True))
        asked = [rnas.get(sequence) for sequence in sequences]
        return decoding.answer_all(
            self.model, asked, questions, max_new_tokens=self.max_new_tokens,
            batch_size=batch_size, keep=keep, sampling=sampling, names=sequences,
        )  # fmt: skip

    def annotate_all(
        self, sequences: Sequence[str], batch_size: int = 64, keep: Keep | None = None
    ) -> list[Answer]:
        """What the model writes about each sequence behind the prompt of stage 1; ``keep`` as of
        `answer_all`."""
        distinct = sorted(set(sequences))
        options = {"max_new_tokens": self.max_new_tokens, "batch_size": batch_size, "keep": keep}
        said = decoding.annotate_all(self.model, self.encoder.encode(distinct), **options)
        found = dict(zip(distinct, said, strict=True))
        return [found[sequence] for sequence in sequences]

    def read(self, sequences: Sequence[str]) -> Sequence[Rna]:
        """What stands for each RNA in the prompt: its embeddings (L, D), its letters, or None."""
        reads = "letters" if self.name == "vanilla" else self.model.config.reads
        if reads == "vectors":
            return self.encoder.encode(sequences)
        return sequences if reads == "letters" else [None] * len(sequences)


def load_model(
    run: str = "mini", model: str = "IT", max_new_tokens: int = 256, *, llm: str | None = None,
    encoder: str | None = None,
) -> Chat:  # fmt: skip
    """``vanilla``, ``MA`` or ``IT`` of a run, or an exported model by its folder, ready to be asked.

    ``llm``, ``encoder``: where the frozen models are, when not where the model's config says; an
    LLM that is given as ``hf:OWNER/NAME`` is fetched, one that the config names never.
    Raises InputError for another name, when the stage that makes the model has not run, for a
    damaged folder, and for frozen models with other hashes than the model was trained on.
    """
    if llm:
        weights.llm_folder(llm, download=True)
    if model in STAGE_OF:
        check_run(run)
        try:
            folder = checkpoints.find(stage_folder(run, STAGE_OF[model]))
        except InputError as error:
            raise InputError(f"{error}; or take run reference, which is trained") from None
        chat = chat_of(model, folder, max_new_tokens, llm=llm, encoder=encoder)
        return replace(chat, run=run, generated=is_generated(run))
    folder = exported.folder_of(model)
    if not folder.is_dir():
        meant = [f" (did you mean {name}?)" for name in STAGE_OF if name.lower() == model.lower()]
        raise InputError(
            f"model {model!r} is unknown{''.join(meant)}; models are {', '.join(STAGE_OF)}, or an "
            f"exported one's folder; none is at {folder} or {Path(model).expanduser().absolute()}"
        )
    name, llm = exported.check(folder), llm or exported.llm_of(folder)
    chat = chat_of(name, folder, max_new_tokens, llm=llm, encoder=encoder)
    made = read_marker(folder)
    said = made.get("generated")  # earlier versions did not say it
    known = bool(said) if said is not None else None
    return replace(chat, run=one_line(str(made.get("run", "")))[:80], generated=known)


def chat_of(name: str, checkpoint: Path, max_new_tokens: int = 256, **parts: str | None) -> Chat:
    """The model of a checkpoint's folder under a name; ``llm`` and ``encoder`` as of `load_model`."""
    loaded = checkpoints.assemble(checkpoint, **parts)
    if isinstance(loaded.llm, PeftModel) and loaded.config.train != "qlora":
        # the same function, with half of the matrix products; in 4 bits the sum would be rounded away
        loaded.llm.merge_adapter()
    encoder, identity = checkpoints.load_encoder(loaded), checkpoints.identity(checkpoint)
    return Chat(name, loaded, encoder, max_new_tokens, identity)


def load_models(run: str = "mini", max_new_tokens: int = 256) -> dict[str, Chat]:
    """All of `STAGE_OF`; vanilla and MA share their weights. Raises InputError as `load_model`."""
    ma, it = (load_model(run, name, max_new_tokens) for name in ("MA", "IT"))
    return {"vanilla": replace(ma, name="vanilla"), "MA": ma, "IT": it}
