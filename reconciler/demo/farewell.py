"""The end of the demo: what was shown, and how to go on in a world that was kept."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from reconciler.demo.account import Account
from reconciler.demo.stage import own
from reconciler.demo.telling import Teller
from reconciler.demo.tours import Props, Tour
from reconciler.hub.server import Hub
from reconciler.inert import human_seconds

ENVIRONMENT = "env.sh"


def leave(teller: Teller, account: Account, hub: Hub, tour: Tour, props: Props) -> None:
    """Sum up; in a kept world, write the file that leads a shell into it and say how to go on."""
    teller.gap()
    took = human_seconds(account.seconds)
    commands = sum(step.exit is not None for step in account.steps)
    if account.ok:
        teller.check(
            f"{account.chapters} chapters, {commands} commands, {account.checks} checks, all good, {took}", True
        )
    else:
        last = account.steps[-1]
        broken = next(check.claim for check in last.checks if not check.ok)
        teller.check(
            f"the demo stops here: in {last.title!r}, `{last.command}` did not keep its promise: {broken}", False
        )
    if account.directory is not None:
        _go_on(teller, account, Path(account.directory), hub, tour, props)
    elif not account.ok:
        teller.says("`reconciler demo --keep DIR` leaves the directory for a closer look.")
    else:
        teller.says(
            "Nothing was left behind; `reconciler demo --keep DIR` leaves this world to play with. To go on: README.md "
            "for the first steps with models of your own, docs/ for everything else."
        )


def _go_on(teller: Teller, account: Account, directory: Path, hub: Hub, tour: Tour, props: Props) -> None:
    variables = {**own(directory, hub.url), **props.variables, **props.later}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    (directory / ENVIRONMENT).write_text(
        "\n".join(["# Leads a shell into the world of the demo: `. ./env.sh`", *lines]) + "\n", "utf-8"
    )
    if not account.ok:
        teller.says(f"The world stays in {directory} for a closer look; `. ./{ENVIRONMENT}` leads a shell into it.")
        return
    python = shlex.quote(sys.executable)
    command = "reconciler" if shutil.which("reconciler") else f"{python} -m reconciler"
    teller.says(f"The world stays in {directory}. To go on in it, with the hub running again:")
    teller.shows(
        [
            "",
            f"  cd {shlex.quote(str(directory))}",
            f"  . ./{ENVIRONMENT}",
            f"  {python} -m reconciler.hub \\",
            f"    {tour.serve(hub, props)} > hub.log &",
            f"  {command} plan",
            "",
        ]
    )
    teller.says(f"{tour.ending} Remove the directory when done.".lstrip())
