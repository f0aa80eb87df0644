"""Who may see what on the hub, and how it says no."""

from __future__ import annotations

import json
from collections.abc import Mapping

from reconciler.hub.repos import Blob, Commit, Repository
from reconciler.hub.wire import Call, Response
from reconciler.hub.world import World


class Refusal(Exception):  # noqa: N818 - not a failure of ours: the answer that the caller gets
    """A call is refused: status, `X-Error-Code`, the message, and more headers."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


class Moved(Exception):  # noqa: N818 - an answer too
    """The repository has another name now."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(repo_id)
        self.repo_id = repo_id


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as the Hub words it: in headers, and in a JSON body."""
    told = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
    kind = {"Content-Type": "application/json; charset=utf-8"}
    body = Blob(json.dumps({"error": message}).encode())
    return Response(status, tuple({**(headers or {}), **told, **kind}.items()), body)


def json_response(value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Response(200, tuple({**(headers or {}), **kind}.items()), Blob(json.dumps(value).encode()))


def bearer(call: Call) -> str | None:
    """Return the token that came as `Authorization: Bearer`, the only way that counts."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def has_access(world: World, call: Call) -> bool:
    """Return whether the call carries the hub's token."""
    return world.token is not None and bearer(call) == world.token


def find_repository(world: World, call: Call, repo_id: str) -> Repository:
    """Return the repository; raise Moved, or Refusal: a private one does not exist for strangers."""
    repository = world.repositories.get(repo_id)
    if repository is None and repo_id in world.renamed:
        raise Moved(world.renamed[repo_id])
    if repository is None or (repository.private and not has_access(world, call)):
        if bearer(call) is None:
            raise Refusal(401, "RepoNotFound", "Invalid username or password.")
        raise Refusal(404, "RepoNotFound", "Repository not found")
    return repository


def find_commit(repository: Repository, revision: str) -> Commit:
    """Return the commit that `revision` names; raise Refusal when there is none."""
    commit = repository.find(revision)
    if commit is None:
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def may_read(world: World, call: Call, repository: Repository, commit: Commit) -> None:
    """Raise Refusal when the call may not have the bytes of a gated repository (its listing it may always see)."""
    if not repository.gated or (has_access(world, call) and not world.deny_gated):
        return
    headers = {"X-Repo-Commit": commit.sha}
    page = f"{world.url}/{repository.repo_id}"
    if bearer(call) is None:
        message = f"Access to model {repository.repo_id} is restricted. You must be authenticated to access it."
        raise Refusal(401, "GatedRepo", f"{message} Please log in.", headers)
    message = f"Access to model {repository.repo_id} is restricted and you are not in the authorized list."
    raise Refusal(403, "GatedRepo", f"{message} Visit {page} to ask for access.", headers)


def quota(world: World, policy: str) -> dict[str, str]:
    """Return the `RateLimit` headers of an answer that counts under `policy`, and count it."""
    limit = world.quota[policy]
    left = world.spend(policy)
    return {
        "RateLimit": f'"{policy}";r={left};t=172',
        "RateLimit-Policy": f'"fixed window";"{policy}";q={limit};w=300',
    }
