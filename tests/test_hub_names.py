"""Names on the hub are taken apart as huggingface_hub's newest version takes them apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.hub_names import HubName, parse_hub_name


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("owner/name", HubName("model", "owner/name")),
        ("owner/name@v1", HubName("model", "owner/name", "v1")),
        ("owner/name@v1/a/b.pt", HubName("model", "owner/name", "v1", "a/b.pt")),
        ("owner/name/a@b.pt", HubName("model", "owner/name", None, "a@b.pt")),
        ("owner/name@refs/pr/12/a.pt", HubName("model", "owner/name", "refs/pr/12", "a.pt")),
        ("owner/name@refs/convert/parquet", HubName("model", "owner/name", "refs/convert/parquet")),
        ("owner/name@feature%2Fx/a.pt", HubName("model", "owner/name", "feature/x", "a.pt")),
        ("hf://models/owner/name/", HubName("model", "owner/name")),
        ("hf://datasets/owner/name/a b.jpg", HubName("dataset", "owner/name", None, "a b.jpg")),
        ("hf://spaces/owner/name", HubName("space", "owner/name")),
        ("https://huggingface.co/owner/name", HubName("model", "owner/name")),
        ("https://hf.co/owner/name/tree/v1/", HubName("model", "owner/name", "v1")),
        ("https://huggingface.co/datasets/owner/name/blob/main/a%20b.jpg?download=true#x",
         HubName("dataset", "owner/name", "main", "a b.jpg")),
        ("https://hf.co/owner/name/raw/refs%2Fpr%2F1/a.pt", HubName("model", "owner/name", "refs/pr/1", "a.pt")),
        ("https://hf.co/owner/name/raw/refs/pr/1/a.pt", HubName("model", "owner/name", "refs/pr/1", "a.pt")),
    ],
)  # fmt: skip
def test_names_and_links_are_taken_apart(text: str, wanted: HubName) -> None:
    assert parse_hub_name(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", "hf://", "name", "hf://owner", "owner/", "/name", "owner/name@", "owner/na me", "owner/name//a",
        "https://example.org/owner/name", "https://huggingface.co/owner", "https://huggingface.co/owner/name/discussions/1",
        "owner/name..git", "own--er/name",
    ],
)  # fmt: skip
def test_what_is_no_name_is_none(text: str) -> None:
    assert parse_hub_name(text) is None


WORD = st.text("abcXYZ019_-.@%é", min_size=1, max_size=8)


@given(
    st.sampled_from(["hf://", "hf://datasets/", "hf://models/", "https://huggingface.co/", "https://hf.co/datasets/"]),
    st.lists(WORD, min_size=1, max_size=6),
    st.sampled_from(["", "@v1", "@refs/pr/1"]),
    st.sampled_from(["", "/blob/main", "/resolve/refs/pr/3", "/tree/v1"]),
)
def test_huggingface_hub_agrees(start: str, words: list[str], revision: str, route: str) -> None:
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_hf_uri"):
        pytest.skip("this huggingface_hub takes no names apart")
    from huggingface_hub.errors import HfUriError

    middle = route if start.startswith("https") else revision
    repository = "/".join(word.replace("@", "a") for word in words[:2])
    text = start + repository + middle + "".join(f"/{word}" for word in words[2:])
    try:
        theirs = hub.parse_hf_uri(text)
    except HfUriError:
        assert parse_hub_name(text) is None
    else:
        assert parse_hub_name(text) == HubName(theirs.type, theirs.id, theirs.revision, theirs.path_in_repo)
