"""Servers on loopback that answer as an Ollama would, or as none should: told answers, and a store that is served."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.ollama import names
from reconciler.ollama.storage import read_store


class Answer(NamedTuple):
    status: int = 200
    body: bytes | list[bytes] = b""
    """A list is sent in chunks, each as it is; an empty one hangs up."""
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stub:
    """A server that gives the answers that it was told, whatever is asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.asked.append(Asked(self.command, self.path, body, dict(self.headers.items())))
                answer = stub.answer(stub.asked[-1])
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if isinstance(answer.body, bytes):
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                    return
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for chunk in answer.body:
                    if not chunk:  # hang up in the middle
                        self.close_connection = True
                        return
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_HEAD = do_DELETE = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def answer(self, asked: Asked) -> Answer:
        return self.answers.pop(0)

    def __enter__(self) -> Stub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Speaker(Stub):
    """A server over a store directory, which it reads anew for every list, as the real one does.

    `says` is what it calls the directory (another machine's, a container's); `refuse` may answer in its place.
    """

    def __init__(
        self, root: Path, says: str | None = None, refuse: Callable[[Asked], Answer | None] = lambda _: None
    ) -> None:
        super().__init__()
        self.root, self.says, self.refuse = root, says or str(root), refuse

    def answer(self, asked: Asked) -> Answer:
        if (refusal := self.refuse(asked)) is not None:
            return refusal
        if asked.path == "/api/version":
            return Answer(body=b'{"version":"0.32.15"}')
        stored = read_store(self.root)
        if asked.path == "/api/tags":
            for bad in stored.broken:
                if "disables" in bad.what:
                    return error(f"stat {self.says}/{bad.path}: no such file or directory", 500)
            listed = [
                {
                    "name": model.name.short, "size": model.size, "digest": model.digest.removeprefix("sha256:"),
                    "details": {"format": "gguf" if any(x.kind == "model" for x in model.manifest.layers) else ""},
                    **({} if model.manifest.layers else {"remote_host": "https://ollama.com:443"}),
                }
                for model in stored.models
            ]  # fmt: skip
            return Answer(body=json.dumps({"models": listed}).encode())
        assert asked.path == "/api/show", asked
        key = names.parse(asked.json["model"]).key
        for model in stored.models:
            weights = next((x for x in model.manifest.layers if x.kind == "model"), None)
            if model.name.key == key and weights is not None:
                blob = f"{self.says}/blobs/{weights.digest.replace(':', '-')}"
                modelfile = f"# Modelfile\n# FROM {model.name.short}\n\nFROM {blob}\nTEMPLATE x\n"
                return Answer(body=json.dumps({"modelfile": modelfile}).encode())
        return error(f"model '{asked.json['model']}' not found", 404)


def error(text: str, status: int) -> Answer:
    """Return a refusal as an Ollama words it."""
    return Answer(status, json.dumps({"error": text}).encode())
