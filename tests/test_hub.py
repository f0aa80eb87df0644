"""The embedded hub, as the real huggingface_hub client and a plain HTTP client see it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from reconciler.hub import Hub, demo_world
from reconciler.hub.weights import filler, llama_files

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

TOKEN = "hf_canary_of_the_hub_tests"
FILES: dict[str, bytes] = {
    "config.json": b'{"model_type": "llama"}\n',
    "docs/usage/how to.md": b"# How to\n",
    "model.safetensors": filler(300_000, 1),
}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def api(hub: Hub, token: str | bool = False) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.url, token=token)


def signed(hub: Hub, repo_id: str = "acme/tiny", path: str = "model.safetensors") -> str:
    return ask(f"{hub.url}/{repo_id}/resolve/main/{path}").headers["location"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(token=TOKEN) as hub:
        hub.add("acme/tiny", FILES)
        hub.reset_log()
        yield hub


# --- what the client reads ---------------------------------------------------------------------------------------


def test_model_info_names_commit_sizes_and_digests(hub: Hub) -> None:
    info = api(hub).model_info("acme/tiny", files_metadata=True, timeout=20)
    assert info.sha == hub.repositories["acme/tiny"].branches["main"]
    assert info.card_data.license == "apache-2.0"
    files = {sibling.rfilename: sibling for sibling in info.siblings}
    assert {name: file.size for name, file in files.items()} == {name: len(data) for name, data in FILES.items()}
    assert files["model.safetensors"].lfs.sha256 == sha256(FILES["model.safetensors"])
    assert files["config.json"].blob_id == git_sha1(FILES["config.json"])
    assert files["config.json"].lfs is None


def test_model_info_tells_no_sizes_unless_asked(hub: Hub) -> None:
    assert {sibling.size for sibling in api(hub).model_info("acme/tiny").siblings} == {None}


@pytest.mark.parametrize("page_size", [1, 2, 1000])
def test_the_tree_is_whole_whatever_the_page_size(hub: Hub, page_size: int) -> None:
    hub.page_size = page_size
    entries = list(api(hub).list_repo_tree("acme/tiny", recursive=True))
    assert [entry.path for entry in entries] == sorted([*FILES, "docs", "docs/usage"])
    files = {entry.path: entry for entry in entries if hasattr(entry, "size")}
    assert files["model.safetensors"].lfs.sha256 == sha256(FILES["model.safetensors"])
    assert files["docs/usage/how to.md"].blob_id == git_sha1(FILES["docs/usage/how to.md"])
    assert all(file.xet_hash is None for file in files.values())
    assert len(hub.requests) == -(-5 // page_size)


def test_the_tree_of_a_folder_is_one_level_unless_recursive(hub: Hub) -> None:
    tree = api(hub).list_repo_tree
    assert [entry.path for entry in tree("acme/tiny")] == ["config.json", "docs", "model.safetensors"]
    assert [entry.path for entry in tree("acme/tiny", "docs")] == ["docs/usage"]
    assert [entry.path for entry in tree("acme/tiny", "docs", recursive=True)] == ["docs/usage", "docs/usage/how to.md"]
    expanded = {entry.path: entry for entry in tree("acme/tiny", expand=True)}
    assert expanded["config.json"].last_commit.oid == hub.repositories["acme/tiny"].branches["main"]


def test_paths_info_answers_for_files_and_folders_that_exist(hub: Hub) -> None:
    found = api(hub).get_paths_info("acme/tiny", ["model.safetensors", "docs", "nowhere"])
    assert [entry.path for entry in found] == ["docs", "model.safetensors"]


def test_every_revision_stays_reachable_by_branch_tag_and_sha(hub: Hub) -> None:
    first = hub.repositories["acme/tiny"].branches["main"]
    hub.tag("acme/tiny", "v1.0", first)
    second = hub.update("acme/tiny", {"config.json": b"{}"}, delete=["docs/usage/how to.md"])
    third = hub.add("acme/tiny", {"config.json": b"[]"}, branch="feature/x")
    refs = api(hub).list_repo_refs("acme/tiny", include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "feature/x": third}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0": first}
    for revision, sha, names in (
        ("v1.0", first, sorted(FILES)),
        ("main", second, ["config.json", "model.safetensors"]),
        (second, second, ["config.json", "model.safetensors"]),
        ("feature/x", third, ["config.json"]),
    ):
        info = api(hub).model_info("acme/tiny", revision=revision)
        assert (info.sha, [sibling.rfilename for sibling in info.siblings]) == (sha, names)
    assert [commit.commit_id for commit in api(hub).list_repo_commits("acme/tiny")] == [second, first]


def test_the_same_history_has_the_same_shas_everywhere() -> None:
    one, two = Hub(), Hub()
    assert demo_world.populate(one) == demo_world.populate(two)
    assert demo_world.new_revision(one) == demo_world.new_revision(two)
    assert one.add("acme/other", FILES) != one.add("acme/other", FILES), "a commit knows its parent"


def test_metadata_of_one_file_stands_on_the_redirect(hub: Hub) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    large = get_hf_file_metadata(hf_hub_url("acme/tiny", "model.safetensors", endpoint=hub.url), endpoint=hub.url)
    assert (large.etag, large.size) == (sha256(FILES["model.safetensors"]), 300_000)
    assert large.commit_hash == hub.repositories["acme/tiny"].branches["main"]
    assert large.location.startswith(hub.cdn_url)
    small = get_hf_file_metadata(hf_hub_url("acme/tiny", "config.json", endpoint=hub.url), endpoint=hub.url)
    assert (small.etag, small.size) == (git_sha1(FILES["config.json"]), len(FILES["config.json"]))
    assert large.xet_file_data is None


# --- downloads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small_redirect", [True, False])
def test_a_snapshot_holds_the_same_bytes_and_a_clean_cache(hub: Hub, world: Path, small_redirect: bool) -> None:
    from huggingface_hub import scan_cache_dir, snapshot_download

    hub.small_redirect = small_redirect
    snapshot = Path(snapshot_download("acme/tiny", endpoint=hub.url, token=TOKEN, cache_dir=world))
    assert {name: (snapshot / name).read_bytes() for name in FILES} == FILES
    cache = scan_cache_dir(world)
    assert not cache.warnings
    assert [repo.repo_id for repo in cache.repos] == ["acme/tiny"]
    assert any(request.status == 307 for request in hub.requests) == small_redirect
    assert not any("authorization" in request.headers for request in hub.requests if request.origin == "cdn")


def test_a_second_snapshot_needs_no_bytes_and_an_offline_one_no_hub(hub: Hub, world: Path) -> None:
    from huggingface_hub import snapshot_download

    first = snapshot_download("acme/tiny", endpoint=hub.url, cache_dir=world)
    hub.reset_log()
    assert snapshot_download("acme/tiny", endpoint=hub.url, cache_dir=world) == first
    assert hub.bytes_served("cdn") == 0
    hub.close()
    assert snapshot_download("acme/tiny", endpoint=hub.url, cache_dir=world, local_files_only=True) == first


def test_a_local_directory_follows_upstream(hub: Hub, world: Path) -> None:
    from huggingface_hub import hf_hub_download

    def fetch() -> bytes:
        return Path(hf_hub_download("acme/tiny", "config.json", endpoint=hub.url, local_dir=world)).read_bytes()

    assert fetch() == FILES["config.json"]
    hub.update("acme/tiny", {"config.json": b"{}"})
    assert fetch() == b"{}"


def test_a_file_on_disk_is_served_like_one_in_memory(hub: Hub, world: Path) -> None:
    path = world / "large.gguf"
    path.write_bytes(filler(11 << 20, 5))
    hub.add("acme/disk", {"large.gguf": path})
    url = signed(hub, "acme/disk", "large.gguf")
    assert sha256(ask(url).body) == sha256(path.read_bytes())
    assert ask(url, Range="bytes=1000000-1000009").body == path.read_bytes()[1_000_000:1_000_010]
    assert hub.bytes_served("cdn") == (11 << 20) + 10


# --- refusals ----------------------------------------------------------------------------------------------------


def test_a_gated_repository_shows_its_files_and_keeps_its_bytes(hub: Hub, world: Path) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    hub.add("acme/guarded", FILES, gated="manual")
    info = api(hub).model_info("acme/guarded", files_metadata=True)
    assert (info.gated, len(info.siblings)) == ("manual", 3)

    def fetch(token: str | bool) -> str:
        return hf_hub_download("acme/guarded", "config.json", endpoint=hub.url, token=token, cache_dir=world)

    for token, status in ((False, 401), ("hf_somebody_else", 403)):
        with pytest.raises(GatedRepoError) as refused:
            fetch(token)
        assert refused.value.response.status_code == status
    hub.deny_gated = True
    with pytest.raises(GatedRepoError):
        fetch(TOKEN)
    hub.deny_gated = False
    assert Path(fetch(TOKEN)).read_bytes() == FILES["config.json"]


def test_a_private_repository_does_not_exist_for_strangers(hub: Hub) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    hub.add("acme/secret", FILES, private=True)
    for repo_id in ("acme/secret", "acme/nowhere"):
        for token, status in ((False, 401), ("hf_somebody_else", 404)):
            with pytest.raises(RepositoryNotFoundError) as refused:
                api(hub, token).model_info(repo_id)
            assert refused.value.response.status_code == status
    assert api(hub, TOKEN).model_info("acme/secret").private
    assert ask(f"{hub.url}/api/models/acme/secret", Authorization=f"Basic {TOKEN}").status == 401
    assert ask(f"{hub.url}/api/models/acme/secret?token={TOKEN}").status == 401


def test_missing_revisions_and_files_say_which(hub: Hub) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

    with pytest.raises(RevisionNotFoundError):
        api(hub).model_info("acme/tiny", revision="nowhere")
    with pytest.raises(EntryNotFoundError):
        get_hf_file_metadata(hf_hub_url("acme/tiny", "nowhere", endpoint=hub.url), endpoint=hub.url)
    with pytest.raises(EntryNotFoundError):
        list(api(hub).list_repo_tree("acme/tiny", "nowhere"))


def test_a_renamed_repository_is_found_under_both_names_until_somebody_takes_the_old(hub: Hub, world: Path) -> None:
    from huggingface_hub import snapshot_download

    key = api(hub).model_info("acme/tiny").author and hub.repositories["acme/tiny"].key
    url = signed(hub)
    hub.rename("acme/tiny", "acme/small")
    assert ask(f"{hub.url}/api/models/acme/tiny/tree/main?recursive=true").status == 307
    assert api(hub).model_info("acme/tiny").id == "acme/small"
    assert len(list(api(hub).list_repo_tree("acme/tiny", recursive=True))) == 5
    assert Path(snapshot_download("acme/tiny", endpoint=hub.url, cache_dir=world), "config.json").exists()
    assert ask(url).status == 200, "a signed URL outlives the name"
    hub.add("acme/tiny", {"config.json": b"another's"})
    assert api(hub).model_info("acme/tiny").id == "acme/tiny"
    assert json.loads(ask(f"{hub.url}/api/models/acme/tiny").body)["_id"] != key


def test_a_removed_repository_is_gone(hub: Hub) -> None:
    url = signed(hub)
    hub.remove("acme/tiny")
    assert ask(f"{hub.url}/api/models/acme/tiny").status == 401
    assert ask(url).status == 404


def test_whoami_knows_the_one_token(hub: Hub) -> None:
    assert api(hub, TOKEN).whoami()["name"] == "demo"
    assert ask(f"{hub.url}/api/whoami-v2").status == 401


# --- the search ---------------------------------------------------------------------------------------------------


def test_a_search_finds_names_that_contain_the_word_the_most_downloaded_first(hub: Hub) -> None:
    for name, downloads in (("one/Orca-GGUF", 5), ("two/orca-mini", 9), ("two/other", 99)):
        hub.add(name, {"a.gguf": b"a", "README.md": b"r"})
        hub.repositories[name].downloads = downloads

    found = list(api(hub).list_models(search="ORCA", sort="downloads", limit=20, full=True))

    assert [(each.id, each.downloads) for each in found] == [("two/orca-mini", 9), ("one/Orca-GGUF", 5)]
    assert [file.rfilename for file in found[0].siblings] == ["README.md", "a.gguf"]
    assert found[0].sha == hub.repositories["two/orca-mini"].branches["main"]


def test_a_limit_holds_and_without_it_every_page_is_read(hub: Hub) -> None:
    for number in range(7):
        hub.add(f"many/orca-{number}", {"a.gguf": b"a"})

    assert len(list(api(hub).list_models(search="orca", limit=3))) == 3
    first = ask(f"{hub.url}/api/models?search=orca&limit=3")
    assert len(json.loads(first.body)) == 3
    assert 'rel="next"' in first.headers["link"]
    assert len(list(api(hub).list_models(search="orca"))) == 7


def test_the_next_page_asks_for_every_tag_that_the_first_did(hub: Hub) -> None:
    for number in range(2):
        hub.add(f"many/orca-{number}", {"a.gguf": b"a", "a.safetensors": b"a"})

    first = ask(f"{hub.url}/api/models?filter=gguf&filter=safetensors&limit=1")

    assert "filter=gguf&filter=safetensors" in first.headers["link"]


def test_without_full_a_search_tells_neither_files_nor_commits(hub: Hub) -> None:
    [info] = json.loads(ask(f"{hub.url}/api/models?search=acme/tiny").body)

    assert info["id"] == "acme/tiny"
    assert not {"siblings", "sha", "cardData"} & info.keys()
    assert next(iter(api(hub).list_models(search="acme/tiny"))).siblings is None


def test_a_filter_is_a_tag_and_private_repositories_are_found_by_who_may_see_them(hub: Hub) -> None:
    hub.add("one/Orca-GGUF", {"a.gguf": b"a"})
    hub.add("one/Orca", {"a.safetensors": b"a"})

    assert [each.id for each in api(hub).list_models(search="orca", filter="gguf")] == ["one/Orca-GGUF"]
    hub.add("acme/secret", FILES, private=True)
    assert list(api(hub).list_models(search="secret")) == []
    assert [each.id for each in api(hub, TOKEN).list_models(search="secret")] == ["acme/secret"]


# --- HTTP --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-", 206, 100, 300_000),
        ("bytes=-100", 206, 299_900, 300_000),
        ("bytes=299990-400000", 206, 299_990, 300_000),
        ("bytes=1-2,5-6", 200, 0, 300_000),
        ("lines=1-2", 200, 0, 300_000),
    ],
)
def test_ranges(hub: Hub, wanted: str, status: int, start: int, stop: int) -> None:
    answer = ask(signed(hub), Range=wanted)
    assert (answer.status, answer.body) == (status, FILES["model.safetensors"][start:stop])
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/300000"


def test_a_range_behind_the_end_is_not_satisfiable(hub: Hub) -> None:
    answer = ask(signed(hub), Range="bytes=300000-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */300000")


def test_validators_spare_and_protect_bytes(hub: Hub) -> None:
    url = signed(hub)
    etag = ask(url, "HEAD").headers["etag"]
    assert etag.strip('"') != sha256(FILES["model.safetensors"]), "the CDN's own ETag is another value"
    assert ask(url, If_None_Match=etag).status == 304
    assert ask(url, Range="bytes=5-9", If_Range=etag).status == 206
    assert ask(url, Range="bytes=5-9", If_Range='"of another version"').status == 200
    tree = f"{hub.url}/api/models/acme/tiny/tree/main"
    assert ask(tree, If_None_Match=ask(tree).headers["etag"]).status == 304


def test_head_promises_what_get_sends(hub: Hub) -> None:
    for url in (signed(hub), f"{hub.url}/api/models/acme/tiny", f"{hub.url}/acme/tiny/resolve/main/config.json"):
        head, get = ask(url, "HEAD"), ask(url)
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.body))


def test_a_large_file_is_redirected_with_its_identity(hub: Hub) -> None:
    answer = ask(f"{hub.url}/acme/tiny/resolve/main/model.safetensors", "HEAD")
    assert answer.status == 302
    assert answer.headers["x-linked-etag"] == f'"{sha256(FILES["model.safetensors"])}"'
    assert answer.headers["x-linked-size"] == "300000"
    assert answer.headers["x-repo-commit"] == hub.repositories["acme/tiny"].branches["main"]
    assert "x-xet-hash" not in answer.headers


def test_a_signature_opens_one_file_for_a_while_and_wants_no_token(hub: Hub) -> None:
    url = signed(hub)
    assert ask(url).status == 200
    assert ask(url.replace("model.safetensors?", "config.json?")).status == 403
    assert ask(url.split("?")[0]).status == 403
    assert ask(url, Authorization=f"Bearer {TOKEN}").status == 400
    assert signed(hub) != url, "every resolve signs anew"
    hub.advance(3500)
    assert ask(url).status == 200
    hub.advance(101)
    assert ask(url).status == 403
    assert ask(signed(hub)).status == 200


def test_rate_limits_are_told(hub: Hub) -> None:
    first = ask(f"{hub.url}/api/models/acme/tiny").headers
    assert first["ratelimit"] == '"api";r=499;t=172'
    assert first["ratelimit-policy"] == '"fixed window";"api";q=500;w=300'
    assert ask(f"{hub.url}/acme/tiny/resolve/main/config.json").headers["ratelimit"].startswith('"resolvers";r=2999')


def test_one_connection_serves_many_calls(hub: Hub) -> None:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=20)
    for _ in range(200):
        connection.request("GET", "/api/models/acme/tiny")
        assert connection.getresponse().read()
    connection.close()
    assert len(hub.requests) == 200


def test_many_connections_are_served_at_once_and_leave_nothing_behind(hub: Hub) -> None:
    open_before, wrong = len(os.listdir("/proc/self/fd")), []

    def read() -> None:
        wrong.extend(_ for _ in range(10) if ask(signed(hub)).body != FILES["model.safetensors"])

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert not wrong
    assert len(hub.requests) == 160
    hub.close()
    assert len(os.listdir("/proc/self/fd")) <= open_before


def test_a_mirror_serves_large_files_itself(hub: Hub, world: Path) -> None:
    from huggingface_hub import snapshot_download

    hub.large_redirect = False
    snapshot = Path(snapshot_download("acme/tiny", endpoint=hub.url, token=False, cache_dir=world))
    assert (snapshot / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert {request.origin for request in hub.requests} == {"hub"}


def test_a_small_file_names_its_size_only_where_its_bytes_are(hub: Hub) -> None:
    answer = ask(f"{hub.url}/acme/tiny/resolve/main/config.json", "HEAD")
    assert (answer.status, answer.headers["etag"]) == (307, f'"{git_sha1(FILES["config.json"])}"')
    assert not {"x-linked-size", "x-linked-etag"} & set(answer.headers)
    assert answer.headers["location"].startswith("/api/resolve-cache/models/acme/tiny/")
    assert ask(hub.url + answer.headers["location"], "HEAD").headers["content-length"] == str(len(FILES["config.json"]))


def test_plain_files_are_served_with_the_digest_that_was_asked_for(hub: Hub, world: Path) -> None:
    (world / "on disk.bin").write_bytes(b"on disk")
    plain = hub.serve("loras/a b.safetensors", b"weights")
    told = hub.serve("x.bin", world / "on disk.bin", digest_header=True)
    assert ask(plain).body == b"weights"
    assert "repr-digest" not in ask(plain).headers
    assert ask(told, Range="bytes=3-").body == b"disk"
    assert (
        ask(told, "HEAD").headers["repr-digest"]
        == f"sha-256=:{base64.b64encode(hashlib.sha256(b'on disk').digest()).decode()}:"
    )
    moved = hub.redirect("old.bin", "file:///etc/passwd")
    assert (ask(moved).status, ask(moved).headers["location"]) == (302, "file:///etc/passwd")
    assert ask(f"{hub.cdn_url}/files/none").status == 404


def test_a_listing_can_lie(hub: Hub) -> None:
    names = ["../x", "/abs", "C:x", "twice", "twice", "line\nbreak", "big.gguf"]
    entries: list[dict[str, Any]] = [{"path": name, "content": b"x"} for name in names[:-1]]
    hub.add_raw("evil/repo", [*entries, {"path": "big.gguf", "size": 1 << 50, "sha256": "0" * 64, "content": b"tiny"}])
    listed = json.loads(ask(f"{hub.url}/api/models/evil/repo/tree/main?recursive=true").body)
    assert sorted(entry["path"] for entry in listed) == sorted(names)
    big = next(entry for entry in listed if entry["path"] == "big.gguf")
    assert (big["size"], big["lfs"]["oid"]) == (1 << 50, "0" * 64)
    assert ask(signed(hub, "evil/repo", "big.gguf")).body == b"tiny"


def test_noise_does_not_harm_the_hub(hub: Hub) -> None:
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=20)
    connection.connect()
    connection.sock.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert connection.sock.recv(100) == b""
    connection.close()
    assert ask(f"{hub.url}/api/models/acme/tiny/tree/main?cursor=x").status == 400
    assert ask(f"{hub.url}/api/models/acme/tiny", "DELETE").status == 405
    assert ask(f"{hub.url}/").status == 404
    assert ask(f"{hub.url}/api/models/acme/tiny").status == 200


def test_a_hub_that_starts_again_is_found_at_the_same_place(hub: Hub) -> None:
    url = hub.url
    hub.close()
    with pytest.raises(OSError, match=r"refused|reset"):
        ask(f"{url}/api/models/acme/tiny")
    hub.start()
    assert hub.url == url
    assert ask(f"{url}/api/models/acme/tiny").status == 200


# --- the demo, and a process of its own --------------------------------------------------------------------------


def test_the_demo_world_has_something_for_everybody() -> None:
    with Hub(token=TOKEN) as hub:
        before = demo_world.populate(hub)
        sizes = {
            file.path: file.size for file in hub.repositories[demo_world.GGUF].commits[before[demo_world.GGUF]].files
        }
        assert sizes["TinyLlama-Chat-Q8_0.gguf"] > 16 << 20, "something for aria2c"
        awq = json.loads(ask(f"{hub.url}/api/resolve-cache/models/{demo_world.AWQ}/main/config.json").body)
        assert awq["quantization_config"]["quant_method"] == "awq"
        assert ask(f"{hub.url}/{demo_world.GATED}/resolve/main/config.json").status == 401
        after = demo_world.new_revision(hub)
        assert all(api(hub).model_info(repo).sha == sha != before[repo] for repo, sha in after.items())


def test_a_directory_is_served_by_a_process_that_ends_with_its_parent(world: Path) -> None:
    folder = world / "acme/tiny"
    folder.mkdir(parents=True)
    for name, data in llama_files(7).items():
        (folder / name).write_bytes(data)
    parent = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'reconciler.hub', '--directory', sys.argv[1]],"
        " stdout=subprocess.PIPE, text=True)\n"
        "print(child.pid, child.stdout.readline(), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, str(world)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child, _, told = process.stdout.readline().partition(" ")
    where = json.loads(told)
    assert list(where["commits"]) == ["acme/tiny"]
    descriptor = os.pidfd_open(int(child))
    try:
        answer = ask(f"{where['url']}/acme/tiny/resolve/{where['commits']['acme/tiny']}/model.safetensors")
        assert answer.headers["location"].startswith(where["cdn_url"])
        assert ask(answer.headers["location"]).body == (folder / "model.safetensors").read_bytes()
        process.communicate("enough\n")
        assert select.select([descriptor], [], [], 20)[0], "the hub outlived its parent"
    finally:
        os.close(descriptor)
