import json

import numpy as np
import pytest
from PIL import Image

from litetext.errors import LitetextError
from litetext.evaluate.tracking import frames_folder, predict_videos, set_name, video_fingerprint
from litetext.evaluate.video import evaluate_videos
from litetext.results import Masks
from litetext.results.formats.veval import read_video_truth
from litetext.results.rle import decode
from litetext.segment import Instances
from litetext.track import LinkedSegmenter

from .world import rectangle

HEIGHT, WIDTH, LENGTH = 24, 32, 6
PHRASES = {1: "red ball", 2: "dog", 3: "kite"}


def moving(start, steps):
    """A rectangle that moves a pixel right a frame; None in frames without it."""
    return [rectangle((start[0] + t, start[1], 6, 6)) if t in steps else None for t in range(LENGTH)]


@pytest.fixture
def world(tmp_path):
    tracks = [(1, moving((1, 1), range(6))), (1, moving((1, 14), {0, 1, 2, 4, 5})), (2, moving((12, 8), range(3)))]
    names = [f"clip/{t}.png" for t in range(LENGTH)]
    document = {
        "videos": [{"id": 7, "file_names": names, "height": HEIGHT, "width": WIDTH, "length": LENGTH}],
        "categories": [{"id": id, "name": name} for id, name in PHRASES.items()],
        "annotations": [
            {"id": i, "video_id": 7, "category_id": category, "segmentations": masks, "iscrowd": 0}
            for i, (category, masks) in enumerate(tracks)
        ],
        "video_np_pairs": [{"id": id, "video_id": 7, "category_id": id, "noun_phrase": PHRASES[id]} for id in PHRASES],
    }
    (tmp_path / "truth.json").write_text(json.dumps(document))
    (tmp_path / "clip").mkdir()
    for name in names:
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    return tmp_path, read_video_truth(tmp_path / "truth.json")


class Seer:
    """Finds the true masks of a frame, in an order that changes from frame to frame."""

    def __init__(self, truth):
        self.truth = truth

    def segment(self, images, prompts, *, threshold):
        t = int(images.stem)
        found = [
            (list(prompts).index(PHRASES[track.category]), decode(track.masks[t], (HEIGHT, WIDTH)))
            for track in self.truth.tracks
            if track.masks[t] is not None
        ]
        found = sorted(found[:: (-1) ** t], key=lambda one: one[0])
        masks = Masks.from_dense([mask for _, mask in found], (HEIGHT, WIDTH))
        return Instances(
            size=(HEIGHT, WIDTH),
            prompts=tuple(prompts),
            presence=np.ones(len(prompts), dtype=np.float32),
            boxes=masks.boxes,
            masks=masks,
            scores=np.full(len(found), 0.75, dtype=np.float32),
            prompt_index=np.array([prompt for prompt, _ in found], dtype=np.int64),
        )


def test_objects_keep_their_identity_through_order_and_gaps(world):
    folder, truth = world
    path = predict_videos(
        LinkedSegmenter(Seer(truth)), truth, folder, folder / "tracks.json", settings={"model": "seer"}
    )
    metrics = evaluate_videos(truth, path)
    assert len(json.loads(path.read_text())) == 3
    assert metrics.cgF1 > 99.9
    assert metrics.scores.hota["HOTA"] == pytest.approx(1)
    assert metrics.teta["TETA"] == pytest.approx(1)


def renamed(folder, category, name):
    """The same ground truth with another name for a category."""
    document = json.loads((folder / "truth.json").read_text())
    document["categories"][category - 1]["name"] = name
    document["video_np_pairs"][category - 1]["noun_phrase"] = name
    (folder / "renamed.json").write_text(json.dumps(document))
    return read_video_truth(folder / "renamed.json")


def test_other_phrases_are_another_run(world):
    folder, truth = world
    other = renamed(folder, 1, "blue ball")
    assert video_fingerprint(other) != video_fingerprint(truth)
    destination = folder / "tracks.json"
    predict_videos(LinkedSegmenter(Seer(truth)), truth, folder, destination, settings={})
    with pytest.raises(LitetextError, match="is of another run"):
        predict_videos(LinkedSegmenter(Seer(truth)), other, folder, destination, settings={})


def test_categories_of_one_name_have_the_same_tracks(world):
    folder, truth = world
    twice = renamed(folder, 3, "red ball")
    path = predict_videos(LinkedSegmenter(Seer(truth)), twice, folder, folder / "tracks.json", settings={})
    entries = json.loads(path.read_text())
    assert sorted(entry["category_id"] for entry in entries) == [1, 1, 2, 3, 3]
    tracks = {c: [entry["segmentations"] for entry in entries if entry["category_id"] == c] for c in (1, 3)}
    assert tracks[1] == tracks[3]


def test_missing_frames_are_told(world):
    folder, truth = world
    (folder / "clip" / "3.png").unlink()
    with pytest.raises(LitetextError, match=r"3\.png: no such file; --frames is the folder"):
        predict_videos(LinkedSegmenter(Seer(truth)), truth, folder, folder / "tracks.json", settings={})


def test_published_sets_are_known_by_name(world, tmp_path):
    folder, truth = world
    assert set_name(folder / "saco_veval_smartglasses_val.json") == "SmartGlasses"
    assert set_name(folder / "mine.json") == "mine"
    published = folder / "all" / "media" / "saco_sg" / "JPEGImages_6fps"
    published.mkdir(parents=True)
    (folder / "clip").rename(published / "clip")
    assert frames_folder(folder / "all", truth) == published
    assert frames_folder(tmp_path, truth) == tmp_path  # what is missing is named when it is read
