"""The workflow files that we ship, run: real git, the real program, an embedded hub, stubs for the forge's API."""

from __future__ import annotations

import configparser
import fcntl
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gitops_kit import (
    HEAD,
    MANIFEST,
    ROOT,
    TOKEN,
    TOOLS,
    Forge,
    Job,
    Ran,
    comment_job,
    knows,
    load,
    run_gitlab,
    run_workflow,
)

from reconciler import cli
from reconciler.hub.server import Hub

pytestmark = pytest.mark.skipif(len(TOOLS) < 2, reason="needs git and bash")

RULES = "policy:\n  rules:\n    - { rule: license, allow: [mit] }\n"
CHAT = "acme/Tiny-Chat"


def weights(seed: int = 0) -> dict[str, bytes]:
    header = json.dumps({"w": {"dtype": "F16", "shape": [64], "data_offsets": [0, 128]}}).encode()
    tensors = len(header).to_bytes(8, "little") + header + bytes((seed + n) % 256 for n in range(128))
    return {"config.json": b'{"model_type": "llama"}\n', "model.safetensors": tensors}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add(CHAT, weights())
        yield hub


@pytest.fixture
def forge(world: Path, hub: Hub) -> Forge:
    return Forge(world / "forge", hub.url)


# -- GitHub: the plan, untrusted --------------------------------------------------------------------------------------


def plan_job(forge: Forge, checkout: Path) -> Job:
    """Run the job for a pull request: its last commit is what would be merged, the parent what was merged last."""
    context = {"checkout": str(checkout), "github.event.pull_request.number": "12"}
    return run_workflow(forge, "examples/github/plan.yml", "plan", context)


def proposed(forge: Forge, name: str = "proposed", text: str = "") -> Path:
    """A checkout in which somebody has added to the manifest, locked it and committed both."""
    work = forge.clone(name)
    with (work / "gpu-server/reconciler.yaml").open("a") as file:
        file.write(text)
    assert forge.run("reconciler", "lock", "gpu-server/reconciler.yaml", cwd=work).code == 0
    forge.git("commit", "--quiet", "--all", "--message=proposed", cwd=work)
    return work


def test_the_untrusted_job_plans_and_leaves_the_plan_as_an_artifact(forge: Forge) -> None:
    job = plan_job(forge, forge.found())
    assert not job.failed, job.log
    assert "1 variant in 1 location; the lock has all of them" in job.log
    assert job.summary.startswith("<!-- reconciler plan: gpu-server -->\n### Plan for `gpu-server`: 1 to download")
    assert forge.kept("plan")["number"] == b"12\n"
    plan = json.loads(forge.kept("plan")["plan.json"])
    assert [step["address"] for step in plan["steps"]] == ["tiny-chat@weights"]


def test_the_plan_is_about_what_the_pull_request_changes(forge: Forge, hub: Hub) -> None:
    forge.found()
    hub.add("acme/Other", weights(3), license="mit")
    job = plan_job(forge, proposed(forge, text="  other:\n    source: hf:acme/Other\n" + RULES))
    assert not job.failed, job.log  # what was merged has another licence than the new rule allows, and does not arrive
    assert "1 to download\n" in job.summary
    assert "other@weights" in job.summary
    assert "download   tiny-chat" not in job.summary


def test_a_lock_that_does_not_answer_the_manifest_fails_and_leaves_the_number_alone(forge: Forge) -> None:
    work = forge.found()
    with (work / "gpu-server/reconciler.yaml").open("a") as file:
        file.write("  other:\n    source: hf:acme/Other\n")
    job = plan_job(forge, work)
    assert job.failed == "validate"
    assert "other is not in the lock" in job.log
    assert forge.kept("plan") == {"number": b"12\n"}


def test_a_broken_rule_fails_the_job_after_the_plan_is_left(forge: Forge) -> None:
    job = plan_job(forge, forge.found(MANIFEST + RULES))
    assert job.failed == "rules"
    assert "license apache-2.0 is not among mit" in job.log
    assert "blocked: policy rule license" in job.summary
    assert "plan.json" in forge.kept("plan")


def test_a_disk_that_is_too_small_on_the_runner_fails_nothing(forge: Forge) -> None:
    full = "policy:\n  min_free: 1000000TiB\n  rules:\n    - { rule: free_space, min: 100% }\n"
    job = plan_job(forge, forge.found(MANIFEST + full))
    assert not job.failed, job.log
    assert "::warning::some steps are blocked" in job.log


def test_a_merge_that_the_branch_has_not_seen_is_not_told_as_its_own(forge: Forge, hub: Hub) -> None:
    """The event names the base as it was when the branch was pushed; what would be merged knows better."""
    forge.found()
    hub.add("acme/Other", weights(3))
    work = proposed(forge, text="  other:\n    source: hf:acme/Other\n")
    forge.git("push", "--quiet", "origin", "main", cwd=work)  # another pull request, merged meanwhile
    late = forge.clone("late")
    (late / "README.md").write_text("only this\n")
    forge.git("add", ".", cwd=late)
    forge.git("commit", "--quiet", "--message=proposed", cwd=late)
    job = plan_job(forge, late)
    assert not job.failed, job.log
    assert "### Plan for `gpu-server`: no changes" in job.summary


def test_what_mends_a_manifest_that_is_not_sound_gets_a_plan(forge: Forge) -> None:
    work = forge.found()
    good = (work / "gpu-server/reconciler.yaml").read_text()
    for text in ("version: 1\nnonsense: 1\n", good):
        (work / "gpu-server/reconciler.yaml").write_text(text)
        forge.git("commit", "--quiet", "--all", "--message=next", cwd=work)
    job = plan_job(forge, work)
    assert not job.failed, job.log
    assert "::warning::what was merged last is not sound" in job.log
    assert "1 to download" in job.summary
    (work / "before.yaml").write_text("version: 1\nnonsense: 1\n")
    assert not action(forge, work, manifest="gpu-server/reconciler.yaml", **{"from": "before.yaml"}).failed


TRAP = "open(__import__('os').environ['HOME'] + '/pwned', 'w')\n"


def test_no_module_of_the_checkout_is_run(forge: Forge) -> None:
    """The control is Python itself, which looks for modules where a script from standard input stands."""
    forge.found()
    work = forge.clone("work")
    for name in ("json", "pip", "venv", "reconciler"):
        (work / f"{name}.py").write_text(TRAP)
    pwned = forge.here / "home/pwned"
    assert forge.run("python3", "-c", "import json", cwd=work).code == 0
    assert pwned.exists()
    pwned.unlink()
    assert not plan_job(forge, work).failed
    assert not action(forge, work, manifest="gpu-server/reconciler.yaml").failed
    assert run_gitlab(forge, "plan", work, **GITLAB | {"CI_MERGE_REQUEST_DIFF_BASE_SHA": "main"}).code == 0
    assert not pwned.exists()


def test_the_untrusted_workflow_has_nothing_to_give_away() -> None:
    workflow, text = load("examples/github/plan.yml"), (ROOT / "examples/github/plan.yml").read_text()
    assert list(workflow["on"]) == ["pull_request"]
    assert workflow["jobs"]["plan"]["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert "github.token" not in text
    used = [step for step in workflow["jobs"]["plan"]["steps"] if step.get("uses", "").startswith("actions/checkout")]
    assert [step["with"]["persist-credentials"] for step in used] == ["false"]


# -- GitHub: the comment, trusted (more in test_gitops_comment) -------------------------------------------------------


def test_from_a_pull_request_to_its_comment(forge: Forge) -> None:
    assert not plan_job(forge, forge.found()).failed
    knows(forge)
    job = comment_job(forge)
    assert not job.failed, job.log
    [comment] = forge.read()["comments"]
    assert comment["issue"] == 12
    assert "### Plan for `gpu-server`: 1 to download" in comment["body"]
    assert "license: apache-2.0" in comment["body"]


def test_a_manifest_that_is_refused_is_told_below_its_pull_request(forge: Forge) -> None:
    work = forge.found()
    (work / "gpu-server/reconciler.yaml").write_text("version: 1\nnonsense: 1\n")
    assert plan_job(forge, work).failed == "validate"
    knows(forge)
    job = comment_job(forge, ended="failure")
    assert not job.failed, job.log
    [comment] = forge.read()["comments"]
    assert "### No plan" in comment["body"]
    assert f"Commit {HEAD}: failure, [log](https://forge.example/acme/models/actions/runs/1)" in comment["body"]


# -- GitHub: the lock ------------------------------------------------------------------------------------------------


def bump_job(forge: Forge, name: str) -> Job:
    context = {"checkout": str(forge.clone(name)), "github.token": TOKEN}
    return run_workflow(forge, "examples/github/lock-bump.yml", "bump", context)


def test_no_pull_request_while_upstream_is_where_the_lock_is(forge: Forge) -> None:
    forge.found()
    job = bump_job(forge, "one")
    assert not job.failed, job.log
    assert "The lock is what upstream has." in job.log
    assert forge.read()["pull_requests"] == []
    assert forge.git("branch", "--list", cwd=forge.origin) == "* main"


def test_a_moved_upstream_becomes_one_pull_request_that_later_runs_update(forge: Forge, hub: Hub) -> None:
    forge.found()
    second = hub.add(CHAT, weights(1), license="cc-by-nc-4.0")
    job = bump_job(forge, "one")
    assert not job.failed, job.log
    [pull] = forge.read()["pull_requests"]
    assert (pull["head"], pull["base"]) == ("reconciler/lock-bump", "main")
    assert "### Plan for `gpu-server`: 1 to download" in pull["body"]
    assert "license: apache-2.0 -> cc-by-nc-4.0" in pull["body"]
    assert "1 file changed (200 B)" in pull["body"]
    assert "1 changed file" in pull["body"]
    first = forge.git("rev-parse", "reconciler/lock-bump", cwd=forge.origin)
    assert forge.git("diff", "--name-only", "main", first, cwd=forge.origin) == "gpu-server/reconciler.lock.json"
    assert second in forge.git("show", f"{first}:gpu-server/reconciler.lock.json", cwd=forge.origin)

    again = bump_job(forge, "two")
    assert not again.failed, again.log
    assert "reconciler/lock-bump is up to date" in again.log
    assert forge.git("rev-parse", "reconciler/lock-bump", cwd=forge.origin) == first

    third = hub.add(CHAT, weights(2))
    assert not bump_job(forge, "three").failed
    [pull] = forge.read()["pull_requests"]
    assert "license: apache-2.0" in pull["body"]
    assert third in forge.git("show", "reconciler/lock-bump:gpu-server/reconciler.lock.json", cwd=forge.origin)
    assert forge.git("rev-list", "--count", "main..reconciler/lock-bump", cwd=forge.origin) == "1"


def test_a_branch_that_somebody_else_has_committed_to_is_left_alone(forge: Forge, hub: Hub) -> None:
    forge.found()
    hub.add(CHAT, weights(1))
    assert not bump_job(forge, "one").failed
    work = forge.clone("theirs")
    forge.git("switch", "--quiet", "reconciler/lock-bump", cwd=work)
    forge.git("commit", "--quiet", "--allow-empty", "--message=by hand", cwd=work)
    forge.git("push", "--quiet", "origin", "reconciler/lock-bump", cwd=work)
    theirs = forge.git("rev-parse", "reconciler/lock-bump", cwd=forge.origin)
    hub.add(CHAT, weights(2))
    job = bump_job(forge, "two")
    assert not job.failed, job.log
    assert "::notice::somebody else has committed to reconciler/lock-bump" in job.log
    assert forge.git("rev-parse", "reconciler/lock-bump", cwd=forge.origin) == theirs


def test_what_moved_is_code_in_the_text_however_long_it_is(forge: Forge, hub: Hub) -> None:
    forge.found()
    hub.add(CHAT, weights(1) | {f"``` @everyone {'x' * 100} {n}.json": b"{}" for n in range(200)})
    assert not bump_job(forge, "one").failed
    [pull] = forge.read()["pull_requests"]
    assert len(pull["body"]) < 65_000
    fences = re.sub(r"^(`{3,})diff\n.*?^\1$", "", pull["body"], flags=re.DOTALL | re.MULTILINE)
    assert not [line for line in fences.splitlines() if "@everyone" in line and not line.startswith("    ")]


def test_an_upstream_that_is_gone_fails_the_run_and_pushes_nothing(forge: Forge, hub: Hub) -> None:
    forge.found()
    hub.remove(CHAT)
    job = bump_job(forge, "one")
    assert job.failed == "look"
    assert forge.git("branch", "--list", cwd=forge.origin) == "* main"


# -- the action ------------------------------------------------------------------------------------------------------


def action(forge: Forge, workspace: Path, **inputs: str) -> Job:
    spec = load("action.yml")
    given = {key: said["default"] for key, said in spec["inputs"].items()}
    given |= {k.replace("_", "-"): v for k, v in inputs.items()}
    job = Job(forge, workspace, {f"inputs.{key}": value for key, value in given.items()})
    return job.steps(spec["runs"]["steps"], {})


def test_the_action_plans_and_tells_what_it_found(forge: Forge) -> None:
    job = action(forge, forge.found(), manifest="gpu-server/reconciler.yaml")
    assert not job.failed, job.log
    assert f"-I -m pip install --quiet {ROOT}" in (forge.here / "pip.log").read_text()
    told = {key: job.text(out["value"]) for key, out in load("action.yml")["outputs"].items()}
    plan = json.loads(Path(told["plan"]).read_text())
    assert (told["exit-code"], told["plan-id"]) == ("2", plan["plan_id"])
    assert Path(told["markdown"]).read_text() == job.summary


def test_the_action_plans_from_what_was_merged_where_it_is_told(forge: Forge) -> None:
    work = forge.found()
    shutil.copytree(work / "gpu-server", work / ".base")
    job = action(forge, work, manifest="gpu-server/reconciler.yaml", **{"from": ".base/reconciler.yaml"})
    assert not job.failed, job.log
    assert job.outputs["plan"]["exit-code"] == "0"


def test_the_action_finds_the_default_manifest_in_its_directory(forge: Forge) -> None:
    job = action(forge, forge.found(), working_directory="gpu-server")
    assert not job.failed, job.log
    assert job.outputs["plan"]["exit-code"] == "2"


@pytest.mark.parametrize(
    ("fail_on", "failed"), [("rules", "judge"), ("blocked", "judge"), ("error", ""), ("nonsense", "judge")]
)
def test_the_action_fails_on_what_it_is_told_to(forge: Forge, fail_on: str, failed: str) -> None:
    job = action(forge, forge.found(MANIFEST + RULES), manifest="gpu-server/reconciler.yaml", fail_on=fail_on)
    assert job.failed == failed
    assert job.outputs["plan"]["exit-code"] == "3"


def test_the_action_fails_on_a_manifest_that_is_wrong(forge: Forge) -> None:
    work = forge.found()
    (work / "gpu-server/reconciler.yaml").write_text("version: 1\nnonsense: 1\n")
    assert action(forge, work, manifest="gpu-server/reconciler.yaml").failed == "validate"


# -- GitLab ----------------------------------------------------------------------------------------------------------

GITLAB = {
    "CI_API_V4_URL": "https://gitlab.example/api/v4",
    "CI_PROJECT_ID": "5",
    "CI_MERGE_REQUEST_IID": "12",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "before",
    "CI_JOB_NAME": "comment",
    "CI_COMMIT_SHA": HEAD,
    "CI_PIPELINE_URL": "https://gitlab.example/acme/models/-/pipelines/1",
    "RECONCILER_COMMENT_TOKEN": TOKEN,
}


def gitlab_checkout(forge: Forge, name: str, manifest: str = MANIFEST) -> Path:
    """A merge request that brings the manifest: what was merged before holds none."""
    work = forge.found(manifest)
    forge.git("switch", "--quiet", "--orphan", "before", cwd=work)
    forge.git("commit", "--quiet", "--allow-empty", "--message=nothing yet", cwd=work)
    forge.git("push", "--quiet", str(forge.origin), "before", cwd=work)
    return forge.clone(name)


MARK = "<!-- reconciler: comment -->"
OTHERS = [{"id": n, "author": {"id": 8}, "body": f"{MARK}\nnot the bot's"} for n in range(3)]


def test_gitlab_plans_and_keeps_one_note(forge: Forge) -> None:
    work = gitlab_checkout(forge, "work")
    planned = run_gitlab(forge, "plan", work, **GITLAB)
    assert planned.code == 0, planned.out
    assert "planned as if" not in planned.out
    assert "### Plan for `gpu-server`: 1 to download" in (work / "plan.md").read_text()
    notes, mine = commented(forge, work)
    assert notes == OTHERS
    assert mine.startswith(f"{MARK}\n{(work / 'plan.md').read_text()}")
    assert mine.endswith(f"\nCommit {HEAD}, [pipeline](https://gitlab.example/acme/models/-/pipelines/1)\n")


def commented(forge: Forge, work: Path) -> tuple[list[dict[str, Any]], str]:
    """Run the job that comments twice; return the notes of others, and its own, which is one."""
    forge.write(forge.read() | {"comments": OTHERS})
    alone = forge.here / "alone"  # nothing is checked out: the job has the artifacts and no more
    alone.mkdir()
    for name in ("plan.json", "plan.md"):
        if (work / name).exists():
            shutil.copy(work / name, alone)
    for _ in range(2):
        ran = run_gitlab(forge, "comment", alone, **GITLAB)
        assert ran.code == 0, ran.out
    *notes, mine = forge.read()["comments"]
    assert TOKEN not in json.dumps(forge.read()["calls"])
    assert not [path for path in (forge.here / "temp").rglob("*") if path.name == "token"]
    return notes, mine["body"]


def test_gitlab_tells_that_there_is_no_plan(forge: Forge) -> None:
    work = gitlab_checkout(forge, "work")
    (work / "gpu-server/reconciler.yaml").write_text("version: 1\nnonsense: 1\n")
    (work / "plan.json").write_text("committed with the merge request")
    assert run_gitlab(forge, "plan", work, **GITLAB).code == 1
    (work / "plan.json").unlink()
    _, mine = commented(forge, work)
    assert mine.startswith(f"{MARK}\n### No plan\n")


def test_gitlab_fails_on_a_broken_rule(forge: Forge) -> None:
    ran = run_gitlab(forge, "plan", gitlab_checkout(forge, "work", MANIFEST + RULES), **GITLAB)
    assert ran.code == 1
    assert "rules of the policy that are broken: 1" in ran.out


def test_gitlab_plans_what_the_merge_request_changes(forge: Forge, hub: Hub) -> None:
    forge.found()
    hub.add("acme/Other", weights(3))
    work = proposed(forge, text="  other:\n    source: hf:acme/Other\n")
    ran = run_gitlab(forge, "plan", work, **GITLAB | {"CI_MERGE_REQUEST_DIFF_BASE_SHA": "main"})
    assert ran.code == 0, ran.out
    assert "### Plan for `gpu-server`: 1 to download\n" in ran.out
    assert "download   other@weights" in ran.out


def bump(forge: Forge, name: str) -> Ran:
    project = str(forge.origin).removesuffix(".git")
    return run_gitlab(
        forge, "bump", forge.clone(name), CI_PROJECT_URL=project, CI_DEFAULT_BRANCH="main",
        CI_SERVER_HOST="gitlab.example", RECONCILER_BUMP_TOKEN=TOKEN,
    )  # fmt: skip


def test_gitlab_moves_the_lock_in_a_merge_request(forge: Forge, hub: Hub) -> None:
    forge.found()
    said = forge.here / "options"
    hook = forge.origin / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION > {shlex.quote(str(said))}\n")
    hook.chmod(0o755)
    still = bump(forge, "one")
    assert (still.code, said.exists()) == (0, False), still.out
    moved = hub.add(CHAT, weights(1))
    ran = bump(forge, "two")
    assert ran.code == 0, ran.out
    assert moved in forge.git("show", "reconciler-lock-bump:gpu-server/reconciler.lock.json", cwd=forge.origin)
    assert {"merge_request.create", "merge_request.target=main"} <= {
        line.partition("=")[2] for line in said.read_text().splitlines()
    }
    assert TOKEN not in ran.out


def test_gitlab_gives_no_token_to_the_job_that_plans() -> None:
    pipeline = load("examples/gitlab/.gitlab-ci.yml")
    assert "TOKEN" not in json.dumps(pipeline["plan"])
    assert "$RECONCILER_COMMENT_TOKEN" in pipeline["comment"]["rules"][0]["if"]
    assert "schedule" in pipeline["bump"]["rules"][0]["if"]


# -- hooks of pre-commit ----------------------------------------------------------------------------------------------


def hooks() -> dict[str, dict[str, Any]]:
    return {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


def hook(forge: Forge, name: str, work: Path, *args: str) -> Ran:
    return forge.run(*shlex.split(hooks()[name]["entry"]), *args, cwd=work)


def test_every_hook_is_a_command_of_ours() -> None:
    assert set(hooks()) == {"reconciler-validate", "reconciler-lock-check", "reconciler-fmt"}
    for each in hooks().values():
        program, command, *_ = shlex.split(each["entry"])
        assert program == "reconciler"
        assert command in cli.COMMANDS
        assert each["language"] == "python"
        assert each["pass_filenames"] is False


def test_hooks_pass_on_what_is_sound_and_fail_on_what_is_not(forge: Forge, hub: Hub) -> None:
    work, manifest = forge.found(), "gpu-server/reconciler.yaml"
    assert hook(forge, "reconciler-validate", work, manifest).code == 0
    assert hook(forge, "reconciler-lock-check", work, manifest).code == 0
    hub.add(CHAT, weights(1))
    assert hook(forge, "reconciler-lock-check", work, manifest).code == 2
    with (work / manifest).open("a") as file:
        file.write("  other:\n    source: hf:acme/Other\n")
    assert hook(forge, "reconciler-validate", work, manifest).code == 1


def test_the_formatting_hook_leaves_nothing_for_its_second_run(forge: Forge) -> None:
    work, manifest = forge.found(), "gpu-server/reconciler.yaml"
    assert hook(forge, "reconciler-fmt", work, manifest).code in (0, 1)
    forge.git("commit", "--quiet", "--all", "--allow-empty", "--message=laid out", cwd=work)
    assert hook(forge, "reconciler-fmt", work, manifest).code == 0
    assert forge.git("status", "--porcelain", cwd=work) == ""
    assert hook(forge, "reconciler-validate", work, manifest).code == 0


@pytest.mark.parametrize(
    ("path", "validated", "formatted"),
    [
        ("reconciler.yaml", True, True),
        ("gpu-server/reconciler.yaml", True, True),
        ("gpu-server/reconciler.lock.json", True, False),
        ("manifests/chat.yml", True, True),
        ("manifests.lock.json", True, False),
        ("workstation.lock.json", True, False),
        ("gpu-server.yaml", True, True),
        ("gpu-server/policy.yml", True, True),
        ("docs/readme.md", False, False),
        ("package.json", False, False),
        ("package-lock.json", False, False),
    ],
)
def test_hooks_run_for_manifests_and_locks(path: str, validated: bool, formatted: bool) -> None:
    found = hooks()
    assert bool(re.search(found["reconciler-validate"]["files"], path)) is validated
    assert bool(re.search(found["reconciler-fmt"]["files"], path)) is formatted


# -- systemd ---------------------------------------------------------------------------------------------------------


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(ROOT / "examples/systemd" / name, encoding="utf-8")
    return found


def commands(name: str) -> list[list[str]]:
    """What a service starts, in order."""
    text = (ROOT / "examples/systemd" / name).read_text()
    return [shlex.split(line) for line in re.findall(r"^ExecStart(?:Pre)?=(.+)$", text, re.MULTILINE)]


def start(forge: Forge, name: str, checkout: Path) -> tuple[int, str]:
    """Start a service: its commands one after the other, up to the first that fails."""
    allowed = {0, *map(int, unit(name).get("Service", "SuccessExitStatus", fallback="0").split())}
    out = ""
    for words in commands(name):
        program = {"/usr/local/bin/reconciler": "reconciler", "/usr/bin/git": "git"}[words[0]]
        ran = forge.run(program, *words[1:], cwd=checkout)
        out += ran.out
        if ran.code not in allowed:
            return ran.code, out
    return 0, out


def test_the_services_apply_what_was_merged_and_find_drift(forge: Forge) -> None:
    work = forge.found()
    box = forge.clone("box")
    code, told = start(forge, "reconciler-drift.service", box)
    assert code == 2, told
    code, told = start(forge, "reconciler.service", box)
    assert code == 0, told
    code, told = start(forge, "reconciler-drift.service", box)
    assert code == 0, told
    [placed] = (forge.here / "home/weights").rglob("model.safetensors")
    placed.write_bytes(b"x" + placed.read_bytes()[1:])
    code, told = start(forge, "reconciler-drift.service", box)
    assert code == 8, told
    placed.unlink()
    assert start(forge, "reconciler-drift.service", box)[0] == 16
    assert work.exists()


def test_the_service_is_no_failure_while_somebody_applies_by_hand(forge: Forge) -> None:
    forge.found()
    box = forge.clone("box")
    assert start(forge, "reconciler.service", box)[0] == 0
    with (forge.here / "home/registry/lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, told = start(forge, "reconciler.service", box)
    assert (code, "holds the lock" in told) == (0, True), told
    assert {"3", "6", "7", "130"} == set(unit("reconciler.service")["Service"]["SuccessExitStatus"].split())


def test_removals_wait_for_somebody(forge: Forge) -> None:
    work = forge.found()
    box = forge.clone("box")
    assert start(forge, "reconciler.service", box)[0] == 0
    (work / "gpu-server/reconciler.yaml").write_text(MANIFEST.partition("variants:")[0])
    assert forge.run("reconciler", "lock", "gpu-server/reconciler.yaml", cwd=work).code == 0
    forge.git("commit", "--quiet", "--all", "--message=drop it", cwd=work)
    forge.git("push", "--quiet", str(forge.origin), "main", cwd=work)
    code, told = start(forge, "reconciler.service", box)
    assert code == 0, told
    assert "none of the changes is approved" in told
    assert list((forge.here / "home/weights").rglob("model.safetensors"))


@pytest.mark.parametrize("name", ["reconciler", "reconciler-drift"])
def test_a_timer_starts_the_service_of_its_name(name: str) -> None:
    timer, service = unit(f"{name}.timer"), unit(f"{name}.service")
    assert timer["Timer"]["OnCalendar"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert service["Service"]["Type"] == "oneshot"
    assert not [words for words in commands(f"{name}.service") if not words[0].startswith("/")]
