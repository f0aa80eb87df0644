"""A small Civitai on loopback: its API, its downloads behind a token, its pictures; demo and test kit.

Two origins: the site (`hub` in logs and faults) and where bytes are (`cdn`): files by signed addresses that expire, and
pictures. Statuses and words of refusals are those of github.com/civitai/civitai, pages/api/download/models.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

from reconciler.hub import content
from reconciler.hub.access import Refusal, bearer, json_response
from reconciler.hub.assets import AssetFile, Model, Preview, Version, files_of, model_json, version_json
from reconciler.hub.faults import PAGE
from reconciler.hub.repos import Blob
from reconciler.hub.service import Service
from reconciler.hub.wire import Call, Response

Manners = Literal["json", "login", "page"]

_API = "/api/v1/"
_DOWNLOAD = "/api/download/models/"
_BUCKET = "/civitai-delivery-worker-prod"
_MOST_BY_HASH, _MOST_IDS = 100, 10_000


class Civitai(Service):
    """A running Civitai: `with Civitai(token="…") as civitai:`; everything in it can be changed while it runs."""

    def __init__(self, *, token: str | None = None, url_ttl: int = 86_400, port: int = 0, cdn_port: int = 0) -> None:
        super().__init__({"hub": port, "cdn": cdn_port})
        self.token = token
        """The one token of an account; None: no token is good."""
        self.url_ttl = url_ttl
        """How long a signed address is good, in seconds."""
        self.url = self.cdn_url = ""
        self.models: dict[int, Model] = {}
        self.versions: dict[int, Version] = {}
        self.bought: set[int] = set()
        """Versions that the account has paid for."""
        self.manners: Manners = "json"
        """How a download is refused: as JSON (to who speaks JSON; a login else), by a login, or by a page with 200."""
        self.preferences: Mapping[str, str] = {}
        """What the account likes better where an address does not say which file: metadata, such as `fp`."""
        self.revoked: set[str] = set()
        self._ahead = 0.0
        self._numbers = itertools.count(900_001)
        self._secret = b"the secret of a Civitai that lives on loopback"

    def start(self) -> Civitai:
        """Listen on both ports; `url` and `cdn_url` say where. Raises OSError for a port that is taken."""
        self._begin()
        return self

    def _open(self) -> None:
        self.url = self._listen("hub")
        self.cdn_url = self._listen("cdn")

    def add_model(self, number: int, name: str, type: str = "LORA", **facts: Any) -> Model:  # noqa: A002 - their word
        """Add a model without versions, or one in place of another; `facts` are fields of `assets.Model`."""
        model = self.models[number] = Model(number, name, type, **facts)
        return model

    def add_version(
        self,
        model: int,
        number: int,
        files: Mapping[str, bytes] | Iterable[AssetFile],
        *,
        name: str = "v1.0",
        previews: Iterable[Preview] = (),
        ecosystem: str | None = "sdxl",
        **facts: Any,
    ) -> Version:
        """Add a release in front of a model's others; `facts` are fields of `assets.Version`.

        Of names and bytes the first is the primary file. With an `ecosystem` the API names an AIR.
        """
        owner = self.models[model]
        if ecosystem is not None:
            kind = {"LoCon": "lycoris", "TextualInversion": "embedding"}.get(owner.type, owner.type.lower())
            facts.setdefault("air", f"urn:air:{ecosystem}:{kind}:civitai:{model}@{number}")
        version = Version(number, owner, name, files_of(files, self._numbers), list(previews), **facts)
        owner.versions.insert(0, version)
        self.versions[number] = version
        return version

    def replace_file(self, version: int, name: str, data: bytes) -> None:
        """Put other bytes behind a file's name and number, as an uploader can."""
        found = self.versions[version]
        found.files = [
            AssetFile(f.number, f.name, Blob(data), f.kind, f.primary, f.metadata, f.public, f.claims)
            if f.name == name
            else f
            for f in found.files
        ]

    def now(self) -> float:
        """Return Civitai's time, in seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move Civitai's clock forward, so that nobody has to wait for an address to expire."""
        self._ahead += seconds

    def revoke(self, signature: str) -> None:
        """Let a signature be good no longer."""
        self.revoked.add(signature)

    def respond(self, call: Call) -> Response:
        """Answer one call of either origin."""
        try:
            return self._site(call) if call.origin == "hub" else self._bytes(call)
        except Refusal as refusal:
            return _error(refusal.status, {"error": refusal.message})
        except ValueError as problem:  # a query or body that is not what it should be
            return _error(400, {"error": str(problem)})

    # -- the site -----------------------------------------------------------------------------------------------------

    def _site(self, call: Call) -> Response:
        if call.path.startswith(_DOWNLOAD):
            return self._download(call, _number(call.path.removeprefix(_DOWNLOAD)))
        if call.path.startswith(_API):
            return self._api(call, call.path.removeprefix(_API).strip("/").split("/"))
        if call.path in ("/login", "/"):
            return _page()
        return Response(404, (("Content-Type", "text/html; charset=utf-8"),), Blob(PAGE))

    def _api(self, call: Call, parts: list[str]) -> Response:
        match call.method, parts:
            case "GET" | "HEAD", ["me"]:
                if not self._is_known(call):
                    raise Refusal(401, "", "Unauthorized")
                return json_response({"id": 1, "username": "demo"})
            case "GET" | "HEAD", ["models", number]:
                return self._model(_number(number))
            case "GET" | "HEAD", ["model-versions", "by-hash", text]:
                return self._version(self._by_hash(text), call)
            case "GET" | "HEAD", ["model-versions", number]:
                return self._version(self.versions.get(_number(number)), call)
            case "POST", ["model-versions", "by-hash", *rest] if rest in ([], ["ids"]):
                return self._by_hashes(call, ids=rest == ["ids"])
            case _:
                raise Refusal(404, "", "Not Found")

    def _model(self, number: int) -> Response:
        model = self.models.get(number)
        if model is None or model.gone:
            raise Refusal(model.gone or 404 if model else 404, "", f"No model with id {number}")
        return json_response(model_json(model, self.url, self.cdn_url, self.now()), _CACHED)

    def _version(self, version: Version | None, call: Call) -> Response:
        if version is None or version.status != "Published" or version.model.gone:
            raise Refusal((version.model.gone if version else None) or 404, "", "Model not found")
        headers = {} if self._is_known(call) else _CACHED
        return json_response(version_json(version, self.url, self.cdn_url, self.now()), headers)

    def _by_hash(self, text: str) -> Version | None:
        wanted = text.upper()
        return next((version for version, file in self._open_files() if wanted in _hashes(file).values()), None)

    def _by_hashes(self, call: Call, *, ids: bool) -> Response:
        most = _MOST_IDS if ids else _MOST_BY_HASH
        wanted = json.loads(call.body or b"null")
        if not isinstance(wanted, list) or not all(isinstance(text, str) and len(text) == 64 for text in wanted):
            raise Refusal(400, "", "Request must include an array of SHA256 Hashes. Invalid hash")
        if len(wanted) > most:
            raise Refusal(400, "", "Request must include an array of SHA256 Hashes. Too many hashes")
        asked = {text.upper() for text in wanted}
        found = [(version, _hashes(file)["SHA256"]) for version, file in self._open_files()
                 if _hashes(file).get("SHA256") in asked]  # fmt: skip
        if ids:
            return json_response([{"modelVersionId": version.number, "hash": text} for version, text in found])
        return json_response([version_json(version, self.url, self.cdn_url, self.now()) for version, _ in found])

    def _open_files(self) -> list[tuple[Version, AssetFile]]:
        shown = [v for v in list(self.versions.values()) if v.status == "Published" and not v.model.gone]
        return [(version, file) for version in shown for file in version.open_files]

    # -- downloads ----------------------------------------------------------------------------------------------------

    def _download(self, call: Call, number: int) -> Response:
        if call.method == "HEAD":
            raise Refusal(401, "", "Unauthorized")  # whoever asks, and with whatever
        version = self.versions.get(number)
        if version is None or version.model.gone:
            raise Refusal((version.model.gone if version else None) or 404, "", "File not found")
        if version.model.mode is not None:
            raise Refusal(410, "", "Model archived, not available for download")
        if version.status != "Published":
            raise Refusal(404, "", "File not found")
        refused = self._barred(call, version)
        if refused is not None:
            return self._refuse(call, version, *refused)
        file = _chosen(version, call.query, self.preferences)
        if file is None:
            raise Refusal(404, "", "File not found")
        return Response(307, (("Location", self._signed(version, file)), ("Cache-Control", "no-store")))

    def _barred(self, call: Call, version: Version) -> tuple[int, dict[str, Any]] | None:
        """Return why this caller may not have a version's files, None when it may."""
        words = "The creator of this asset"
        if version.usage != "Download":
            return 401, {"error": "Unauthorized", "message": f"{words} has disabled downloads on this file"}
        if not self._is_known(call) or (version.paid and version.number not in self.bought):
            return 401, {"error": "Unauthorized", "message": f"{words} requires you to be logged in to download it"}
        if (version.early_access or 0.0) > self.now() and version.number not in self.bought:
            deadline = datetime.fromtimestamp(version.early_access or 0.0, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            told = "This asset is in Early Access. You can use Buzz access it now!"
            return 403, {"error": "Early Access", "deadline": deadline, "message": told}
        return None

    def _refuse(self, call: Call, version: Version, status: int, told: dict[str, Any]) -> Response:
        if self.manners == "page":
            return _page()
        if self.manners == "json" and call.headers.get("content-type") == "application/json":
            return _error(status, told)
        back = urlencode({"returnUrl": f"/model-versions/{version.number}", "reason": "download-auth"})
        return Response(307, (("Location", f"/login?{back}"),))

    def _is_known(self, call: Call) -> bool:
        return self.token is not None and self.token in (bearer(call), call.query.get("token"))

    def _signed(self, version: Version, file: AssetFile) -> str:
        """Return the address of a file's bytes, signed as S3 does (SigV4), good for `url_ttl` seconds."""
        path = f"{_BUCKET}/model/{version.number}/{file.number}/{quote(file.name)}"
        date = datetime.fromtimestamp(self.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        nonce = f"loopback{next(self._numbers)}"
        query = {
            "X-Amz-Expires": str(self.url_ttl),
            "response-content-disposition": f'attachment; filename="{quote(file.name)}"',
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{nonce}/{date[:8]}/us-east-1/s3/aws4_request",
            "X-Amz-Date": date,
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": self._sign(path, date, str(self.url_ttl), nonce),
        }
        return f"{self.cdn_url}{path}?{urlencode(query)}"

    def _sign(self, path: str, date: str, life: str, nonce: str) -> str:
        return hmac.new(self._secret, f"{path}\n{date}\n{life}\n{nonce}".encode(), hashlib.sha256).hexdigest()

    # -- bytes --------------------------------------------------------------------------------------------------------

    def _bytes(self, call: Call) -> Response:
        if call.path.startswith(f"{_BUCKET}/"):
            return self._object(call)
        for version in list(self.versions.values()):
            for preview in version.previews:
                if preview.path == call.path:
                    kind = {"Content-Type": f"{preview.kind}/{preview.told}"}
                    return content.serve(call, Blob(preview.content), f"preview-{preview.number}", kind)
        return _xml(404, "NoSuchKey")

    def _object(self, call: Call) -> Response:
        if "authorization" in call.headers:
            return _xml(400, "InvalidArgument")  # one way to say who one is, not two
        query = call.query
        date, life, given = (
            query.get("X-Amz-Date", ""),
            query.get("X-Amz-Expires", ""),
            query.get("X-Amz-Signature", ""),
        )
        nonce = query.get("X-Amz-Credential", "").partition("/")[0]
        good = hmac.compare_digest(given.encode(), self._sign(call.path, date, life, nonce).encode())
        if call.method != "GET" or not good or given in self.revoked:
            return _xml(403, "SignatureDoesNotMatch")
        ends = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() + int(life)
        if ends < self.now():
            return _xml(403, "ExpiredRequest")
        version, number = call.path.removeprefix(f"{_BUCKET}/model/").split("/")[:2]
        file = next((f for f in self.versions[int(version)].files if f.number == int(number)), None)
        if file is None:
            return _xml(404, "NoSuchKey")
        headers = {"Content-Type": "application/octet-stream",
                   "Content-Disposition": query.get("response-content-disposition", "")}  # fmt: skip
        return content.serve(call, file.blob, file.blob.sha256[:32], headers)


_CACHED = {"Cache-Control": "public, s-maxage=300, stale-while-revalidate=150"}


def _chosen(version: Version, query: Mapping[str, str], preferences: Mapping[str, str]) -> AssetFile | None:
    """Return the file that an address means: by `fileId`, else by type and metadata, else what the account likes."""
    if "fileId" in query:
        return next((file for file in version.open_files if str(file.number) == query["fileId"]), None)
    told = {key: query[key] for key in ("format", "size", "fp") if key in query}
    if "type" in query or told:
        fitting = [file for file in version.open_files if file.kind == query.get("type", file.kind)]
        fitting = [file for file in fitting if all(file.metadata.get(key) == told[key] for key in told)]
        return fitting[0] if fitting else None
    liked = [f for f in version.open_files if all(f.metadata.get(key) == preferences[key] for key in preferences)]
    ranked = sorted(liked if preferences and liked else version.open_files, key=lambda file: not file.primary)
    return ranked[0] if ranked else None


def _hashes(file: AssetFile) -> Mapping[str, str]:
    claimed = file.claims.get("hashes")
    return claimed if isinstance(claimed, dict) else file.hashes


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 2_147_483_647:
        raise Refusal(400, "", "Invalid id")
    return int(text)


def _error(status: int, told: Mapping[str, Any]) -> Response:
    return Response(status, (("Content-Type", "application/json; charset=utf-8"),), Blob(json.dumps(told).encode()))


def _page() -> Response:
    return Response(200, (("Content-Type", "text/html; charset=utf-8"),), Blob(PAGE))


def _xml(status: int, code: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
    return Response(status, (("Content-Type", "application/xml"),), Blob(text.encode()))
