"""`python -m reconciler.hub --directory DIR`: a hub in a process of its own, which ends with its parent."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reconciler.hub import demo_images, demo_takeover
from reconciler.hub.civitai import Civitai
from reconciler.hub.demo_world import new_revision, populate
from reconciler.hub.repos import file_of, read_tree
from reconciler.hub.server import Hub


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop (SIGTERM, SIGINT) or left alone; the first line of output is JSON and says where."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    hub = Hub(
        token=options.token,
        small_redirect=not options.direct,
        url_ttl=options.url_ttl,
        port=options.port,
        cdn_port=options.cdn_port,
    )
    hub.rate = options.rate
    commits = populate(hub) if options.demo or options.demo_moved else {}
    if options.demo_moved:
        commits |= new_revision(hub)
    if options.demo_takeover:
        commits |= demo_takeover.populate(hub)
    if options.directory:
        commits |= add_directory(hub, options.directory)
    parent = os.getppid()
    with contextlib.ExitStack() as running:
        beside: dict[str, str] = {}
        if options.demo_images:
            civitai = Civitai(token=options.token, port=options.civitai_port, cdn_port=options.civitai_cdn_port)
            commits |= demo_images.later(hub, civitai)
            running.enter_context(civitai)
            beside = {"civitai": civitai.url, "civitai_cdn": civitai.cdn_url}
        running.enter_context(hub)
        told = {"url": hub.url, "cdn_url": hub.cdn_url, **beside, "commits": commits}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        try:
            while os.getppid() == parent and not stop.wait(0.2):
                pass
        except KeyboardInterrupt:
            pass
    return 0


def add_directory(hub: Hub, directory: Path) -> dict[str, str]:
    """Add `owner/repo/files…` below `directory`, served from there; return the commit of each repository."""
    trees = {
        f"{path.parent.name}/{path.name}": read_tree(path)
        for path in sorted(directory.glob("[!.]*/[!.]*"))
        if path.is_dir()
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the commits are made of digests: have them hashed side by side
        files = {
            repo_id: {path: file_of(path, content) for path, content in tree.items()} for repo_id, tree in trees.items()
        }
        list(pool.map(lambda file: file.git_sha1, (file for listed in files.values() for file in listed.values())))
    return {repo_id: hub.add_files(repo_id, listed.values()) for repo_id, listed in files.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reconciler.hub", description=__doc__)
    parser.add_argument("--directory", type=Path, help="holds owner/repo/files…")
    parser.add_argument("--demo", action="store_true", help="serve the small world of `reconciler demo`")
    parser.add_argument("--demo-moved", action="store_true", help="the same, after its upstream moved on")
    parser.add_argument(
        "--demo-images", action="store_true", help="serve the world of `reconciler demo comfyui`, as it is at its end"
    )
    parser.add_argument("--demo-takeover", action="store_true", help="serve the world of `reconciler demo takeover`")
    parser.add_argument("--port", type=int, default=0, help="of the hub (0: a free one)")
    parser.add_argument("--cdn-port", type=int, default=0, help="of the CDN (0: a free one)")
    parser.add_argument("--civitai-port", type=int, default=0, help="of the Civitai of the images (0: a free one)")
    parser.add_argument("--civitai-cdn-port", type=int, default=0, help="of its files and pictures (0: a free one)")
    parser.add_argument("--token", help="the token that opens private and gated repositories")
    parser.add_argument("--rate", type=float, help="bytes per second and connection that the CDN sends at most")
    parser.add_argument("--url-ttl", type=float, default=3600.0, help="seconds that a signed URL is good")
    parser.add_argument("--direct", action="store_true", help="small files at once, without the 307")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
