"""What the embedded hub holds and allows: repositories, names, plain files, signatures. No sockets."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

from reconciler.hub.repos import Blob, Commit, File, Gated, Repository, commit_of, file_of, raw_file


class Plain(NamedTuple):
    """A file that is served as it is, for the `https:` source; `redirect` is where it sends its readers instead."""

    blob: Blob
    digest_header: bool = False
    redirect: str = ""
    status: int = 200


class World:
    """The content behind both origins, changed by tests and read by every connection."""

    def __init__(self, *, token: str | None = None, small_redirect: bool = True, url_ttl: float = 3600.0) -> None:
        self.token = token
        """The one token with access to private and gated repositories; None: no token has."""
        self.small_redirect = small_redirect
        self.url_ttl = url_ttl
        """How long a signed URL is good, in seconds."""
        self.large_redirect = True
        """False: large files too come from the hub's own origin, as from a mirror."""
        self.deny_gated = False
        """True: the token is good, but its owner has not been granted access to gated repositories."""
        self.page_size = 1000
        """Entries of one page of a tree."""
        self.quota = {"api": 500, "resolvers": 3000}
        """Calls in five minutes, as told in `RateLimit`; nothing is refused for them."""
        self.url = self.cdn_url = ""
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.plain: dict[str, Plain] = {}
        self.revoked: set[str] = set()
        """Signatures that are no longer good, whatever their time says."""
        self._ahead = 0.0
        self._spent: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._secret = b"the secret of a hub that lives on loopback"
        self._lock = threading.Lock()

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        *,
        branch: str = "main",
        message: str = "",
        private: bool = False,
        gated: Gated = False,
        license: str | None = "apache-2.0",  # noqa: A002 - the Hub's word
    ) -> str:
        """Make the repository, or a new commit on `branch` with exactly these files; return the commit's sha.

        `private`, `gated` and `license` are set to what this call says. Paths are served from where they are.
        """
        listed = [file_of(path, content) for path, content in files.items()]
        return self.add_files(
            repo_id, listed, branch=branch, message=message, private=private, gated=gated, license=license
        )

    def add_files(
        self,
        repo_id: str,
        files: Iterable[File],
        *,
        branch: str = "main",
        message: str = "",
        private: bool = False,
        gated: Gated = False,
        license: str | None = "apache-2.0",  # noqa: A002 - the Hub's word
    ) -> str:
        """Do what `add` does with files that are values already, and keep their digests."""
        with self._lock:
            repository = self._repository(repo_id)
            repository.private, repository.gated, repository.license = private, gated, license
        return self._commit(repository, files, branch, message)

    def update(
        self, repo_id: str, files: Mapping[str, bytes | Path], *, branch: str = "main", delete: Iterable[str] = ()
    ) -> str:
        """Change some files on top of `branch`, and `delete` others; return the new commit's sha."""
        repository = self.repositories[repo_id]
        gone = {*files, *delete}
        kept = [file for file in repository.commits[repository.branches[branch]].files if file.path not in gone]
        changed = [file_of(path, content) for path, content in files.items()]
        return self._commit(repository, [*kept, *changed], branch, f"Update {', '.join(sorted(gone))}")

    def add_raw(self, repo_id: str, entries: Iterable[Mapping[str, Any]], *, branch: str = "main") -> str:
        """Make a commit whose listing is what `entries` claim: see `repos.raw_file` for their keys; return its sha."""
        with self._lock:
            repository = self._repository(repo_id)
        return self._commit(repository, [raw_file(entry) for entry in entries], branch, "")

    def tag(self, repo_id: str, name: str, sha: str) -> None:
        """Let the tag `name` point at the commit `sha`, whatever it pointed at before."""
        repository = self.repositories[repo_id]
        repository.tags[name] = repository.commits[sha].sha

    def rename(self, old: str, new: str) -> None:
        """Give a repository a new name; the old one redirects to it until somebody takes it again."""
        with self._lock:
            repository = self.repositories.pop(old)
            repository.repo_id = new
            self.repositories[new] = repository
            self.renamed = {name: new if target == old else target for name, target in self.renamed.items()}
            self.renamed[old] = new
            self.renamed.pop(new, None)

    def remove(self, repo_id: str) -> None:
        """Delete a repository; its name is free again, and a new one of that name has another id."""
        with self._lock:
            del self.repositories[repo_id]

    def serve(self, path: str, content: bytes | Path, *, digest_header: bool = False) -> str:
        """Serve one plain file (on the CDN's origin, no token, no signature); return its URL."""
        self.plain[path.lstrip("/")] = Plain(Blob(content), digest_header)
        return self._plain_url(path)

    def redirect(self, path: str, location: str, *, status: int = 302) -> str:
        """Send the readers of one plain URL to `location`, given as it shall stand in the header; return the URL."""
        self.plain[path.lstrip("/")] = Plain(Blob(b""), redirect=location, status=status)
        return self._plain_url(path)

    def now(self) -> float:
        """Return the hub's time, in seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the hub's clock forward, so that nobody has to wait for a signature to expire."""
        self._ahead += seconds

    def spend(self, policy: str) -> int:
        """Count one call of `policy` and return how many are left; one always is."""
        with self._lock:
            self._spent[policy] = self._spent.get(policy, 0) + 1
            return max(1, self.quota[policy] - self._spent[policy])

    def signed_url(self, repository: Repository, commit: Commit, file: File) -> str:
        """Return the URL of a file's bytes at the CDN, good for `url_ttl` seconds; no two are the same."""
        path = f"/{quote(repository.repo_id)}/@{commit.sha}/{quote(file.path)}"
        expires, policy = str(int(self.now() + self.url_ttl)), f"{next(self._numbers):08x}"
        name = quote(file.path.rsplit("/", 1)[-1])
        query = {
            "response-content-disposition": f"inline; filename*=UTF-8''{name}",
            "Expires": expires,
            "Policy": policy,
            "Signature": self._sign(unquote(path), expires, policy),
            "Key-Pair-Id": "K0LOOPBACK",
        }
        return f"{self.cdn_url}{path}?{urlencode(query)}"

    def is_signed(self, path: str, query: Mapping[str, str]) -> bool:
        """Return whether `query` holds a signature of `path` (decoded) that is good now."""
        expires, signature = query.get("Expires", ""), query.get("Signature", "")
        right = hmac.compare_digest(signature.encode(), self._sign(path, expires, query.get("Policy", "")).encode())
        return right and int(expires) >= self.now() and signature not in self.revoked

    def _sign(self, path: str, expires: str, policy: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}\n{policy}".encode(), hashlib.sha256).hexdigest()

    def _plain_url(self, path: str) -> str:
        return f"{self.cdn_url}/files/{quote(path.lstrip('/'))}"

    def _repository(self, repo_id: str) -> Repository:
        if repo_id not in self.repositories:
            self.repositories[repo_id] = Repository(repo_id, next(self._numbers))
            self.renamed.pop(repo_id, None)
        return self.repositories[repo_id]

    def _commit(self, repository: Repository, files: Iterable[File], branch: str, message: str) -> str:
        parent = repository.commits.get(repository.branches.get(branch, ""))
        number = len(repository.commits) + 1
        commit = commit_of(repository.repo_id, files, message or f"Commit {number}", parent, number)
        with self._lock:
            repository.commits[commit.sha] = commit
            repository.branches[branch] = commit.sha
        return commit.sha
