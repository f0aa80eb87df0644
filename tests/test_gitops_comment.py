"""The trusted workflow, as whoever opens a pull request may try to turn it: the artifact is all his."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gitops_kit import HEAD, TOOLS, Forge, comment_job, knows, load

from reconciler.planjson import dumps
from tests import plan_kit

pytestmark = pytest.mark.skipif(len(TOOLS) < 2, reason="needs git and bash")

MARK = "<!-- reconciler: comment -->"


@pytest.fixture
def forge(world: Path) -> Forge:
    forge = Forge(world / "forge", "http://127.0.0.1:9")
    knows(forge)
    return forge


def left(forge: Forge, plan: str | None, number: str = "12\n", more: Mapping[str, bytes] | None = None) -> None:
    """An artifact, as a job left it that anybody may have written."""
    members = {"number": number.encode()} | ({} if plan is None else {"plan.json": plan.encode()}) | dict(more or {})
    with zipfile.ZipFile(forge.here / "plan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def sound() -> str:
    return dumps(plan_kit.workstation())


def said(number: int, body: str, login: str = "github-actions[bot]", issue: int = 12) -> dict[str, Any]:
    return {"id": number, "issue": issue, "body": body, "user": {"login": login}}


def is_refused(forge: Forge) -> bool:
    """Whether the job failed before it wrote anything, and without a traceback."""
    job = comment_job(forge)
    assert "Traceback" not in job.log
    return job.failed == "read" and not wrote(forge)


def wrote(forge: Forge) -> bool:
    return any("--method" in call for call in forge.read()["calls"])


def test_the_comment_is_one_and_stays_where_it_is(forge: Forge) -> None:
    others = [
        said(1, "looks good", "ada"),
        said(2, f"{MARK}\nI am a person", "ada"),
        said(3, "<!-- reconciler: another workflow -->\n### Plan"),
        said(4, f"{MARK}\n### Plan of last week"),
    ]
    left(forge, sound())
    knows(forge, *others)
    job = comment_job(forge)
    assert not job.failed, job.log
    now = forge.read()["comments"]
    assert now[:3] == others[:3]
    assert len(now) == 4
    assert now[3]["body"].startswith(f"{MARK}\n<!-- reconciler plan: workstation -->\n### Plan for `workstation`")
    assert now[3]["body"].endswith(
        f"\nCommit {HEAD}: success, [log](https://forge.example/acme/models/actions/runs/1)\n"
    )


def test_a_plan_that_changes_its_name_with_every_push_gets_no_second_comment(forge: Forge) -> None:
    for name in ("one", "two", MARK, "comment -->"):
        left(forge, dumps(plan_kit.plan(manifest_name=name)))
        assert not comment_job(forge).failed
    assert len(forge.read()["comments"]) == 1


def test_a_pull_request_that_changes_the_workflows_is_told_to_have_made_its_plan_itself(forge: Forge) -> None:
    """Nobody can tell a plan that was made up from one that was made: its numbers all fit."""
    left(forge, dumps(plan_kit.plan()))
    for files, told in ((["a", "b", "gpu-server/x.yaml"], False), (["a", "b", ".github/workflows/p.yml"], True)):
        forge.write(forge.read() | {"files": files})
        assert not comment_job(forge).failed
        [comment] = forge.read()["comments"]
        assert comment["body"].startswith(f"{MARK}\n**This pull request changes workflows") is told


def test_where_no_plan_could_be_made_the_old_one_does_not_stay(forge: Forge) -> None:
    knows(forge, said(4, f"{MARK}\n### Plan of the commit before"))
    left(forge, None)
    job = comment_job(forge, ended="failure")
    assert not job.failed, job.log
    [comment] = forge.read()["comments"]
    assert comment["body"].startswith(f"{MARK}\n### No plan\n")
    assert f"Commit {HEAD}: failure" in comment["body"]


def test_an_artifact_that_names_another_pull_request_is_not_posted_there(forge: Forge) -> None:
    left(forge, sound(), "13\n")
    job = comment_job(forge)
    assert not job.failed, job.log
    assert "::notice::the pull request has moved on" in job.log
    assert not wrote(forge)


@pytest.mark.parametrize(
    "number", ["", "12; touch pwned", "$(touch pwned)", "../12", "-1", "0", "1" * 30, "12\n13", "12/../13", "a[$(id)]"]
)
def test_an_artifact_without_a_number_is_refused(forge: Forge, number: str) -> None:
    left(forge, sound(), number)
    assert is_refused(forge)
    assert not list(forge.here.rglob("pwned"))


@pytest.mark.parametrize(
    "plan",
    ["", "{}", "<!-- reconciler plan: x -->\n@everyone", '{"format_version": "1.0"}', "[" * 100_000, "1" * 5_000],
    ids=["empty", "nothing", "markdown", "hollow", "deep", "digits"],
)
def test_an_artifact_that_is_no_plan_is_refused(forge: Forge, plan: str) -> None:
    left(forge, plan)
    assert is_refused(forge)


def test_an_archive_that_unpacks_to_more_than_a_plan_ever_has_is_refused(forge: Forge) -> None:
    left(forge, " " * 60_000_000 + sound())
    assert (forge.here / "plan.zip").stat().st_size < 100_000
    assert is_refused(forge)
    assert not list(forge.here.glob("workspace-*/plan.json"))


def test_a_large_archive_is_not_even_fetched(forge: Forge) -> None:
    left(forge, sound())
    forge.write(forge.read() | {"claimed_size": 10_000_001})
    assert is_refused(forge)
    assert not [call for call in forge.read()["calls"] if call[-1].endswith("/zip")]


def test_nothing_of_an_archive_is_unpacked(forge: Forge) -> None:
    """A module beside the script, a path that leads out, a link: none of them is looked at."""
    bad = {
        "json.py": b"open('pwned', 'w')",
        "../../bin/gh": b"#!/bin/sh\ntouch pwned",
        "zipfile.py": b"raise SystemExit",
    }
    left(forge, sound(), more=bad)
    job = comment_job(forge)
    assert not job.failed, job.log
    [workspace] = forge.here.glob("workspace-*")
    assert not [path for path in forge.here.rglob("*") if path.name in ("pwned", "json.py", "zipfile.py")]
    assert "touch" not in (forge.here / "bin/gh").read_text()
    assert {path.name for path in workspace.iterdir()} >= {"plan.json", "plan.md"}


def test_a_link_in_the_archive_is_not_followed(forge: Forge) -> None:
    (forge.here / "secret.json").write_text(sound())
    with zipfile.ZipFile(forge.here / "plan.zip", "w") as archive:
        archive.writestr("number", "12")
        link = zipfile.ZipInfo("plan.json")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(forge.here / "secret.json"))
    assert is_refused(forge)


def test_an_archive_with_two_plans_is_refused(forge: Forge) -> None:
    with zipfile.ZipFile(forge.here / "plan.zip", "w") as archive:
        archive.writestr("number", "12")
        archive.writestr("plan.json", sound())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("plan.json", dumps(plan_kit.plan(manifest_name="other")))
    assert is_refused(forge)


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + b"\0" * 18], ids=["empty", "text", "no members"])
def test_what_is_no_archive_is_refused(forge: Forge, data: bytes) -> None:
    (forge.here / "plan.zip").write_bytes(data)
    forge.write(forge.read() | {"claimed_size": 100})
    assert is_refused(forge)


def test_a_member_that_is_locked_or_damaged_is_refused(forge: Forge) -> None:
    left(forge, sound())
    data = bytearray((forge.here / "plan.zip").read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1  # encrypted, says the directory
    (forge.here / "plan.zip").write_bytes(data)
    assert is_refused(forge)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("number", "12")
    torn = other.getvalue().replace(b"12", b"13", 1)  # its sum does not fit any more
    (forge.here / "plan.zip").write_bytes(torn)
    assert is_refused(forge)


def test_what_the_untrusted_job_wrote_is_never_posted_as_it_stands(forge: Forge) -> None:
    """The control: the artifact holds a comment of its own, with a mention in it, and names that are markup."""
    hostile = plan_kit.plan(
        [plan_kit.remove("@everyone@x"), plan_kit.download("<img src=x>@x", reason="![](https://evil.example/x)")],
        manifest_name="@everyone [x](https://evil.example)",
        warnings=("@everyone https://evil.example #1", f"{MARK}\n```\n</details>"),
    )
    own = b"@everyone look at https://evil.example"
    active = re.compile(r"@everyone|https?:/|<img|\]\(")
    assert active.search(own.decode())
    left(forge, dumps(hostile), more={"plan.md": own, "comment.md": own, "body.json": own})
    job = comment_job(forge)
    assert not job.failed, job.log
    [comment] = forge.read()["comments"]
    outside = re.sub(r"```+diff\n.*?\n```+\n|<!-- .*? -->", "", comment["body"], flags=re.DOTALL)
    told, _, ours = outside.rpartition("\nCommit ")
    assert "evil" in comment["body"]
    assert not active.search(told)
    assert ours == f"{HEAD}: success, [log](https://forge.example/acme/models/actions/runs/1)\n"


def test_a_plan_of_ten_thousand_variants_is_posted_within_what_a_comment_holds(forge: Forge) -> None:
    name = "a-model-of-some-forty-characters-or-so-{:05}@x"
    left(forge, dumps(plan_kit.plan([plan_kit.download(name.format(number)) for number in range(10_000)])))
    job = comment_job(forge)
    assert not job.failed, job.log
    [comment] = forge.read()["comments"]
    assert 50_000 < len(comment["body"]) <= 65_000
    assert comment["body"].endswith("/runs/1)\n")


def test_without_an_artifact_nothing_is_said(forge: Forge) -> None:
    job = comment_job(forge)
    assert not job.failed, job.log
    assert "::notice::the other workflow left nothing" in job.log
    assert not wrote(forge)


def test_the_trusted_workflow_takes_no_file_of_the_pull_request() -> None:
    workflow = load("examples/github/comment.yml")
    steps = workflow["jobs"]["comment"]["steps"]
    assert list(workflow["on"]) == ["workflow_run"]
    assert [step["uses"].partition("@")[0] for step in steps if "uses" in step] == ["actions/setup-python"]
    assert load("examples/github/plan.yml")["name"] in workflow["on"]["workflow_run"]["workflows"]
    assert workflow["jobs"]["comment"]["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert json.dumps(steps).count("github.token") == 0  # of the job, where it is said once
