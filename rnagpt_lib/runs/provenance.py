"""How a run's data set or model was made, read back from the files of its stages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rnagpt_lib.core.files import read_json
from rnagpt_lib.runs.stages import DATA, FILTER, METRICS, QA, SUMMARIES, manifest_of, stage_folder

SOURCES = "sources.json"
ENTRIES = "RNAcentral entries"  # the source of which LIMIT draws some


class Source(BaseModel):
    """One data source of stage 00; texts are as the source's server gave them."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str
    url: str = ""
    release: str | None = None
    date: str = ""
    query: str | None = None
    records: int | None = None
    licence: str = ""


@dataclass(frozen=True)
class Provenance:
    """Manifests, parameters and metrics by stage, and the sources that stage 00 named."""

    run: str
    manifests: dict[str, dict]
    params: dict[str, dict]
    metrics: dict[str, dict]
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, run_id: str, path: Sequence[str] = DATA) -> "Provenance":
        """Read it, of the stages in ``path``, 00 to 03 and any after them. Raises InputError for a
        damaged file, and for sources that are none."""
        folders = {stage: stage_folder(run_id, stage) for stage in path}
        manifests = {stage: manifest_of(folder) for stage, folder in folders.items()}
        metrics = {stage: read_json(folder / METRICS) for stage, folder in folders.items()}
        params = {stage: about["key"]["params"] for stage, about in manifests.items()}
        return cls(run_id, manifests, params, metrics, _sources(run_id))

    @property
    def generated(self) -> bool:
        """Whether RNAs and articles are those of the miniature world."""
        return self.params[FILTER].get("input") == "world"

    @property
    def quotes_abstracts(self) -> bool:
        """Whether annotations copy sentences of articles that somebody may own."""
        return not self.generated and self.params[SUMMARIES].get("provider") == "offline"

    @property
    def split(self) -> str:
        """SPLIT of notebook 03."""
        return self.params[QA]["split"]

    @property
    def seed(self) -> int:
        """The seed of the split."""
        return self.manifests[QA]["key"]["seed"]

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Stage → hash of its parameters and outputs."""
        return {stage: about["hash"] for stage, about in self.manifests.items()}


def is_generated(run_id: str) -> bool | None:
    """Whether a run's RNAs are those of the miniature world; None where its stage 00 is not there."""
    key = manifest_of(stage_folder(run_id, FILTER)).get("key", {})
    return key["params"].get("input") == "world" if key else None


def origin(run_id: str) -> str:
    """Where the RNAs of a run are from, for a reader: with the hosts, as a stand-in is not live."""
    key = manifest_of(stage_folder(run_id, FILTER)).get("key", {})
    hosts = re.findall(r"(?m)^https?://([^/?#\s]+)", "\n".join(s.url for s in _sources(run_id)))
    known = {
        "world": "the generated miniature world",
        "files": "the user's files",
        "rnacentral": f"RNAcentral and its literature, from {', '.join(sorted({*hosts}))}",
    }
    return known.get(str(key.get("params", {}).get("input")), "a source that it does not name")


def _sources(run_id: str) -> tuple[Source, ...]:
    found = read_json(
        stage_folder(run_id, FILTER) / SOURCES, dict[Literal["sources"], list[Source]]
    )
    return tuple(map(Source.model_validate, found.get("sources", [])))
