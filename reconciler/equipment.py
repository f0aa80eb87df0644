"""What looking and acting need, made from settings and environment: upstream, the cache of digests, the downloader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.digests import Watch
    from reconciler.download import Downloader
    from reconciler.manifest import Loaded
    from reconciler.settings import Settings
    from reconciler.sources import World
    from reconciler.survey import Means


def upstream(chosen: Settings, loaded: Loaded | None, *, offline: bool, warn: Callable[[str], None]) -> World:
    """Return what sources may use: addresses, tokens of the environment, and the hosts that the manifest trusts."""
    from reconciler.located import SMALL
    from reconciler.resolve import trusting
    from reconciler.sources import World

    world = World.from_environment(os.environ, warn=warn, civitai_file=chosen.civitai_token_file)
    world = replace(
        world,
        endpoint=chosen.endpoint,
        civitai=chosen.civitai_endpoint,
        offline=offline or world.offline,
        small=SMALL,
    )
    return trusting(loaded, world) if loaded else world


@contextmanager
def means(
    chosen: Settings,
    loaded: Loaded,
    *,
    offline: bool,
    warn: Callable[[str], None],
    watch: Watch | None = None,
) -> Iterator[Means]:
    """Give what a survey needs. `warn` is told what is worth knowing, `watch` how far the reading of files is."""
    from reconciler.digests import Digests
    from reconciler.survey import Means

    with Digests(chosen.cache / "digests.sqlite") as digests:
        yield Means(upstream(chosen, loaded, offline=offline, warn=warn), digests, watch)
        for warning in digests.warnings:
            warn(warning)


def check_aria2c(chosen: Settings) -> None:
    """Raise InputError, before anything is begun, when the settings name an aria2c that cannot be used."""
    from reconciler.download import find_aria2c

    if chosen.downloader == "huggingface_hub" or (chosen.aria2c is None and chosen.downloader == "auto"):
        return
    found = find_aria2c(chosen.aria2c)
    if found is None or not found.usable:
        what = f"{found} is too old" if found is not None else f"there is no {chosen.aria2c or 'aria2c'} here"
        where = chosen.origins["aria2c" if chosen.aria2c is not None else "downloader"]
        raise InputError(what, where=where, hint="name another program, or take the setting away")


def open_downloader(
    chosen: Settings, fd: int, stop: Callable[[], bool] | None = None
) -> AbstractContextManager[Downloader]:
    """Open the downloader of the settings; it inherits `fd`, the lock under which it works. `stop` as it takes it."""
    from reconciler.download import Limits
    from reconciler.download import open_downloader as opened

    limits = Limits(
        connections_per_file=chosen.connections,
        connections_per_host=chosen.connections_per_host,
        files=chosen.files,
        rate=chosen.limit_rate,
        retries=chosen.retries,
    )
    return opened(limits, keep_fds=(fd,), choice=chosen.downloader, aria2c=chosen.aria2c, stop=stop)
