"""The Hugging Face Hub of the stand-in world: models to download and to upload.

A repository is a folder ``root/OWNER/NAME``. Uploads take the way of huggingface_hub without xet:
create, preupload, LFS batch, put, verify, commit.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule

LARGE = 4096  # bytes from which a file travels as LFS; safetensors always do


class Refused(Exception):
    """An answer by which the hub's client knows what is wrong."""

    def __init__(self, status: int, code: str = ""):
        super().__init__(code)
        self.status, self.code = status, code


@dataclass
class Hub:
    """The app.

    ``writers``: token → the one OWNER that it may write to; ``refuses``: a part of a path → the
    status and code that it is answered with.
    """

    root: Path
    writers: dict[str, str] = field(default_factory=dict)
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    prefix: str = ""
    sha: str = "0123456789abcdef0123456789abcdef01234567"
    asked: list[str] = field(default_factory=list)
    private: dict[str, bool] = field(default_factory=dict)  # of repositories made here
    commits: list[str] = field(default_factory=list)  # their messages
    _blobs: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ, start_response):
        request = Request(environ)
        with self._lock:
            try:
                found = self._answer(request, environ)
            except Refused as refusal:
                headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.code}
                found = Response("{}", refusal.status, headers)
            except HTTPException as error:
                found = error.get_response()
        return found(environ, start_response)

    def _answer(self, request: Request, environ) -> Response:
        self.asked.append(request.path)
        for part, (status, code) in self.refuses.items():
            if part in request.path:
                raise Refused(status, code)
        name, values = _ROUTES.bind_to_environ(environ).match()
        return getattr(self, f"_{name}")(request, **values)

    def _folder(self, owner: str, name: str) -> Path:
        folder = self.root / owner / name
        if not folder.is_dir():
            raise Refused(404, "RepoNotFound")
        return folder

    def _may_write(self, request: Request, owner: str) -> None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.writers:
            raise Refused(401, "Invalid credentials in Authorization header")
        if self.writers[token] != owner:
            raise Refused(403, "Forbidden")

    # --- reading

    def _about(self, request: Request, owner: str, name: str, revision: str = "main") -> Response:
        files = _files(self._folder(owner, name))
        siblings = [{"rfilename": path} for path in files]
        return _json({"id": f"{owner}/{name}", "sha": self.sha, "private": False, "gated": False,
                      "siblings": siblings})  # fmt: skip

    def _tree(self, request: Request, owner: str, name: str, revision: str) -> Response:
        files = _files(self._folder(owner, name))
        return _json([{"type": "file", "path": n, "size": 1, "oid": self.sha} for n in files])

    def _file(self, request: Request, owner: str, name: str, revision: str, path: str) -> Response:
        file = _files(self._folder(owner, name)).get(path)
        if file is None:
            raise NotFound
        data = file.read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        return Response(data, headers={"ETag": f'"{etag}"', "X-Repo-Commit": self.sha})

    # --- writing

    def _create(self, request: Request) -> Response:
        asked = request.json
        owner, name = asked["organization"], asked["name"]
        self._may_write(request, owner)
        made = {"url": f"{request.host_url}{owner}/{name}"}
        if (self.root / owner / name).is_dir():
            return _json(made | {"error": "You already created this model repo"}, 409)
        (self.root / owner / name).mkdir(parents=True)
        (self.root / owner / name / ".gitattributes").write_text("*.safetensors filter=lfs\n")
        private = asked.get("private", asked.get("visibility") == "private")
        self.private[f"{owner}/{name}"] = private
        return _json(made)

    def _yaml(self, request: Request) -> Response:
        return _json({"errors": [], "warnings": []})

    def _preupload(self, request: Request, owner: str, name: str, revision: str) -> Response:
        self._may_write(request, owner)
        files = [
            {"path": f["path"], "shouldIgnore": False,
             "uploadMode": "lfs" if f["size"] > LARGE else "regular"}
            for f in request.json["files"]
        ]  # fmt: skip
        return _json({"files": files})

    def _batch(self, request: Request, owner: str, name: str) -> Response:
        self._may_write(request, owner)
        place = f"{request.host_url}lfs/{owner}"
        objects = [
            thing | {"actions": {"upload": {"href": f"{place}/{thing['oid']}"},
                                 "verify": {"href": f"{place}/{thing['oid']}/verify"}}}
            for thing in request.json["objects"]
        ]  # fmt: skip
        return _json({"transfer": "basic", "objects": objects})

    def _put(self, request: Request, owner: str, oid: str) -> Response:
        data = request.get_data()
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400)
        self._blobs[oid] = data
        return Response()

    def _verify(self, request: Request, owner: str, oid: str) -> Response:
        if len(self._blobs.get(oid, b"")) != request.json["size"]:
            raise Refused(422)
        return _json({})

    def _commit(self, request: Request, owner: str, name: str, revision: str) -> Response:
        """All of it or, where an object was never put, nothing."""
        self._may_write(request, owner)
        folder = self._folder(owner, name)
        header, *lines = [json.loads(line) for line in request.get_data().splitlines()]
        for place in (line["value"]["path"] for line in lines if line["key"] == "deletedFile"):
            (folder / place).unlink()
        for line in lines:
            if line["key"] != "deletedFile":
                file = folder / line["value"]["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self._content(line["value"]))
        self.commits.append(header["value"]["summary"])
        url = f"{request.host_url}{owner}/{name}/commit/{self.sha}"
        return _json({"success": True, "commitOid": self.sha, "commitUrl": url})

    def _content(self, value: dict) -> bytes:
        return self._blobs[value["oid"]] if "oid" in value else base64.b64decode(value["content"])


def _files(folder: Path) -> dict[str, Path]:
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return dict(sorted(found.items()))


def _json(data: object, status: int = 200) -> Response:
    return Response(json.dumps(data), status, content_type="application/json")


_MODEL = "/api/models/<owner>/<name>"
_ROUTES = Map([
    Rule(_MODEL, endpoint="about", methods=["GET"]),
    Rule(f"{_MODEL}/revision/<revision>", endpoint="about", methods=["GET"]),
    Rule(f"{_MODEL}/tree/<revision>", endpoint="tree", methods=["GET"]),
    Rule("/<owner>/<name>/resolve/<revision>/<path:path>", endpoint="file"),
    Rule("/api/repos/create", endpoint="create", methods=["POST"]),
    Rule("/api/validate-yaml", endpoint="yaml", methods=["POST"]),
    Rule(f"{_MODEL}/preupload/<revision>", endpoint="preupload", methods=["POST"]),
    Rule("/<owner>/<name>.git/info/lfs/objects/batch", endpoint="batch", methods=["POST"]),
    Rule("/lfs/<owner>/<oid>", endpoint="put", methods=["PUT"]),
    Rule("/lfs/<owner>/<oid>/verify", endpoint="verify", methods=["POST"]),
    Rule(f"{_MODEL}/commit/<revision>", endpoint="commit", methods=["POST"]),
])  # fmt: skip
