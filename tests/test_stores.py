"""Every store against one contract: a layout and its inverse agree, and nobody stands in another's place."""

from __future__ import annotations

import itertools
import posixpath
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.state import Artifact, Digest, Identity, Layout, Pin, Wish
from reconciler.stores import STORES, store_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
HUB_STORES = ("hf-cache", "huggingface", "lmstudio")


def sha(n: int) -> Digest:
    return Digest(f"sha256:{n:064x}")


def git(n: int) -> Digest:
    return Digest(f"git-sha1:{n:040x}")


def pin(source: str, *paths: str, revision: str | None = COMMIT, first: int = 1) -> Pin:
    files = tuple(Artifact(path, 10, sha(number)) for number, path in enumerate(sorted(paths), first))
    return Pin(source, revision, files)


PINS = (
    pin("hf:owner/repo", "model.safetensors"),
    pin("hf:owner/repo", "model.Q8_0.gguf", first=2),
    pin("hf:owner/repo@dev", "model.safetensors", first=3),
    pin("hf:owner/repo@feature/x", "model.safetensors", first=4),
    pin("hf:other/repo", "model.safetensors", first=5),
    pin("hf:owner/repo-2", "model.safetensors", first=6),
)


def paths_of(layout: Layout) -> set[str]:
    return {
        *(placement.path for placement in layout.files),
        *(link.path for link in layout.links),
        *(note.path for note in layout.notes),
    }


@pytest.mark.parametrize("name", HUB_STORES)
def test_different_pins_never_stand_in_one_place(name: str) -> None:
    layouts = [store_of(name).layout(wanted) for wanted in PINS]
    for one, two in itertools.combinations(layouts, 2):
        shared = paths_of(one) & paths_of(two)
        assert not {p.path for p in one.files} & shared
        assert all(note in two.notes for note in one.notes if note.path in shared)  # one branch, one commit: equal


@pytest.mark.parametrize("name", HUB_STORES)
@pytest.mark.parametrize("wanted", PINS, ids=lambda p: p.source)
def test_identify_is_the_inverse_of_layout(name: str, wanted: Pin) -> None:
    store = store_of(name)
    branch = wanted.source.partition("@")[2].replace("/", "_")
    for placement in store.layout(wanted).files:
        identity = store.identify(placement.path)
        assert identity is not None
        assert wanted.source.startswith(f"hf:{identity.repository}")
        assert identity.branch in ("", branch)
        assert identity.path in ("", placement.artifact.path)
        if name != "hf-cache":
            assert identity == Identity(identity.repository, branch, placement.artifact.path)


LETTERS = string.ascii_letters + string.digits
names = st.text(LETTERS + "._-", min_size=1, max_size=20).map(
    lambda text: f"n{text}n".replace("--", "-").replace("..", ".")
)
repositories = st.tuples(names, names).map("/".join)
branches = st.one_of(st.just(""), names.map("@".__add__))
file_paths = st.lists(
    st.text(LETTERS + "._- üß", min_size=1, max_size=12).map(lambda t: f"f{t}g"), min_size=1, max_size=3
).map("/".join)


@settings(deadline=None)
@given(repositories, branches, file_paths)
def test_whatever_the_names_are_the_inverse_gives_them_back(repository: str, branch: str, path: str) -> None:
    wanted = pin(f"hf:{repository}{branch}", path)
    for name in HUB_STORES:
        store = store_of(name)
        (placement,) = store.layout(wanted).files
        kept = path.rpartition("/")[2] if name == "lmstudio" else path
        expected = Identity(repository, "", "") if name == "hf-cache" else Identity(repository, branch[1:], kept)
        assert store.identify(placement.path) == expected


@pytest.mark.parametrize("name", sorted(STORES))
def test_the_house_is_no_place_of_any_file(name: str) -> None:
    store = store_of(name)
    assert posixpath.isabs(store.house("/data/models"))
    assert store.house("/data/models/") == store.house("/data/models")
    relative = posixpath.relpath(store.house("/data/models"), "/data/models")
    assert relative.startswith("../") or store.skip(relative)
    assert store.skip(".git")
    assert not store.skip("owner")
    assert store.identify(".reconciler/stage/x") is None


@pytest.mark.parametrize("name", sorted(STORES))
@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "a//b", "con", "a\\b", "a\nb", ".reconciler/x", ".git/x"]
)
def test_a_path_that_leads_out_or_into_our_books_is_never_laid_out(name: str, path: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        store_of(name).layout(pin("hf:owner/repo", path))


@pytest.mark.parametrize("name", sorted(STORES))
@pytest.mark.parametrize("path", ["", "x", "a/b", "models--a/b/c", ".git/a/b", "models--a--b/refs/main"])
def test_identify_takes_any_path(name: str, path: str) -> None:
    found = store_of(name).identify(path)
    assert found is None or isinstance(found, Identity)


def test_a_store_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="huggingface"):
        store_of("nfs")


@pytest.mark.parametrize(
    ("source", "home"),
    [
        ("hf:Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("hf:Qwen/Qwen2.5-7B@main", "Qwen/Qwen2.5-7B"),
        (f"hf:Qwen/Qwen2.5-7B@{OTHER_COMMIT}", "Qwen/Qwen2.5-7B"),
        ("hf:turboderp/x-exl2@4.0bpw", "turboderp/x-exl2@4.0bpw"),
        ("hf:turboderp/x-exl2@feature/x", "turboderp/x-exl2@feature_x"),
        ("civitai:1327644@1498986+7", "civitai/1327644@1498986+7"),
        ("urn:air:sdxl:lora:civitai:1327644@1498986", "civitai/1327644@1498986"),
        ("https://example.org/sd/v1/m.gguf", "example.org/sd--v1--m"),
        ("https://example.org:8443/m.gguf", "example.org_8443/m"),
        ("file:/data/m.gguf", "local/m"),
        ("file:///data/my-model/", "local/my-model"),
    ],
)
@pytest.mark.parametrize("name", ["huggingface", "lmstudio"])
def test_every_source_has_a_shelf_of_two_levels(name: str, source: str, home: str) -> None:
    assert store_of(name).layout(pin(source, "m.gguf")).home == home


@pytest.mark.parametrize("name", sorted(set(STORES) - {"ollama"}))
def test_a_model_of_an_ollama_registry_is_refused_by_every_store_but_its_own(name: str) -> None:
    layers = (
        Artifact("1.model", 10, sha(1), media_type="application/vnd.ollama.image.model"),
        Artifact("config", 10, sha(2), media_type="application/vnd.docker.container.image.v1+json"),
    )
    with pytest.raises(ValueError, match=r"`ollama` location|only holds what comes from the Hub"):
        store_of(name).layout(Pin("ollama:qwen3:8b", sha(3), layers))


def test_a_url_with_a_query_has_a_shelf_of_its_own_that_does_not_tell_the_query() -> None:
    homes = {
        store_of("huggingface").layout(pin(f"https://h/m{query}", "m")).home for query in ("", "?k=canary", "?k=2")
    }
    assert len(homes) == 3
    assert not any("canary" in home for home in homes)


def test_the_directories_of_a_url_cannot_become_a_way_out() -> None:
    assert store_of("huggingface").layout(pin("https://h/../../etc/x", "x")).home == "h/..--..--etc--x"


def test_lmstudio_places_the_shards_of_a_quant_directory_flat() -> None:
    wanted = pin("hf:o/r", "Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf", "README.md")
    assert [p.path for p in store_of("lmstudio").layout(wanted).files] == [
        "o/r/m-00001-of-00002.gguf",
        "o/r/m-00002-of-00002.gguf",
        "o/r/README.md",
    ]


def test_lmstudio_keeps_the_directories_of_files_that_share_a_base_name() -> None:
    wanted = pin("hf:o/r", "config.json", "onnx/Config.json", "onnx/m.gguf")
    assert [p.path for p in store_of("lmstudio").layout(wanted).files] == [
        "o/r/config.json",
        "o/r/onnx/Config.json",
        "o/r/m.gguf",
    ]


def test_lmstudio_never_makes_a_file_of_what_another_file_needs_as_a_directory() -> None:
    paths = ("a/config.json", "b/a", "b/config.json")
    assert [p.path for p in store_of("lmstudio").layout(pin("hf:o/r", *paths)).files] == [
        f"o/r/{path}" for path in paths
    ]


def test_flat_names_the_single_file_and_calls_several_the_root() -> None:
    assert store_of("flat").layout(pin("hf:o/r", "x/m.gguf")).home == "m.gguf"
    several = store_of("flat").layout(pin("hf:o/r", "a.gguf", "x/b.gguf"))
    assert (several.home, [p.path for p in several.files]) == (".", ["a.gguf", "b.gguf"])


def test_flat_refuses_two_files_of_one_base_name_and_tells_both() -> None:
    with pytest.raises(ValueError, match=r"'a/m.gguf' and 'b/M.gguf'"):
        store_of("flat").layout(pin("hf:o/r", "a/m.gguf", "b/M.gguf"))


def test_the_hf_cache_holds_blobs_links_and_the_branch() -> None:
    wanted = Pin("hf:o/r", COMMIT, (Artifact("config.json", 2, git(1)), Artifact("x/y/model.gguf", 9, sha(2))))
    layout = store_of("hf-cache").layout(wanted)
    assert layout.home == f"models--o--r/snapshots/{COMMIT}"
    assert [p.path for p in layout.files] == [f"models--o--r/blobs/{1:040x}", f"models--o--r/blobs/{2:064x}"]
    assert [(link.path, link.target) for link in layout.links] == [
        (f"models--o--r/snapshots/{COMMIT}/config.json", f"../../blobs/{1:040x}"),
        (f"models--o--r/snapshots/{COMMIT}/x/y/model.gguf", f"../../../../blobs/{2:064x}"),
    ]
    assert [(note.path, note.text) for note in layout.notes] == [("models--o--r/refs/main", COMMIT)]


def test_the_hf_cache_keeps_equal_files_of_a_snapshot_once() -> None:
    layout = store_of("hf-cache").layout(Pin("hf:o/r", COMMIT, (Artifact("a", 1, sha(1)), Artifact("b", 1, sha(1)))))
    assert (len(layout.files), len(layout.links)) == (1, 2)


def test_the_hf_cache_claims_no_branch_for_a_pin_by_commit() -> None:
    assert store_of("hf-cache").layout(pin(f"hf:o/r@{COMMIT}", "a")).notes == ()
    assert store_of("hf-cache").layout(pin("hf:o/r@refs/pr/1", "a")).notes[0].path == "models--o--r/refs/refs/pr/1"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (pin("https://h/m.gguf", "m.gguf"), "only holds what comes from the Hub"),
        (pin("civitai:1@2", "m"), "only holds"),
        (pin("hf:o/r", "m", revision="main"), "locked to 'main'"),
        (pin("hf:o/r", "m", revision=None), "by commit"),
        (pin("hf:o/r", ".locks/m"), "no observer"),
    ],
)
def test_the_hf_cache_refuses_what_it_cannot_name(wanted: Pin, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        store_of("hf-cache").layout(wanted)


def test_the_hf_cache_knows_what_huggingface_hub_wrote_without_links() -> None:
    identify = store_of("hf-cache").identify
    assert identify(f"models--o--r/snapshots/{COMMIT}/x/a.gguf") == Identity("o/r", "", "x/a.gguf")
    assert identify(f"models--o--r/blobs/{1:064x}") == Identity("o/r", "", "")
    assert identify(f"models--o--r/blobs/{1:064x}.incomplete") is None


@pytest.mark.parametrize(
    ("store", "source", "paths", "home"),
    [
        ("huggingface", "file:/w/me/mine", ("a.safetensors", "sub/b.json"), "me/mine"),
        ("huggingface", "file:/w/deep/er/still", ("a.safetensors",), "deep/er/still"),
        ("huggingface", "file:/w/loose.gguf", ("loose.gguf",), "loose.gguf"),
        ("lmstudio", "file:/w/me/mine/x.gguf", ("x.gguf",), "me/mine"),
        ("flat", "file:/w/loose.gguf", ("loose.gguf",), "loose.gguf"),
    ],
)
def test_what_comes_from_below_its_own_root_is_in_its_place_already(
    store: str, source: str, paths: tuple[str, ...], home: str
) -> None:
    wanted = pin(source, *paths, revision=None)

    layout = store_of(store).layout(wanted, Wish(root="/w"))

    assert layout.home == home
    for placement in layout.files:
        path = source.removeprefix("file:")
        there = path if path.endswith(f"/{placement.artifact.path}") else f"{path}/{placement.artifact.path}"
        assert f"/w/{placement.path}" == there


@pytest.mark.parametrize("root", ["/w/me/min", "/else", ""])
def test_what_comes_from_elsewhere_has_a_shelf_of_local_things(root: str) -> None:
    wanted = pin("file:/w/me/mine", "a.safetensors", revision=None)

    assert store_of("huggingface").layout(wanted, Wish(root=root)).home == "local/mine"


def test_lm_studio_keeps_in_place_only_what_it_would_list() -> None:
    deep = pin("file:/w/a/b/c", "x.gguf", revision=None)
    shallow = pin("file:/w/x.gguf", "x.gguf", revision=None)

    assert store_of("lmstudio").layout(deep, Wish(root="/w")).home == "local/c"
    assert store_of("lmstudio").layout(shallow, Wish(root="/w")).home == "local/x"
