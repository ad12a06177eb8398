"""`Masks` reads like the array it stands for, and computes what the array would."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litetext import LitetextError
from litetext.results import Masks

stacks = st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(bool, shape))


@given(stacks)
def test_masks_read_like_their_array(dense: np.ndarray) -> None:
    masks = Masks.from_dense(dense)
    assert masks.shape == dense.shape and len(masks) == len(dense)
    assert np.array_equal(np.asarray(masks), dense) and np.asarray(masks, dtype=np.uint8).dtype == np.uint8
    assert all(np.array_equal(one, other) for one, other in zip(masks, dense, strict=True))
    assert np.array_equal(masks[0], dense[0]) and np.array_equal(masks[-1], dense[-1])
    assert np.array_equal(masks[1:], dense[1:]) and np.array_equal(masks[[0]], dense[[0]])
    kept = dense.any((1, 2))
    assert np.array_equal(masks[kept], dense[kept])
    assert not (masks != dense).any() and np.mean(masks) == dense.mean() and (masks & dense).sum() == dense.sum()


@given(stacks)
def test_numbers_are_those_of_the_pixels(dense: np.ndarray) -> None:
    masks = Masks.from_dense(dense)
    assert masks.areas.tolist() == dense.sum((1, 2)).tolist()
    assert np.array_equal(masks.union()[0], dense.any(0))
    shared = [[(a & b).sum() for b in dense] for a in dense]
    assert masks.overlaps(masks).tolist() == shared
    either = [[max((a | b).sum(), 1) for b in dense] for a in dense]
    assert np.array_equal(masks.iou(masks), np.array(shared) / either)
    for box, mask in zip(masks.boxes.tolist(), dense, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert box == ([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0])


@given(stacks)
def test_polygons_and_run_lengths_go_both_ways(dense: np.ndarray) -> None:
    masks, size = Masks.from_dense(dense), dense.shape[1:]
    assert Masks.from_rle(masks.to_rle()).counts == masks.counts
    runs = [{"size": list(size), "counts": _runs(mask)} for mask in dense]
    assert Masks.from_rle(runs).counts == masks.counts
    lines = masks.to_polygons()
    filled = [row for row, parts in enumerate(lines) if parts]
    assert filled == np.flatnonzero(masks.areas).tolist()
    assert Masks.from_polygons([lines[row] for row in filled], size).counts == masks[filled].counts


def _runs(mask: np.ndarray) -> list[int]:
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels.astype(int), prepend=0))
    return np.diff([0, *edges, pixels.size]).tolist()


def test_cropped_and_resized() -> None:
    dense = np.zeros((2, 40, 60), bool)
    dense[0, 10:20, 30:50] = dense[1, 5:7, 1:3] = True
    masks = Masks.from_dense(dense)
    assert np.array_equal(masks.crop((25.5, 5, 60.2, 15)), dense[:, 5:15, 25:60])
    assert np.array_equal(masks.resize((80, 120)), dense.repeat(2, 1).repeat(2, 2))
    assert np.array_equal(masks.resize((20, 30)), dense[:, 1::2, 1::2])
    assert Masks.concatenate([masks, masks[:1]]).areas.tolist() == [200, 4, 200]


def test_what_is_no_mask_is_refused() -> None:
    masks = Masks.from_dense(np.ones((1, 4, 4), bool))
    for wrong, message in (
        ({"size": [4, 4], "counts": "o"}, "mask 0: the RLE is malformed"),
        ({"size": [4, 4], "counts": [3, 4]}, "covers 7 pixels"),
        ({"size": [4, 4], "counts": "\x7f\ud800"}, "malformed"),
    ):
        with pytest.raises(LitetextError, match=message):
            Masks.from_rle([wrong])
    with pytest.raises(LitetextError, match="one size"):
        Masks.from_rle([*masks.to_rle(), {"size": [2, 8], "counts": [16]}])
    with pytest.raises(LitetextError, match="one size"):
        masks.iou(Masks((2, 8)))
    with pytest.raises(LitetextError, match="of one size"):
        Masks.from_dense([np.ones((2, 2), bool), np.ones((3, 3), bool)])
    with pytest.raises(LitetextError, match="no mask whose size"):
        Masks.from_dense([])


def test_a_small_device_can_hold_masks() -> None:
    code = """
import sys
for name in ("torch", "PIL", "pycocotools", "scipy", "supervision", "matplotlib"): sys.modules[name] = None
import numpy as np
from litetext.results import Instances, Masks
masks = Masks.from_dense(np.ones((1, 4, 4), bool))
found = Instances((4, 4), ("dog",), np.ones(1), np.array([[0, 0, 4, 4.]]), masks, np.ones(1), np.zeros(1, int))
print(found.masks[0].sum(), len(found.to_coco()["annotations"]), masks.iou(masks)[0, 0], len(found.nms()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["16", "1", "1.0", "1"]
