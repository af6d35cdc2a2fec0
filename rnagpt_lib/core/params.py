"""The parameters of every stage, as pydantic models, and the profiles that fill them: YAML files in
``profiles/`` with one section per stage. Unknown names and ill-typed values are refused."""

import json
import math
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from rnagpt_lib.core import paths
from rnagpt_lib.core.errors import InputError
from rnagpt_lib.core.sequences import MIN_LENGTH
from rnagpt_lib.core.text import cut, one_line

KEY = "OPENAI_API_KEY"  # in the environment alone
WIDTH, DEADLINE = 8, 120.0  # calls at a time, and seconds for one, of a server that is fast
Kind = Literal["rna_type", "species", "family", "literature", "local"]  # of a pair
LARGEST_SEED, LARGEST = 2**31 - 1, 10**12  # of any number that is a parameter
MOST_LETTERS, MOST_VALUES = 200_000, 50_000  # of a file of parameters
ADDRESSES = ("base_url", "ebi_search", "europepmc", "rnacentral_api")
_PLAIN = TypeAdapter(JsonValue)
Reads = Literal["vectors", "letters", "nothing"]  # what stands where the RNA is
# What changes no result: the machine, the money, the pace, a mirror of a site.
_NO_RESULT = {"workers", "keep", "mode", "width", "deadline", "cap_dollars", "prices",
              "requests_per_minute", "tokens_per_minute", "batch_tokens", "attention", "parallel",
              "track", "ebi_search", "europepmc", "rnacentral_api", "requests_per_second",
              "ask_again"}  # fmt: skip


def _param(default: object, about: str, **limits: float) -> Any:
    """A field with the help that ``rnagpt run NOTEBOOK --list`` shows, and its limits."""
    return Field(default, description=about, **limits)


def read_yaml(text: str) -> Any:
    """YAML of anybody's, as JSON could hold it: names are texts, and so are dates. Raises
    InputError for anything else, and for what is long, deep, or unfolds (&a, *a) without end."""
    try:
        if len(text) > MOST_LETTERS:
            raise InputError(f"it has more than {MOST_LETTERS:,} characters")
        loader = _Loader(text)
        node = loader.get_single_node()
        _unfolded(node, {})
        found = loader.construct_document(node) if node else None
        json.dumps(_PLAIN.validate_python(found), ensure_ascii=False).encode()
        return found
    except InputError as error:
        fault = str(error)
    except ValidationError as error:
        first = error.errors()[0]
        what = "the name" if first["loc"][-1:] == ("[key]",) else "the value"
        fault = f"{what} {cut(repr(first['input']), 100)} is of no kind that is read; quote it"
    except RecursionError:
        fault = "it is nested too deeply"
    except UnicodeEncodeError:
        fault = "half a character, as \\ud800, is no text"
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        fault = cut(one_line(str(error)), 300)
    raise InputError(f"this is no YAML of parameters: {fault}")


class _Loader(yaml.SafeLoader):
    """A date without quotes is a text."""

    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in forms if not tag.endswith("timestamp")]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _unfolded(node: yaml.Node | None, known: dict[yaml.Node | None, float]) -> float:
    """How many values it is with its references followed. Raises InputError for too many."""
    if node not in known:
        known[node] = math.inf  # for those below: nothing holds itself
        own = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = chain.from_iterable(part if isinstance(part, tuple) else (part,) for part in own)
        known[node] = 1 + sum(_unfolded(part, known) for part in parts)
    if known[node] > MOST_VALUES:
        raise InputError(f"it holds, or its references unfold to, over {MOST_VALUES:,} values")
    return known[node]


def check_seed(seed: object) -> None:
    """Raises InputError for a SEED that some random generator would not take."""
    if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
        given = cut(repr(seed), 100)
        raise InputError(f"SEED is {given}; it can be a whole number from 0 to {LARGEST_SEED:,}")


def read_key(name: str = KEY) -> SecretStr:
    """A server's key. Raises InputError where the environment has none, or no header carries it."""
    if not (key := os.environ.get(name, "").strip()):
        raise InputError(f"{name} is not set; a server that needs no key takes any text")
    if not re.fullmatch("[!-~]+", key):
        raise InputError(f"{name} holds a blank or a letter that no key has; copy the key again")
    return SecretStr(key)


class Stage(BaseModel):
    """Parameters of one stage; the field names are the notebook's, in lower case."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _is_sane(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(value, int | float | Decimal) and abs(value) > LARGEST:
            raise ValueError(f"it should be no larger than {LARGEST:,}")
        if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
            raise ValueError("it should be text in UTF-8 without NUL characters")
        if info.field_name in ADDRESSES and value is not None:
            if not re.fullmatch(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", value):
                raise ValueError(
                    "it should be http(s)://HOST/PATH, with no name, password or key in it"
                )
        return value

    def key(self) -> dict:
        """The parameters that can change results, as JSON holds them."""
        return self.model_dump(mode="json", exclude=_NO_RESULT)


class Filter(Stage):
    """00: where the RNAs come from and which are kept (paper, section 3.1)."""

    input: Literal["world", "files", "rnacentral"] = _param("world", "world, files or rnacentral")
    world_size: int = _param(600, "RNAs of the generated world", ge=20)
    fasta: str | None = _param(None, "your RNAs, for INPUT files; or RNAcentral's file")
    table: str | None = _param(None, "TSV with more fields of your RNAs")
    articles: str | None = _param(None, "JSON lines of abstracts")
    links: str | None = _param(None, "JSON lines: which RNA is linked with which articles")
    min_length: int = _param(10, "shortest RNA kept, nt", ge=MIN_LENGTH)
    max_length: int = _param(1024, "longest RNA kept, nt", ge=10)
    query: str = _param('has_lit_scan:"True" AND entry_type:"Sequence"', "which RNAs of RNAcentral")
    limit: int = _param(0, "RNAs drawn from them by a hash of their ids; 0: all", ge=0)
    blocked: str | None = _param(None, "a file of further words that are no RNA's id")
    ebi_search: str = _param("https://www.ebi.ac.uk/ebisearch/ws/rest", "address of EBI Search")
    europepmc: str = _param(
        "https://www.ebi.ac.uk/europepmc/webservices/rest", "address of Europe PMC's service"
    )
    rnacentral_api: str = _param("https://rnacentral.org/api/v1", "address of RNAcentral's API")
    requests_per_second: float = _param(8, "to one host at most", gt=0)

    def key(self) -> dict:
        """With a parameter of earlier versions, which the keys of their runs hold."""
        return super().key() | {"id_mapping": None}


class Topics(Stage):
    """01: per-RNA LDA (paper, section 3.2)."""

    min_articles: int = _param(4, "RNAs with fewer abstracts stay one group", ge=2)
    max_topics: int = _param(8, "largest number of topics tried for an RNA", ge=1)
    passes: int = _param(6, "passes of LDA over the abstracts", ge=1)
    stability_seeds: int = _param(3, "seeds that must agree", ge=2)
    stable: float = _param(0.5, "agreement of the seeds that K > 1 must reach", gt=0, le=1)
    corpus_topics: int = _param(12, "topics of the map of all abstracts", ge=2)
    workers: int = _param(0, "processes; 0: all cores", ge=0)
    update_of: str | None = _param(None, "an earlier run, whose groups stay where they still stand")


class Price(BaseModel):
    """US dollars per million tokens, which is micro-dollars per token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Decimal = Field(ge=0, le=1_000_000)
    output: Decimal = Field(ge=0, le=1_000_000)


class Server(Stage):
    """What 02, 03 and 06 share: where a model's server is, how it is asked, what it may cost."""

    base_url: str | None = _param(None, "its address; None: the OpenAI API")
    width: int | None = _param(
        None, "calls at a time; None: by the first answer's time, 8 at most", ge=1, le=256
    )
    deadline: float | None = _param(
        None,
        "seconds for one call; None: by the first answer's time, 120 at least",
        gt=0,
        le=86_400,
    )
    cap_dollars: Decimal | None = _param(
        None, "the most that all calls in the journal together may cost", ge=0
    )
    prices: dict[str, Price] = _param(
        {}, "model: {input: …, output: …}, dollars per million tokens"
    )
    requests_per_minute: int | None = _param(None, "limit of the account's tier", ge=1)
    tokens_per_minute: int | None = _param(None, "limit of the account's tier", ge=1)

    def price_of(self, model: str) -> Price | None:
        """The model's price, or None. Raises InputError for a cap that no price can hold to."""
        if model not in self.prices and self.cap_dollars is not None:
            raise InputError(
                f"CAP_DOLLARS is set, but the profile has no price of model {model!r}; write "
                f"{{{model}: {{input: …, output: …}}}}, dollars per million tokens (0 at a "
                "server of your own), under prices:"
            )
        return self.prices.get(model)


class Calls(Server):
    """What 02 and 03 share: which language model answers."""

    provider: Literal["offline", "openai"] = _param("offline", "offline or openai")
    model: str = _param("gpt-4o-mini", "chat model of the provider openai")
    temperature: float | None = _param(0, "of the model; null in a profile: its own", ge=0)
    ask_again: bool = _param(
        False, "calls of the journal that failed (cut, malformed) are asked again"
    )
    mode: Literal["sync", "batch"] = _param("sync", "sync, or batch for half the price")
    batch_tokens: int | None = _param(
        None, "tokens that the account may have enqueued, for MODE batch", ge=1
    )

    def check(self) -> None:
        """Raises InputError for what calls would lack: a key, and a price where there is a cap."""
        if self.provider == "openai":
            read_key()
            self.price_of(self.model)


class Summarize(Calls):
    """02: divide and conquer (paper, section 3.2)."""

    words: int = _param(120, "longest annotation, words", ge=20)
    given: str | None = _param(None, "JSON lines of your own texts")
    arms_sample: int = _param(
        60, "RNAs with several topics on which the ways to divide are compared", ge=0
    )


class Decompose(Calls):
    """03: QA pairs and the split (paper, section 3.3)."""

    source: Literal["dnc", "single_pass", "given"] = _param(
        "dnc", "annotations to read: dnc, single_pass or given"
    )
    no_by_abstracts: bool = _param(
        True, "a made-up No is about an entity that no abstract of the RNA names"
    )
    min_pairs: int = _param(5, "fewer are kept, and counted in the data card", ge=1)
    max_pairs: int = _param(14, "pairs of one RNA at most", ge=1)
    split: Literal["random", "cluster", "family"] = _param("cluster", "random, cluster or family")
    val_share: float = _param(0.1, "RNAs of each type for validation", ge=0, lt=1)
    test_share: float = _param(0.2, "RNAs of each type for the test", ge=0, lt=1)


_Beta = Annotated[float, Field(ge=0, lt=1)]


class Train(Stage):
    """What 04 and 05 share: optimiser and schedule of the paper's section 4.1.

    The schedule of the recipe ``packed`` is counted in pairs. ``rnas_per_step`` is over all
    processes together, ``row_tokens`` the budget of one pass of one process.
    """

    encoder: str = _param("models/mini-encoder", "folder of RNA-FM's weights")
    llm: str = _param("models/mini-llm", "folder of an LLM, or hf:OWNER/NAME for one of the hub")
    recipe: Literal["paper", "packed"] = _param("packed", "packed, or paper: one pair a step")
    epochs: int = _param(10, "passes over the training RNAs", ge=1)
    learning_rate: float = _param(1e-4, "peak of the schedule, after the warm-up", gt=0)
    initial_rate: float = _param(1e-6, "where the warm-up starts", ge=0)
    final_rate: float = _param(8e-5, "where the schedule ends", ge=0)
    warmup_steps: int = _param(2048, "linear warm-up, in steps of one pair", ge=0)
    betas: tuple[_Beta, _Beta] = _param((0.9, 0.98), "of AdamW")
    weight_decay: float = _param(0.05, "of AdamW", ge=0)
    rnas_per_step: int = _param(1, "RNAs behind one step of the optimiser (packed)", ge=1)
    row_tokens: int = _param(2048, "token budget of a forward pass", ge=64)
    precision: Literal["fp32", "bf16", "fp16"] = _param("fp32", "of the frozen LLM")
    cache: Literal["fp32", "fp16", "live"] = _param(
        "fp32", "of the encoder's vectors on disk; live: encoded at each visit"
    )
    validate_every: int = _param(0, "steps between validations; 0: an epoch", ge=0)
    patience: int = _param(0, "stop after so many validations without a new best; 0: never", ge=0)
    track: Literal["jsonl", "tensorboard", "trackio"] = _param("jsonl", "where steps are written")
    parallel: Literal["ddp", "fsdp"] = _param("ddp", "each process has a copy, or (fsdp) a part")
    attention: Literal["sdpa", "flex"] = _param("sdpa", "flex: for long rows on a CUDA GPU")
    keep: int = _param(2, "checkpoints that are kept", ge=2)


class Stage1(Train):
    """04: modality alignment; only the projection trains."""

    whiten: bool = _param(True, "centre and decorrelate the vectors; False: as in the paper")


class Stage2(Train):
    """05: instruction tuning."""

    train: Literal["projection", "lora", "qlora"] = _param("lora", "projection, lora or qlora")
    lora_rank: int = _param(16, "rank of the adapters", ge=1)
    lora_alpha: int = _param(32, "their scale, over the rank", ge=1)
    pairs_per_visit: int = _param(0, "pairs drawn of an RNA in an epoch; 0: all", ge=0)
    always: tuple[Kind, ...] = _param((), "kinds of pairs that no visit leaves out")
    warmup_steps: int = _param(200, "linear warm-up, in steps of one pair", ge=0)
    encoder_layers: int = _param(0, "last layers of the encoder that train; CACHE is live", ge=0)

    @field_validator("encoder_layers")
    @classmethod
    def _reads_anew(cls, layers: int, info: pydantic.ValidationInfo) -> int:
        if layers and info.data.get("cache") != "live":
            raise ValueError(
                "the vectors of an encoder that trains change: set CACHE to live with it"
            )
        if layers and info.data.get("parallel") == "fsdp":
            raise ValueError("its layers are in no part of a shared-out model: PARALLEL is ddp")
        return layers


class Ablations(Server):
    """06: answers and scores of vanilla, MA and IT (paper, section 4.2)."""

    runs: tuple[str, ...] = _param((), "finished runs to set beside this one")
    max_pairs: int = _param(0, "test questions to ask, whole RNAs at a time; 0: all", ge=0)
    minimal_pairs: int = _param(0, "minimal pairs of the generated world", ge=0)
    max_new_tokens: int = _param(256, "an answer is cut here", ge=1)
    batch_size: int = _param(64, "questions that are answered together", ge=1)
    bootstrap: int = _param(1000, "draws behind the 95 % bounds", ge=100)
    semantic: tuple[Literal["MiniLM", "BERT", "Pub", "GPT"], ...] = _param(
        ("MiniLM", "BERT", "Pub"), "the scorers; GPT asks a server for embeddings"
    )
    bert: str = _param("models/bert-base-uncased", "folder of its weights, or hf:OWNER/NAME")
    pub: str = _param(
        "models/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext", "the same of PubMedBERT"
    )
    embedder: str = _param("text-embedding-3-large", "the model behind GPT; another has its name")

    def calls(self) -> Calls:
        """How ``embedder`` is asked."""
        shared = {name: getattr(self, name) for name in Server.model_fields}
        return Calls(provider="openai", model=self.embedder, **shared)


class CaseStudies(Stage):
    """07: chats (paper, figures 6 to 9)."""

    held_out: int = _param(4, "RNAs of the test side to ask about", ge=0)
    max_new_tokens: int = _param(256, "an answer is cut here", ge=1)


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


GENERAL = {  # parameters of every stage that are none of its fields
    "PROFILE": ("str", "a file of profiles/"),
    "RUN": ("str", "run id: results go to runs/RUN/"),
    "SEED": ("int", "one seed, one machine: the same tables"),
    "ON_FINISHED": ("str", "a finished stage opened again: archive or refuse"),
}


def describe(stage: str) -> dict[str, dict]:
    """All parameters of a stage by their names in notebooks, as papermill describes those of a
    notebook: type, default and help. None, the default, stands for the profile's value."""
    fields = STAGE_MODELS[stage].model_fields.items()
    own = {name.upper(): (_kind(field.annotation), field.description) for name, field in fields}
    return {
        name: {"name": name, "inferred_type_name": kind, "default": "None", "help": about}
        for name, (kind, about) in (GENERAL | own).items()
    }


def _kind(annotation: object) -> str:
    """``int | None`` is an int, a choice of texts a str, a tuple a list."""
    if isinstance(annotation, UnionType):
        [annotation] = set(get_args(annotation)) - {NoneType}
    origin = get_origin(annotation) or annotation
    return {Literal: "str", tuple: "list", Decimal: "float"}.get(origin, origin.__name__)


class Profile(BaseModel):
    """One file of ``profiles/``: a name, a purpose, and a section per stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    auto_run: bool = False
    on_finished: Literal["archive", "refuse"] = "archive"
    stages: dict[str, dict] = {}

    def stage(self, stage: str, **overrides: object) -> Stage:
        """The stage's parameters; ``overrides`` that are None leave the profile's value.

        Raises InputError for an unknown name or a value of the wrong type.
        """
        if stage not in STAGE_MODELS:
            raise InputError(f"unknown stage {stage!r}; stages are {', '.join(STAGE_MODELS)}")
        chosen = {name: value for name, value in overrides.items() if value is not None}
        try:
            return STAGE_MODELS[stage].model_validate(self.stages.get(stage, {}) | chosen)
        except ValidationError as error:
            first = error.errors()[0]
        where, name = f"{stage}, profile {self.name}", str(first["loc"][0]).upper()
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            known = ", ".join(STAGE_MODELS[stage].model_fields).upper()
            raise InputError(f"{where}: there is no parameter {name}; parameters are {known}")
        said = first["msg"].removeprefix("Value error, ")
        secret = name.lower() in ADDRESSES
        given = "(not shown)" if secret else cut(repr(first["input"]), 200)
        raise InputError(f"{where}: parameter {name} is {given}, but {said[0].lower()}{said[1:]}")


def overridden(profile: Profile, given: Mapping[str, object]) -> Profile:
    """The profile with ``given`` parameters (in lower case) in every stage that has them; None
    means "as in the profile". Raises InputError for one that no stage has, or that one refuses."""
    known = {name for model in STAGE_MODELS.values() for name in model.model_fields}
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"no stage has a parameter {unknown[0].upper()}")
    stages = {}
    for stage, model in STAGE_MODELS.items():
        own = {n: v for n, v in given.items() if n in model.model_fields and v is not None}
        profile.stage(stage, **own)
        stages[stage] = profile.stages.get(stage, {}) | own
    return profile.model_copy(update={"stages": stages})


def names() -> list[str]:
    """Names of the profiles at hand."""
    return sorted(path.stem for path in paths.profiles().glob("*.yaml"))


def load(name: str) -> Profile:
    """Read ``profiles/<name>.yaml``. Raises InputError when it is missing or invalid."""
    path = paths.profiles() / f"{name}.yaml"
    if name not in names():
        raise InputError(f"profile {name!r} is unknown; profiles are {', '.join(names())}")
    try:
        data = read_yaml(path.read_text("utf-8"))
        profile = Profile.model_validate({**data, "name": name})
        for stage in profile.stages:
            profile.stage(stage)
        return profile
    except ValidationError as error:
        first = error.errors()[0]
        fault = f"{'.'.join(map(str, first['loc']))} {first['msg']}"
    except InputError as error:
        fault = str(error)
    except (UnicodeDecodeError, TypeError) as error:
        fault = f"it is no YAML mapping: {error}"
    raise InputError(f"{paths.shown(path)}: {fault}")
