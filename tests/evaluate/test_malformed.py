"""Whatever is wrong with a file, the answer is a score or one sentence that names the file, never another error."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.errors import LitetextError
from litetext.evaluate import evaluate_images, ground_truth_from, predictions_from
from litetext.evaluate.video import evaluate_videos
from litetext.results.formats.veval import read_video_predictions, read_video_truth

from .world import ground_truth, shaken

VIDEO = Path(__file__).parent / "golden" / "video"

junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.lists(st.floats() | st.text(max_size=2) | st.integers(-9, 9), max_size=5),
    st.just([[1, 2, 3, 4, 5, "6"]]),
    st.just([[0.0, float("nan"), 1e300, 3, 4, 5]]),
    st.just({"size": [24, 32], "counts": "o"}),
    st.just({"size": [24, 32], "counts": [-3, 771]}),
    st.just({"size": [24, 32], "counts": [768, 2**40]}),
    st.just({"size": [24, 32], "counts": "é"}),
    st.just({"size": [True, 32], "counts": ""}),
    st.just({"size": [24, 32]}),
)


def places(value, path=()):
    """The paths of all values in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(data, document):
    """The document with one value replaced or one key taken away."""
    document = copy.deepcopy(document)
    path = data.draw(st.sampled_from([path for path in places(document) if path]))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    if isinstance(holder, dict) and data.draw(st.booleans()):
        del holder[path[-1]]
    else:
        holder[path[-1]] = data.draw(junk)
    return document


TRUTH = ground_truth(1, pairs=4)
RESULTS = shaken(TRUTH, 1)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["segm", "bbox"]))
def test_image_files(data, iou_type):
    truth, results = TRUTH, RESULTS
    if data.draw(st.booleans()):
        truth = mutated(data, TRUTH)
    else:
        results = mutated(data, RESULTS)
    try:
        found = evaluate_images(
            ground_truth_from(truth, iou_type), predictions_from(results, iou_type), iou_type=iou_type
        )
    except LitetextError as error:
        assert str(error).startswith(("ground truth", "predictions"))
        assert "\n" not in str(error)
    else:
        json.dumps(found.to_dict(), allow_nan=False)


def small(name):
    """A golden video file cut to its first video."""
    document = json.loads((VIDEO / name).read_text())
    if isinstance(document, list):
        return [track for track in document if track["video_id"] == 3][:2]
    video = {"videos": document["videos"][:1], "categories": document["categories"]}
    own = {key: [one for one in document[key] if one["video_id"] == 3][:3] for key in ("annotations", "video_np_pairs")}
    return video | own


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_video_files(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("video")
    documents = {"gt.json": small("gt.json"), "pred.json": small("pred.json")}
    chosen = data.draw(st.sampled_from(sorted(documents)))
    documents[chosen] = mutated(data, documents[chosen])
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    try:
        truth = read_video_truth(folder / "gt.json")
        found = evaluate_videos(truth, read_video_predictions(folder / "pred.json", truth))
    except LitetextError as error:
        assert str(folder) in str(error) or "unknown" in str(error)
        assert "\n" not in str(error)
    else:
        json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("text", ["", "null", "3", '"text"', "[[1]]", "[null]", "{}", '{"images": 3}', "[", "\x00"])
def test_files_that_are_something_else(tmp_path, text):
    path = tmp_path / "file.json"
    path.write_text(text)
    for pair in ((path, VIDEO / "pred.json"), (VIDEO.parent / "image" / "gt_a.json", path)):
        with pytest.raises(LitetextError, match=r"file\.json"):
            evaluate_images(*pair)
