"""The embedded hub: two origins on loopback that speak the Hugging Face Hub's API as huggingface_hub 2 uses it."""

from __future__ import annotations

from reconciler.hub.access import error
from reconciler.hub.api import answer_hub
from reconciler.hub.content import answer_cdn
from reconciler.hub.service import HOST, Request, Service
from reconciler.hub.wire import Call, Response
from reconciler.hub.world import World

__all__ = ["HOST", "Hub", "Request"]


class Hub(Service, World):
    """A running hub: `with Hub() as hub:`; everything else in it can be changed while it runs."""

    fault_origin = "cdn"

    def __init__(
        self,
        *,
        token: str | None = None,
        small_redirect: bool = True,
        url_ttl: float = 3600.0,
        port: int = 0,
        cdn_port: int = 0,
    ) -> None:
        Service.__init__(self, {"hub": port, "cdn": cdn_port})
        World.__init__(self, token=token, small_redirect=small_redirect, url_ttl=url_ttl)

    def start(self) -> Hub:
        """Listen on both ports; `url` and `cdn_url` say where. Raises OSError for a port that is taken."""
        self._begin()
        return self

    def _open(self) -> None:
        self.url = self._listen("hub")
        self.cdn_url = self._listen("cdn")

    def respond(self, call: Call) -> Response:
        """Return the answer to one call as a well-behaved server gives it; what speaks another API overrides this."""
        return answer_hub(self, call) if call.origin == "hub" else answer_cdn(self, call)

    def revoke(self, signature: str) -> None:
        """Let a signature be good no longer, whatever its time says."""
        self.revoked.add(signature)

    def answer(self, call: Call) -> Response:
        """Return the answer to one call, faults included."""
        try:
            return super().answer(call)
        except ValueError as problem:  # a query or body that is not what it should be
            return self._faults.commit(call, error(400, "BadRequest", str(problem))).response
