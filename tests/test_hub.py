"""Names to files: one file of a repository, the one model in it, resumed, verified, offline; refusals by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from litetext.cli import main
from litetext.errors import LitetextError
from litetext.hub import cached_file, chosen_files, hub_file, is_hub_file, local_path

from .hub_server import Hub, hub_running

LARGE = bytes(range(256)) * 64  # an LFS file of 16 KB

FOLDER = {"config.json": b"{}", "model.safetensors": LARGE, "tokenizer.json": b"[]"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {
        "meta/sam3": FOLDER | {"sam3.pt": LARGE + b"pt", "README.md": b"read me"},
        "authors/many": {"sam3_litetext/s0_ctx16.pt": LARGE, "sam3_litetext/l_ctx16.pt": LARGE + b"l", "x.md": b""},
        "someone/one": {"sam3.1_multiplex.pt": LARGE, "config.json": b"{}"},
        "someone/nested": {
            "segmenter/config.json": b"{}",
            "segmenter/model.safetensors": LARGE,
            "text/student/config.json": b"{}",
            "text/student/model.safetensors": LARGE + b"s",
        },
        "someone/gated": FOLDER,
    }
    with hub_running(Hub(files, gated=("someone/gated",)), tmp_path / "cache", monkeypatch) as running:
        running.revisions = (*running.revisions, "v1.0", "refs/pr/1")
        yield running


def _fetched(hub: Hub) -> set[str]:
    return {path for path, _ in hub.served}


@pytest.mark.parametrize(
    "name",
    [
        "authors/many/sam3_litetext/s0_ctx16.pt",
        "authors/many@v1.0/sam3_litetext/s0_ctx16.pt",
        "hf://authors/many/sam3_litetext/s0_ctx16.pt",
        "hf://authors/many@v1.0/sam3_litetext/s0_ctx16.pt",
        "https://huggingface.co/authors/many/resolve/main/sam3_litetext/s0_ctx16.pt?download=true",
        "https://huggingface.co/authors/many/blob/v1.0/sam3_litetext/s0_ctx16.pt",
    ],
)
def test_a_file_inside_a_repository_is_fetched_alone(hub: Hub, name: str) -> None:
    path = local_path(name)
    assert path.name == "s0_ctx16.pt" and path.read_bytes() == LARGE
    assert _fetched(hub) == {"sam3_litetext/s0_ctx16.pt"}


@pytest.mark.parametrize(
    "link",
    [
        "hf://datasets/meta/sam3/README.md",
        "hf://meta/sam3@v1.0/README.md",
        "https://huggingface.co/datasets/meta/sam3/blob/main/README.md",
        "https://huggingface.co/meta/sam3/resolve/main/README.md?download=true",
    ],
)
def test_any_file_of_models_and_data_is_fetched_once(hub: Hub, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_hub_file(link)
    assert hub_file(link).read_bytes() == hub_file(link).read_bytes() == hub.files["meta/sam3"]["README.md"]
    assert len(hub.served) == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub_file(link).is_file()
    with pytest.raises(LitetextError, match="not on this machine"):
        hub_file("hf://datasets/authors/many/y.md")


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("hf://datasets/authors/many/y.md", "authors/many has no file 'y.md'"),
        ("hf://authors/none/y.md", "no such repository"),
        ("hf://someone/gated/config.json", "is gated"),
        ("hf://authors/many", "names no file on the hub"),
        ("hf://authors", "names no file on the hub"),
    ],
)
def test_files_that_cannot_be_fetched_are_named(hub: Hub, link: str, message: str) -> None:
    with pytest.raises(LitetextError, match=message):
        hub_file(link)


def test_a_model_folder_is_fetched_without_what_lies_beside_it(hub: Hub) -> None:
    folder = local_path("meta/sam3@refs/pr/1")
    assert {path.name for path in folder.iterdir()} == set(FOLDER)
    assert _fetched(hub) == set(FOLDER)
    assert local_path("meta/sam3/sam3.pt").read_bytes() == LARGE + b"pt"


def test_a_model_of_two_folders_is_fetched_whole(hub: Hub) -> None:
    folder = local_path("someone/nested")
    assert (folder / "segmenter" / "model.safetensors").is_file()
    assert (folder / "text" / "student" / "config.json").is_file()
    assert local_path("someone/nested/text/student") == folder / "text" / "student"


def test_the_one_checkpoint_of_a_repository_needs_no_name(hub: Hub) -> None:
    assert local_path("someone/one").name == "sam3.1_multiplex.pt"


def test_a_repository_of_many_checkpoints_is_listed_and_not_fetched(hub: Hub) -> None:
    with pytest.raises(LitetextError, match=r"holds 2 models, so name one: litetext info authors/many/") as refused:
        local_path("authors/many")
    assert "litetext info authors/many/sam3_litetext/l_ctx16.pt (0.00 GB)" in str(refused.value)
    assert hub.served == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("meta/sam3/sam2.pt", "meta/sam3 has no file or folder 'sam2.pt'; the nearest name is meta/sam3/sam3.pt"),
        ("meta/sam3@v9", "meta/sam3 has no revision 'v9'"),
        ("meta/sam9", "meta/sam9: no such path here and no such repository on the hub"),
        (
            "someone/gated",
            "someone/gated is gated: accept its licence on its hub page, then log in with: hf auth login",
        ),
        ("hf://datasets/a/b", "is a dataset on the hub, not a model"),
        ("https://example.org/a/b", "no such file or folder, and not a name on the hub"),
        ("nothing.pt", "no such file or folder, and not a name on the hub"),
        ("./owner/name", "no such file or folder, and not a name on the hub"),
    ],
)
def test_refusals_say_what_helps(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(LitetextError, match=message.replace("(", r"\(")):
        local_path(name)


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.breaks_after = 10_000
    with pytest.raises(LitetextError, match=r"sam3\.pt: the download broke off at 0\.01 of 0\.02 MB .*goes on"):
        local_path("meta/sam3/sam3.pt")
    assert not list((tmp_path / "cache").rglob("sam3.pt"))
    hub.breaks_after = None
    hub.served.clear()
    assert local_path("meta/sam3/sam3.pt").read_bytes() == LARGE + b"pt"
    assert hub.served == [("sam3.pt", 10_000)]
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_file_that_arrives_damaged_is_refused_and_fetched_anew(hub: Hub) -> None:
    hub.corrupts = True
    with pytest.raises(LitetextError, match=r"meta/sam3/sam3\.pt arrived damaged \(SHA-256\)"):
        local_path("meta/sam3/sam3.pt")
    hub.corrupts = False
    assert local_path("meta/sam3/sam3.pt").read_bytes() == LARGE + b"pt"


@pytest.mark.parametrize("name", ["meta/sam3", "meta/sam3/sam3.pt", "someone/nested", "someone/one"])
def test_offline_finds_what_was_fetched_and_nothing_else(hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = local_path(name)
    hub.served.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert local_path(name) == path
    with pytest.raises(LitetextError, match=r"authors/many/x\.pt is not on this machine, and this is offline"):
        local_path("authors/many/x.pt")
    assert hub.served == []


def test_offline_a_repository_of_many_checkpoints_is_listed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x", "y"):
        cached = local_path("meta/sam3/sam3.pt").with_name(f"{name}.pt")
        cached.write_bytes(b"weights")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LitetextError, match=r"holds 3 models, so name one: litetext info meta/sam3/"):
        local_path("meta/sam3")


def test_without_a_network_what_was_fetched_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_running(Hub({"a/b": FOLDER}), tmp_path, monkeypatch):
        path = local_path("a/b")
    assert local_path("a/b") == path
    with pytest.raises(LitetextError, match=r"a/c is not on this machine, and the hub cannot be reached"):
        local_path("a/c")


def test_a_cached_file_is_found_by_name(hub: Hub) -> None:
    assert cached_file("meta/sam3", "sam3.pt") is None
    path = local_path("meta/sam3/sam3.pt")
    assert cached_file("meta/sam3", "sam3.pt") == path


def test_shards_come_with_their_index_and_copies_in_other_dtypes_do_not() -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": 1 for i in (1, 2)} | {"model.safetensors.index.json": 1}
    assert set(chosen_files(shards | {"config.json": 1}, "a/b")) == {*shards, "config.json"}
    copies = {"config.json": 1, "model.safetensors": 1, "model.fp16.safetensors": 1, "pytorch_model.bin": 1}
    assert set(chosen_files(copies, "a/b")) == {"config.json", "model.safetensors"}
    with pytest.raises(LitetextError, match=r"holds 2 models.*a/b/s0; litetext info a/b/s1"):
        chosen_files({f"{name}/{file}": 1 for name in ("s0", "s1") for file in FOLDER}, "a/b")
    with pytest.raises(LitetextError, match="a/b holds no weights that litetext reads"):
        chosen_files({"README.md": 1}, "a/b")


def test_the_command_line_is_offline_wherever_the_option_stands(
    hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for arguments in (["--offline", "info", "meta/sam3"], ["info", "meta/sam3", "--offline"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "meta/sam3 is not on this machine, and this is offline" in capsys.readouterr().err
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert hub.served == []


def test_a_link_out_of_its_snapshot_is_refused(tmp_path: Path) -> None:
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "b").write_bytes(b"weights")
    (tmp_path / "secret").write_bytes(b"secret")
    (snapshot / "model.safetensors").symlink_to("../../blobs/b")
    assert local_path(snapshot) == snapshot
    (snapshot / "config.json").symlink_to(tmp_path / "secret")
    for path in (snapshot, snapshot / "config.json"):
        with pytest.raises(LitetextError, match=r"config.json links to .*secret, out of its repository"):
            local_path(path)
    assert local_path(snapshot / "model.safetensors")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").symlink_to(tmp_path / "secret")  # the user's own links are the user's
    assert local_path(tmp_path / "own") == tmp_path / "own"
