"""Say what the Hub's refusals mean, and what to do about each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from reconciler.errors import AccessError, NotFoundError, OfflineError, SourceError, UnseenError
from reconciler.inert import inert
from reconciler.references import Reference
from reconciler.secrets import redact
from reconciler.sources.world import World


def refusal(status: int, headers: Mapping[str, str], where: str, repo: str, world: World) -> SourceError:
    """Return the error for an answer of the Hub that is not the one we asked for.

    The Hub says more in X-Error-Code and X-Error-Message (github.com/huggingface/huggingface_hub, hf_raise_for_status).
    """
    code = headers.get("x-error-code", "")
    message = headers.get("x-error-message", "")
    if code == "GatedRepo":
        return gated(where, repo, world)
    if code == "RevisionNotFound":
        return NotFoundError(
            "there is no such revision", where=where, hint=f"its branches and tags: {_page(repo, world)}"
        )
    if code == "EntryNotFound":
        hint = "was history rewritten? `reconciler lock --upgrade` takes what upstream has now"
        return NotFoundError("there is no such file at the locked revision", where=where, hint=hint)
    if "disabled" in message.lower():
        return AccessError("the Hub has disabled access to this repository", where=where, hint=_page(repo, world))
    if status == 401 and world.token is not None and code != "RepoNotFound":
        return AccessError(
            "the Hub does not accept the token",
            where=where,
            hint=f"make a new one at {world.endpoint}/settings/tokens and put it into HF_TOKEN",
        )
    if code == "RepoNotFound" or status in (401, 404):
        return missing(where, repo, world)
    if status == 403:
        why = f": {inert(redact(message, [world.token]))[:200]}" if message else ""
        return AccessError(f"the Hub forbids it (403){why}", where=where, hint=f"see {_page(repo, world)}")
    return SourceError(f"the Hub answered {status}, which we did not expect", where=where, hint=_page(repo, world))


def gated(where: str, repo: str, world: World) -> AccessError:
    """Return the error for a repository whose owner decides who may download."""
    page = _page(repo, world)
    if world.token is None:
        return AccessError(
            "the repository is gated, and no token is set",
            where=where,
            hint=f"ask for access at {page}, then set HF_TOKEN or run `hf auth login`",
        )
    return AccessError(
        "the repository is gated, and this token has no access to it",
        where=where,
        hint=f"ask for access at {page}; a fine-grained token must also allow gated repositories",
    )


def missing(where: str, repo: str, world: World) -> SourceError:
    """Return the error for a repository that is not there, or private: the Hub does not tell them apart."""
    if world.token is None:
        return UnseenError(
            "there is no such repository, or it is private (the Hub does not say which), and no token is set",
            where=where,
            hint=f"check the name at {_page(repo, world)}; for a private one set HF_TOKEN",
        )
    return NotFoundError(
        "there is no such repository, or it is private and this token may not see it (the Hub does not say which)",
        where=where,
        hint=f"check the name at {_page(repo, world)}, and what the token may read",
    )


def reachable(source: str, parsed: Callable[[str], Reference], world: World) -> Reference:
    """Return a source taken apart by its own reader; raise SourceError when it is none, OfflineError while offline."""
    try:
        reference = parsed(source)
    except ValueError as error:
        raise SourceError(str(error), where=source[:200]) from None
    if world.offline:
        raise offline(source)
    return reference


def offline(where: str) -> OfflineError:
    """Return the error for what the lock lacks while the network is off."""
    return OfflineError(
        "upstream must be asked, and we are offline",
        where=where,
        hint="run `reconciler lock` online first, or drop --offline and HF_HUB_OFFLINE",
    )


def _page(repo: str, world: World) -> str:
    return f"{world.endpoint}/{repo}"


def status_text(status: int) -> str:
    """Return a status code of HTTP with its name, where it has one: `404 Not Found`, `599`."""
    # http.client holds the same names, and loads TLS: a plan that asks nobody need not.
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
