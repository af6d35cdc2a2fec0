"""The parameters of every stage, as pydantic models, and the profiles that fill them.

A profile is a YAML file in ``profiles/`` with one section per stage; a notebook's own
parameters override it. Unknown names and ill-typed values are refused.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError

Kind = Literal["rna_type", "species", "family", "literature", "local"]  # of a pair
Reads = Literal["vectors", "letters", "nothing"]  # what stands where the RNA is
_NO_RESULT = {"workers", "engine", "keep", "mode", "width", "deadline", "cap_dollars", "prices",
              "requests_per_minute", "tokens_per_minute", "batch_tokens", "attention", "parallel",
              "track"}  # fmt: skip


class Stage(BaseModel):
    """Parameters of one stage; the field names are the notebook's, in lower case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def key(self) -> dict:
        """The parameters that can change results, as JSON holds them."""
        return self.model_dump(mode="json", exclude=_NO_RESULT)


class Filter(Stage):
    """00: where the RNAs come from and which are kept (paper, section 3.1).

    ``limit`` (0: all) RNAs of ``query`` are drawn by a hash of their ids; sequences are
    asked for one by one, unless ``fasta`` names RNAcentral's file (``id_mapping`` its file of gene
    names); ``blocked``: a file of further words that are no
    RNA's id. Addresses and pace change no result.
    """

    input: Literal["world", "files", "rnacentral"] = "world"
    world_size: int = Field(600, ge=20)
    fasta: str | None = None
    table: str | None = None
    articles: str | None = None
    links: str | None = None
    min_length: int = Field(10, ge=1)
    max_length: int = Field(1024, ge=10)
    query: str = 'has_lit_scan:"True" AND entry_type:"Sequence"'
    limit: int = Field(0, ge=0)
    id_mapping: str | None = None
    blocked: str | None = None
    ebi_search: str = "https://www.ebi.ac.uk/ebisearch/ws/rest"
    europepmc: str = "https://www.ebi.ac.uk/europepmc/webservices/rest"
    rnacentral_api: str = "https://rnacentral.org/api/v1"
    requests_per_second: float = Field(8, gt=0)

    def key(self) -> dict:
        """The parameters that can change results: a mirror and a slower pace do not."""
        where = {"ebi_search", "europepmc", "rnacentral_api", "requests_per_second"}
        return {name: value for name, value in super().key().items() if name not in where}


class Topics(Stage):
    """01: per-RNA LDA (paper, section 3.2)."""

    min_articles: int = Field(4, ge=2)
    max_topics: int = Field(8, ge=1)
    passes: int = Field(6, ge=1)
    stability_seeds: int = Field(3, ge=2)
    stable: float = Field(0.5, gt=0, le=1)  # agreement of the seeds that K > 1 must reach
    corpus_topics: int = Field(12, ge=2)
    workers: int = Field(0, ge=0)
    engine: Literal["pool", "ray"] = "pool"
    update_of: str | None = None  # an earlier run, whose groups stay where they still stand


class Price(BaseModel):
    """US dollars per million tokens, which is micro-dollars per token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)


class Server(Stage):
    """What 02, 03 and 06 share: where a model's server is, how it is asked, what it may cost.

    ``width``: calls at a time; ``deadline``: seconds for one call; ``cap_dollars``: the most that
    all calls in the journal together may cost; ``requests_per_minute``, ``tokens_per_minute``:
    the limits of the account's tier.
    """

    base_url: str | None = None
    width: int = Field(8, ge=1, le=256)
    deadline: float = Field(120, gt=0)
    cap_dollars: Decimal | None = Field(None, ge=0)
    prices: dict[str, Price] = {}
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", url):
            raise ValueError(
                "it should be http(s)://HOST/PATH, with no name, password or key in it"
            )
        return url


class Calls(Server):
    """What 02 and 03 share: which language model answers.

    ``batch_tokens``: how many may be enqueued at a time, a limit of the account's tier.
    """

    provider: Literal["offline", "openai"] = "offline"
    model: str = "gpt-4o-mini"
    temperature: float | None = Field(0, ge=0)  # None: the model's own, some know no other
    mode: Literal["sync", "batch"] = "sync"
    batch_tokens: int | None = Field(None, ge=1)


class Summarize(Calls):
    """02: divide and conquer (paper, section 3.2).

    ``arms_sample``: RNAs with several topics on which the ways to divide are compared.
    """

    words: int = Field(120, ge=20)
    given: str | None = None
    arms_sample: int = Field(60, ge=0)


class Decompose(Calls):
    """03: QA pairs and the split (paper, section 3.3).

    ``no_by_abstracts``: a made-up "No" is about an entity that no abstract of the RNA names.
    """

    source: Literal["dnc", "single_pass", "given"] = "dnc"
    no_by_abstracts: bool = True
    min_pairs: int = Field(5, ge=1)
    max_pairs: int = Field(14, ge=1)
    split: Literal["random", "cluster", "family"] = "cluster"
    val_share: float = Field(0.1, ge=0, lt=1)
    test_share: float = Field(0.2, ge=0, lt=1)


class Train(Stage):
    """What 04 and 05 share: optimiser and schedule of the paper's section 4.1.

    ``warmup_steps``: steps of a batch of one, so pairs where the recipe is ``packed``, whose whole
    schedule is counted in pairs. ``rnas_per_step``: over all processes together; ``row_tokens``:
    the budget of one pass of one process. ``precision``: of the frozen LLM; what trains is in fp32.
    ``patience``: validations without a new best loss after which a training ends (0: never).
    ``parallel``: what several processes do with the model, each a copy (``ddp``) or each a part
    (``fsdp``, for LLMs that don't fit one GPU). ``attention``: by a dense mask, or (``flex``, on
    CUDA, for long rows) by one whose empty blocks are skipped.
    ``cache``: how the encoder's vectors are kept, or ``live``: encoded at each visit.
    """

    encoder: str = "models/mini-encoder"
    llm: str = "models/mini-llm"
    recipe: Literal["paper", "packed"] = "packed"
    epochs: int = Field(10, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    initial_rate: float = Field(1e-6, ge=0)
    final_rate: float = Field(8e-5, ge=0)
    warmup_steps: int = Field(2048, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.05, ge=0)
    rnas_per_step: int = Field(1, ge=1)
    row_tokens: int = Field(2048, ge=64)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    cache: Literal["fp32", "fp16", "live"] = "fp32"
    validate_every: int = Field(0, ge=0)
    patience: int = Field(0, ge=0)
    track: Literal["jsonl", "tensorboard", "trackio"] = "jsonl"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    attention: Literal["sdpa", "flex"] = "sdpa"
    keep: int = Field(2, ge=2)


class Stage1(Train):
    """04: modality alignment; only the projection trains."""

    whiten: bool = True  # centred, decorrelated input; False: as in the paper


class Stage2(Train):
    """05: instruction tuning.

    ``pairs_per_visit``: pairs of an RNA, drawn anew in every epoch (0: all of them); ``always``:
    kinds of pairs that no visit leaves out, besides those drawn. ``encoder_layers``: how many of
    the encoder's last layers train as well (0: it is frozen, as in the paper).
    """

    train: Literal["projection", "lora", "qlora"] = "lora"
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    pairs_per_visit: int = Field(0, ge=0)
    always: tuple[Kind, ...] = ()
    warmup_steps: int = Field(200, ge=0)
    encoder_layers: int = Field(0, ge=0)

    @field_validator("encoder_layers")
    @classmethod
    def _reads_anew(cls, layers: int, info: ValidationInfo) -> int:
        if layers and info.data.get("cache") != "live":
            raise ValueError(
                "vectors of an encoder that trains cannot be kept: set CACHE to live with it"
            )
        if layers and info.data.get("parallel") == "fsdp":
            raise ValueError("its layers are in no part of a shared-out model: PARALLEL is ddp")
        return layers


class Ablations(Server):
    """06: answers and scores of vanilla, MA and IT (paper, section 4.2).

    ``runs``: finished runs whose tables stand beside; ``max_pairs``: 0 asks every test question;
    ``minimal_pairs``: how many, on the generated world alone. ``semantic``: the scorers;
    ``bert``, ``pub``: folders with the weights of two of them, or ``hf:OWNER/NAME``; ``embedder``:
    the server's model behind ``GPT``, whose scores have its own name where it is another than the
    paper's.
    """

    runs: tuple[str, ...] = ()
    max_pairs: int = Field(0, ge=0)
    minimal_pairs: int = Field(0, ge=0)
    max_new_tokens: int = Field(256, ge=1)
    batch_size: int = Field(64, ge=1)
    bootstrap: int = Field(1000, ge=100)
    semantic: tuple[Literal["MiniLM", "BERT", "Pub", "GPT"], ...] = ("MiniLM", "BERT", "Pub")
    bert: str = "models/bert-base-uncased"
    pub: str = "models/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext"
    embedder: str = "text-embedding-3-large"

    def calls(self) -> Calls:
        """How ``embedder`` is asked."""
        shared = {name: getattr(self, name) for name in Server.model_fields}
        return Calls(provider="openai", model=self.embedder, **shared)


class CaseStudies(Stage):
    """07: chats (paper, figures 6 to 9); ``held_out``: RNAs of the test side to ask about."""

    held_out: int = Field(4, ge=0)
    max_new_tokens: int = Field(256, ge=1)


STAGE_MODELS: dict[str, type[Stage]] = {
    "00_filter_rnacentral": Filter,
    "01_explore_topics": Topics,
    "02_summarize": Summarize,
    "03_decompose_qa": Decompose,
    "04_train_stage1": Stage1,
    "05_train_stage2": Stage2,
    "06_ablations": Ablations,
    "07_case_studies": CaseStudies,
}


class Profile(BaseModel):
    """One file of ``profiles/``: a name, a purpose, and a section per stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    auto_run: bool = False
    on_finished: Literal["archive", "refuse"] = "archive"
    stages: dict[str, dict] = {}

    @model_validator(mode="after")
    def _sections_are_valid(self) -> "Profile":
        for stage in self.stages:
            if stage not in STAGE_MODELS:
                known = ", ".join(STAGE_MODELS)
                raise ValueError(f"unknown stage {stage!r}; stages are {known}")
            self.stage(stage)
        return self

    def stage(self, stage: str, **overrides: object) -> Stage:
        """The stage's parameters; ``overrides`` that are None leave the profile's value.

        Raises InputError for an unknown name or a value of the wrong type.
        """
        chosen = {name: value for name, value in overrides.items() if value is not None}
        try:
            return STAGE_MODELS[stage].model_validate(self.stages.get(stage, {}) | chosen)
        except ValidationError as error:
            raise InputError(_refusal(error, f"{stage}, profile {self.name}", stage)) from None


def overridden(profile: Profile, given: Mapping[str, object]) -> Profile:
    """The profile with ``given`` parameters (in lower case) in every stage that has them.

    None means "as in the profile".
    Raises InputError for one that no stage has, and for a value that a stage refuses.
    """
    for name in given:
        if not any(name in model.model_fields for model in STAGE_MODELS.values()):
            raise InputError(f"no stage has a parameter {name.upper()}")
    stages = {
        stage: {n: v for n, v in given.items() if n in model.model_fields and v is not None}
        for stage, model in STAGE_MODELS.items()
    }
    for stage, own in stages.items():
        profile.stage(stage, **own)
    merged = {stage: profile.stages.get(stage, {}) | own for stage, own in stages.items()}
    return profile.model_copy(update={"stages": merged})


def _refusal(error: ValidationError, where: str, stage: str) -> str:
    """One sentence on the first thing that is wrong, in the notebooks' names."""
    first = error.errors()[0]
    name = str(first["loc"][0]).upper()
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        known = ", ".join(STAGE_MODELS[stage].model_fields).upper()
        return f"{where}: there is no parameter {name}; parameters are {known}"
    said = first["msg"].removeprefix("Value error, ")
    reason = said[0].lower() + said[1:]
    # not shown, as it may hold a secret
    given = "(not shown)" if name == "BASE_URL" else repr(first["input"])
    return f"{where}: parameter {name} is {given}, but {reason}"


def names() -> list[str]:
    """Names of the profiles at hand."""
    return sorted(path.stem for path in paths.profiles().glob("*.yaml"))


def load(name: str) -> Profile:
    """Read ``profiles/<name>.yaml``. Raises InputError when it is missing or invalid."""
    path = paths.profiles() / f"{name}.yaml"
    if name not in names():
        raise InputError(f"profile {name!r} is unknown; profiles are {', '.join(names())}")
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        return Profile.model_validate({**data, "name": name})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{paths.shown(path)}: {where} {first['msg']}".strip()) from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{paths.shown(path)} is no YAML mapping: {reason}") from None
