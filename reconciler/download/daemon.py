"""Start one aria2c as a child that nobody else can talk to and that cannot outlive us; speak to it through aria2p.

Only ever imported where aria2c moves files.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aria2p

from reconciler.download import MIB, Limits
from reconciler.download.program import Aria2c
from reconciler.download.wire import certificates
from reconciler.errors import TransferError

_MEMORY = 512 * MIB
"""Address space of aria2c: a hostile length must not make it eat the machine."""
_SLACK = 16 * MIB
"""How far above the largest locked size a file may grow (RLIMIT_FSIZE). Python ignores SIGXFSZ and so does what it
starts: the write fails, the transfer ends with code 17, and the others go on."""
_GRACE = 5.0
_TRIES = 6

# aria2c is started through this: it must die with the thread that started it (PDEATHSIG survives the exec), and its
# limits are set in a process of one thread, where code between fork and exec is safe.
_LAUNCH = """
import os, resource, sys
parent, memory, size = map(int, sys.argv[1:4])
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
for kind, soft in (("RLIMIT_AS", memory), ("RLIMIT_FSIZE", size), ("RLIMIT_CORE", 0)):
    number = getattr(resource, kind, None)
    if number is not None:
        hard = resource.getrlimit(number)[1]
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            pass
os.execve(sys.argv[4], sys.argv[4:], os.environ)
"""


class Daemon(NamedTuple):
    """A running aria2c and the client that speaks to it."""

    process: subprocess.Popen[bytes]
    client: Client

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None


class Client(aria2p.Client):
    """aria2p's client over one kept connection to loopback that no proxy setting can lead astray."""

    def __init__(self, port: int, secret: str) -> None:
        super().__init__("http://127.0.0.1", port, secret, timeout=10)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def post(self, payload: str) -> Any:
        """Send one JSON-RPC request; raise OSError or HTTPException when the daemon does not answer."""
        for attempt in (1, 2):
            try:
                self._connection.request("POST", "/jsonrpc", payload, {"Content-Type": "application/json"})
                return json.loads(self._connection.getresponse().read())
            except (OSError, http.client.HTTPException):
                self._connection.close()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def settings(limits: Limits, port: int, secret: str, *, split: int) -> str:
    """Return aria2c's whole configuration. Pure but for the trusted certificates and proxies of this machine."""
    lines = {
        "enable-rpc": "true", "rpc-listen-all": "false", "rpc-allow-origin-all": "false",
        "rpc-listen-port": port, "rpc-secret": secret, "stop-with-process": os.getpid(),
        "follow-metalink": "false", "follow-torrent": "false", "enable-dht": "false", "enable-dht6": "false",
        "bt-enable-lpd": "false", "enable-peer-exchange": "false", "no-netrc": "true", "quiet": "true",
        "file-allocation": "none", "auto-save-interval": 1, "continue": "true", "allow-overwrite": "false",
        "auto-file-renaming": "false", "allow-piece-length-change": "true", "always-resume": "false",
        "max-resume-failure-tries": 0, "max-tries": 0, "retry-wait": 2, "remote-time": "false",
        "connect-timeout": _seconds(limits.connect_timeout), "timeout": _seconds(limits.read_timeout),
        "max-concurrent-downloads": limits.files, "max-connection-per-server": split, "split": split,
        "piece-length": max(MIB, limits.piece), "min-split-size": max(MIB, limits.piece),
        "stream-piece-selector": "inorder", "uri-selector": "inorder", "disk-cache": 16 * MIB,
        "max-download-result": 100_000, "max-overall-download-limit": limits.rate or 0,
        "enable-http-keep-alive": "true", "http-accept-gzip": "false", "conditional-get": "false",
        "summary-interval": 0, "check-certificate": "true", "user-agent": "reconciler",
    }  # fmt: skip
    trusted = certificates()
    if trusted is not None:
        lines["ca-certificate"] = trusted
    import urllib.request

    proxies = urllib.request.getproxies_environment()
    for name in ("http", "https", "all"):
        if proxies.get(name):
            lines[f"{name}-proxy"] = proxies[name]
    if proxies.get("no"):
        lines["no-proxy"] = proxies["no"]
    return "".join(f"{name}={_one_line(str(value))}\n" for name, value in lines.items())


@contextlib.contextmanager
def running(
    program: Aria2c, limits: Limits, *, largest: int, split: int, keep_fds: Sequence[int] = ()
) -> Iterator[Daemon]:
    """Run aria2c for the length of this block; the thread that enters must outlive it.

    `largest` is the largest size in bytes that any file may reach. Raise TransferError when it does not start.
    """
    daemon = _start(program, limits, largest, split, keep_fds)
    try:
        yield daemon
    finally:
        daemon.client.close()
        _stop(daemon.process)


def _start(program: Aria2c, limits: Limits, largest: int, split: int, keep_fds: Sequence[int]) -> Daemon:
    for _ in range(_TRIES):
        port, secret = _free_port(), secrets.token_hex(32)
        with _configuration(settings(limits, port, secret, split=split)) as (path, fds):
            process = subprocess.Popen(
                [
                    sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(_MEMORY), str(largest + _SLACK),
                    str(program.path), f"--conf-path={path}",
                ],
                env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(*fds, *keep_fds), start_new_session=True,
            )  # fmt: skip
            client = Client(port, secret)
            if _answers(process, client):
                return Daemon(process, client)
            client.close()
            _stop(process)
    raise TransferError(f"{program} does not start", where=str(program.path), hint="`reconciler doctor` tells more")


def _answers(process: subprocess.Popen[bytes], client: Client) -> bool:
    """Wait until the daemon answers; False when it ended (its port was taken, say) or stays silent."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get_version()
        except (OSError, http.client.HTTPException):
            time.sleep(0.005)
        except (aria2p.ClientException, ValueError):
            return False  # somebody else listens there
        else:
            return process.poll() is None
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it: SIGTERM, so that it saves its control files; SIGKILL after a grace."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextlib.contextmanager
def _configuration(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give a path under which only the child reads `text`: memory where the kernel has it, else a file of mode 0600."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("conf", os.MFD_CLOEXEC)
        try:
            os.write(fd, text.encode())
            yield f"/dev/fd/{fd}", (fd,)
        finally:
            os.close(fd)
        return
    fd, name = tempfile.mkstemp(prefix="reconciler-")
    try:
        os.write(fd, text.encode())
        os.close(fd)
        yield name, ()
    finally:
        Path(name).unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Return the child's environment: nothing that could hold a token."""
    kept = {name: os.environ[name] for name in ("LANG", "SSL_CERT_FILE") if name in os.environ}
    return {"PATH": os.environ.get("PATH", os.defpath), **kept}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _seconds(value: float) -> int:
    return max(1, min(600, round(value)))


def _one_line(value: str) -> str:
    if any(ch < " " for ch in value):
        raise TransferError("a setting for aria2c holds a control character", hint="look at the proxy variables")
    return value
