"""The hub's JSON: models, trees, paths-info, refs, commits, whoami; and the table of what answers which path."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from reconciler.hub import content
from reconciler.hub.access import (
    Moved,
    Refusal,
    bearer,
    error,
    find_commit,
    find_repository,
    has_access,
    json_response,
    quota,
)
from reconciler.hub.repos import Commit, Repository
from reconciler.hub.wire import Call, Response
from reconciler.hub.world import World

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_EXPANDED_PAGE = 50
_MODELS_PAGE = 1000
_IN_FULL = ("author", "sha", "lastModified", "gated", "disabled", "siblings", "cardData", "usedStorage")
"""What a list of models tells of each only when all of it is asked for."""
_MODELS = "/api/models/"
_CACHE = "/api/resolve-cache/models/"
_VERBS = ("revision", "tree", "paths-info", "refs", "commits")


def answer_hub(world: World, call: Call) -> Response:
    """Answer a call of the hub's origin; what is refused or has moved becomes its answer here."""
    if call.method not in ("GET", "HEAD", "POST"):
        return error(405, "MethodNotAllowed", "This hub is for reading")
    try:
        return _validated(call, _route(world, call))
    except Moved as moved:
        return _to_new_name(call, moved.repo_id)
    except Refusal as refusal:
        policy = "api" if call.path.startswith("/api/") else "resolvers"
        headers = {**refusal.headers, **quota(world, policy)}
        return error(refusal.status, refusal.code, refusal.message, headers)


def _validated(call: Call, response: Response) -> Response:
    """Give a JSON answer its weak ETag, and answer 304 to who has it already."""
    if response.status != 200 or response.header("ETag") or not isinstance(response.blob.content, bytes):
        return response
    etag = f'W/"{hashlib.sha1(response.blob.content, usedforsecurity=False).hexdigest()}"'
    headers = (*response.headers, ("ETag", etag))
    if etag in call.headers.get("if-none-match", ""):
        return Response(304, headers)
    return replace(response, headers=headers)


def _route(world: World, call: Call) -> Response:
    if call.path == "/api/whoami-v2":
        return _whoami(world, call)
    if call.path == "/api/models":
        return _models(world, call)
    if call.path.startswith(_CACHE):
        repo_id, _, rest = _split(call.path.removeprefix(_CACHE).split("/"), at=2)
        return content.resolve_cache(world, call, repo_id, *_revision_and_path(rest))
    if call.path.startswith(_MODELS):
        return _model(world, call)
    parts = call.path.strip("/").split("/")
    if "resolve" in parts[1:3] and call.method in ("GET", "HEAD"):
        repo_id, _, rest = _split(parts, at=parts.index("resolve", 1))
        return content.resolve(world, call, repo_id, *_revision_and_path(rest[1:]))
    return error(404, "", "Sorry, we can't find the page you are looking for.")


def _model(world: World, call: Call) -> Response:
    parts = call.path.removeprefix(_MODELS).split("/")
    at = next((index for index, part in enumerate(parts[1:3], 1) if part in _VERBS), len(parts))
    repo_id, verb, rest = _split(parts, at=at)
    repository = find_repository(world, call, repo_id)
    headers = quota(world, "api")
    if verb == "refs":
        return json_response(_refs(repository), headers)
    revision, path = _revision_and_path(rest[1:]) if verb else ("main", "")
    commit = find_commit(repository, revision)
    headers["X-Repo-Commit"] = commit.sha
    match verb:
        case "tree":
            return _tree(world, call, commit, path, headers)
        case "paths-info" if call.method == "POST":
            return json_response(_paths_info(call, commit), headers)
        case "commits":
            history = [_commit(commit) for commit in repository.history(commit)]
            return json_response(history, headers | {"X-Total-Count": str(len(history))})
        case "paths-info":
            return error(405, "MethodNotAllowed", "paths-info takes POST")
        case _:
            return json_response(model_info(repository, commit, blobs=_flag(call, "blobs")), headers)


def model_info(repository: Repository, commit: Commit, *, blobs: bool) -> dict[str, Any]:
    """Return what `GET /api/models/{id}` says of a repository at a commit."""
    tags = [f"license:{repository.license}"] if repository.license else []
    names = [file.path for file in commit.files]
    tags += [kind for kind in ("safetensors", "gguf") if any(name.endswith(f".{kind}") for name in names)]
    return {
        "_id": repository.key,
        "id": repository.repo_id,
        "modelId": repository.repo_id,
        "author": repository.repo_id.split("/")[0],
        "sha": commit.sha,
        "createdAt": _date(repository.number),
        "lastModified": _date(repository.number, commit.number),
        "private": repository.private,
        "gated": "auto" if repository.gated is True else repository.gated,
        "disabled": False,
        "downloads": repository.downloads,
        "likes": 0,
        "tags": tags,
        "cardData": {"license": repository.license} if repository.license else {},
        "pipeline_tag": "text-generation",
        "siblings": [file.sibling(blobs=blobs) for file in commit.files if file.kind == "file"],
        "usedStorage": sum(file.size for file in commit.files),
    }


def _tree(world: World, call: Call, commit: Commit, path: str, headers: dict[str, str]) -> Response:
    """Answer one page; the address of the next stands in `Link`."""
    folder = path.strip("/")
    entries: list[dict[str, Any]] = list(commit.listing)
    if folder:
        if not any(entry["type"] == "directory" and entry["path"] == folder for entry in entries):
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {commit.sha!r}", headers)
        entries = [entry for entry in entries if str(entry["path"]).startswith(f"{folder}/")]
    if not _flag(call, "recursive"):
        depth = len(folder) + 1 if folder else 0
        entries = [entry for entry in entries if "/" not in str(entry["path"])[depth:]]
    page = world.page_size
    if _flag(call, "expand"):
        page = min(page, _EXPANDED_PAGE)
        entries = [_expanded(entry, commit) for entry in entries]
    query = call.query
    page = min(page, int(query.get("limit", page)))
    start = int(query.get("cursor", 0))
    if start + page < len(entries):
        following = urlencode({**query, "cursor": start + page})
        headers = headers | {"Link": f'<{world.url}{call.path}?{following}>; rel="next"'}
    return json_response(entries[start : start + page], headers)


def _expanded(entry: dict[str, Any], commit: Commit) -> dict[str, Any]:
    last = {"id": commit.sha, "title": commit.message, "date": _date(commit.number)}
    if entry["type"] == "directory":
        return {**entry, "lastCommit": last}
    status = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return {**entry, "lastCommit": last, "securityFileStatus": status}


def _paths_info(call: Call, commit: Commit) -> list[dict[str, Any]]:
    if "json" in call.headers.get("content-type", ""):
        asked = json.loads(call.body or b"{}")
        paths, expand = set(asked.get("paths", ())), bool(asked.get("expand"))
    else:
        form = parse_qs(call.body.decode())
        paths, expand = set(form.get("paths", ())), form.get("expand", [""])[0].lower() in ("true", "1")
    found = [entry for entry in commit.listing if entry["path"] in paths]
    return [_expanded(entry, commit) for entry in found] if expand else found


def _refs(repository: Repository) -> dict[str, Any]:
    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in sorted(names.items())
        ]

    branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
    return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}


def _commit(commit: Commit) -> dict[str, Any]:
    author = {"user": "acme", "avatar": ""}
    return {
        "id": commit.sha, "title": commit.message, "message": "", "authors": [author], "date": _date(commit.number),
    }  # fmt: skip


def _whoami(world: World, call: Call) -> Response:
    if not has_access(world, call):
        message = "Invalid user token." if bearer(call) else "Invalid username or password."
        return error(401, "", message, quota(world, "api"))
    token = {"displayName": "demo", "role": "read", "createdAt": _date(0)}
    user = {"type": "user", "id": "0" * 24, "name": "demo", "fullname": "Demo", "isPro": False, "orgs": []}
    return json_response({**user, "auth": {"type": "access_token", "accessToken": token}}, quota(world, "api"))


def _models(world: World, call: Call) -> Response:
    """Answer a page of the list of models: `search` (part of the id), `author`, `filter` (tags), `sort`, `limit`.

    Without `full` an entry has no commit and no files (https://huggingface.co/docs/hub/api).
    """
    query = call.query
    word, author = query.get("search", "").lower(), query.get("author")
    tags = set(parse_qs(call.query_string).get("filter", ()))
    found = [
        model_info(repository, commit, blobs=False)
        for repository in list(world.repositories.values())
        if word in repository.repo_id.lower()
        and author in (None, repository.repo_id.split("/")[0])
        and (not repository.private or has_access(world, call))
        and (commit := repository.find("main"))
    ]
    found = [info for info in found if tags <= set(info["tags"])]
    if query.get("sort") in ("downloads", "likes"):
        found.sort(key=lambda info: -info[query["sort"]])
    headers = quota(world, "api")
    start, page = int(query.get("cursor", 0)), min(_MODELS_PAGE, int(query.get("limit", _MODELS_PAGE)))
    if start + page < len(found):
        following = urlencode({**parse_qs(call.query_string), "cursor": start + page}, doseq=True)
        headers["Link"] = f'<{world.url}{call.path}?{following}>; rel="next"'
    brief = () if _flag(call, "full") else _IN_FULL
    page_of = [{key: value for key, value in info.items() if key not in brief} for info in found[start : start + page]]
    return json_response(page_of, headers)


def _to_new_name(call: Call, repo_id: str) -> Response:
    """Answer 307 to the same path below the repository's new name, as the Hub does after a rename."""
    prefix = next((prefix for prefix in (_CACHE, _MODELS) if call.path.startswith(prefix)), "/")
    parts = call.path.removeprefix(prefix).split("/")
    rest = "/".join(parts[2:])
    query = f"?{call.query_string}" if call.query_string else ""
    target = f"{prefix}{quote(repo_id)}{'/' if rest else ''}{rest}{query}"
    return Response(307, (("Location", target), ("Content-Type", "text/plain")))


def _split(parts: list[str], *, at: int) -> tuple[str, str, list[str]]:
    """Return (repository id, the word at `at`, everything from there on), the id decoded."""
    return unquote("/".join(parts[:at])), parts[at] if at < len(parts) else "", parts[at:]


def _revision_and_path(parts: list[str]) -> tuple[str, str]:
    """Return revision and path; a revision comes quoted as one part, only `refs/…/…` may come as three."""
    if not parts:
        return "main", ""
    count = 3 if parts[0] == "refs" and len(parts) >= 3 else 1
    return unquote("/".join(parts[:count])), unquote("/".join(parts[count:]))


def _flag(call: Call, name: str) -> bool:
    return call.query.get(name, "").lower() in ("true", "1")


def _date(days: int, minutes: int = 0) -> str:
    return (_EPOCH + timedelta(days=days, minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
