"""Files of concepts: what they say, and what is refused with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.label import Concept, Example, read_concepts
from litetext.label.concepts import dumped
from litetext.label.labeler import asked_phrases

YAML = """
concepts:
  - dog
  - name: car
    synonyms: [automobile, 747]
    negatives: [toy car]
    threshold: 0.6
    max_count: 3
    priority: 2
  - name: widget
    examples:
      - {image: refs/w.png, boxes: [[1, 2, 3, 4]], not_boxes: [[5, 6, 7.5, 8]]}
"""


def test_a_yaml_file_says_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    dog, car, widget = read_concepts(Path("c.yaml"), threshold=0.4)
    assert dog == Concept("dog", threshold=0.4)
    assert car == Concept("car", ["automobile", "747"], ["toy car"], 0.6, 3, 2)
    shown = Example(str(tmp_path / "refs/w.png"), [[1, 2, 3, 4]], [[5, 6, 7.5, 8]])
    assert widget == Concept("widget", threshold=0.4, examples=[shown])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "c.yaml").write_text(dumped([widget]))
    assert read_concepts(tmp_path / "copy" / "c.yaml") == [widget]
    assert asked_phrases([dog, car, widget]) == ["dog", "car", "automobile", "747", "toy car", "widget (example 1)"]


def test_a_text_file_is_a_list_of_phrases(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("white  dog\n\nred car\nwhite dog\n")
    assert [one.name for one in read_concepts(tmp_path / "c.txt")] == ["white dog", "red car"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concepts: 3", "holds no list of concepts"),
        ("concepts: []", "holds no concepts"),
        ("- dog\n- Dog", "has the concept 'Dog' twice"),
        ("- {name: dog, treshold: 0.3}", "unknown key 'concepts[0].treshold'"),
        ("- {name: dog, threshold: 3}", "key 'concepts[0].threshold' is 3"),
        ("- {name: dog, max_count: 0}", "key 'concepts[0].max_count' is 0"),
        ("- {synonyms: [dog]}", "key 'concepts[0].name' is missing"),
        ("- {name: ' '}", "has the empty phrase"),
        ("- [dog]", "key 'concepts[0]' is ['dog']"),
        ("- {name: dog, examples: [{image: a.png}]}", "names no box"),
        ("- {name: dog, examples: [{image: a.png, boxes: [1, 2, 3, 4]}]}", "where a list of [x1, y1, x2, y2]"),
        ("- {name: dog, examples: [3]}", "key 'concepts[0].examples[0]' is 3"),
        ("- {name: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(LitetextError, match=r"c\.yaml") as error:
        read_concepts(tmp_path / "c.yaml")
    assert message in str(error.value)


words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@given(
    st.lists(
        st.builds(
            Concept,
            words,
            st.lists(words, max_size=2),
            st.lists(words, max_size=2),
            st.floats(0, 1),
            st.none() | st.integers(1, 9),
            st.integers(-3, 3),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda one: one.name.casefold(),
    )
)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, concepts: list[Concept]) -> None:
    path = tmp_path_factory.mktemp("c") / "c.yaml"
    path.write_text(dumped(concepts), encoding="utf-8")
    try:
        read = read_concepts(path)
    except LitetextError as error:  # names that the tokenizer cleans to one
        assert "twice" in str(error)
        return
    assert read == [Concept(**{**_fields(one), "name": one.name}) for one in concepts]


def _fields(concept: Concept) -> dict[str, object]:
    return {name: getattr(concept, name) for name in Concept.__dataclass_fields__}
