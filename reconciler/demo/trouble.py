"""The chapters in which something goes wrong, or goes away, and comes back."""

from __future__ import annotations

from reconciler.demo import evidence, manifest
from reconciler.demo.stage import Stage
from reconciler.hub import demo_world
from reconciler.inert import human_bytes

_Q8 = "TinyLlama-Chat-Q8_0.gguf"
_F16 = "TinyLlama-Chat-F16.gguf"
_SLOW = 5 << 20
"""Bytes per second and connection while the kill is awaited."""


def a_flipped_byte(stage: Stage) -> None:
    """Spoil a file; find it; bring it back."""
    path = stage.directory / "lmstudio" / demo_world.GGUF / _Q8
    whole = evidence.print_of(path).sha256
    offset = evidence.flip(path)
    stage.did(f"byte {offset} of {path.name} is flipped")
    stage.run("verify", exit=8, means="a file is corrupt")
    stage.run("verify", "--repair", means="it was brought back")
    stage.check(f"{path.name} has its old sha256 again: {whole[:12]}...", evidence.print_of(path).sha256 == whole)


def a_kill(stage: Stage) -> None:
    """Kill an apply in the middle of a large file; go on."""
    from reconciler.download.program import find_aria2c

    stage.declare("a large variant", manifest.LARGE)
    file = evidence.upstream(stage, demo_world.GGUF)[_F16]
    final = stage.directory / "lmstudio" / demo_world.GGUF / _F16
    stage.hub.rate = _SLOW
    there = stage.kill("apply", "--yes", grown=file.size // 4)
    stage.check(
        f"killed at {human_bytes(there)} of {human_bytes(file.size)}, and nothing has the final name yet",
        file.size // 4 <= there < file.size and not final.exists(),
    )
    aria2c = find_aria2c()
    resumes = aria2c is not None and aria2c.usable
    stage.hub.rate = _SLOW if resumes else None  # at full speed much is sent that nobody waits for any more
    stage.hub.reset_log()
    stage.run("apply", "--yes", means="it went on by itself")
    stage.hub.rate = None
    sent = evidence.weights_sent(stage)
    if resumes:
        stage.check(
            f"the hub sent {human_bytes(sent)} of {human_bytes(file.size)} this time", 0 < sent < file.size - there // 2
        )
    else:
        stage.says("Without aria2c a file that was cut short begins again; those that were whole are kept.")
    stage.check(f"{_F16} has the sha256 that upstream told", evidence.print_of(final).sha256 == file.sha256)


def a_removal(stage: Stage) -> None:
    """Drop a variant; undo it."""
    whole = stage.manifest
    home = stage.directory / "weights" / demo_world.AWQ
    before = evidence.prints(home)
    stage.edit("a variant is dropped", manifest.without(whole, manifest.AWQ), minus=manifest.AWQ)
    stage.run("plan", means="a removal, to the trash")
    stage.run("apply", "--yes", means="all of it is done")
    stage.check(f"its {len(before)} files are gone from their place", not home.exists())
    stage.hub.reset_log()
    stage.run("undo", "--yes", means="it is back")
    same = evidence.prints(home) == before
    stage.check(f"all {len(before)} files are the ones they were: bytes, inode and time of change", same)
    stage.check("the hub was not asked for anything", evidence.asked(stage) == 0)
    stage.says("The manifest is yours: undo leaves it alone, so its edit is taken back too, as `git revert` would.")
    stage.edit("as it was before", whole, plus=manifest.AWQ)
    stage.run("plan", "--detailed-exitcode", means="there is nothing to do")


def the_trash(stage: Stage) -> None:
    """Free what waits, and see that nothing else went."""
    waiting = evidence.trash(stage)
    stage.run("gc", "--older-than", "0d", "--yes", means="freed")
    stage.check(f"{human_bytes(waiting)} waited, none now", waiting > 0 and evidence.trash(stage) == 0)
    stage.run("verify", means="every managed file is as it should be")
