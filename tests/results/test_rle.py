"""Run lengths and outlines: pycocotools' own, byte for byte."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco
from scipy.ndimage import label

from litetext import LitetextError
from litetext.results.polygons import filled, outlines
from litetext.results.rle import (
    areas,
    bounding_boxes,
    box_ious,
    compress,
    corner_ious,
    decode,
    encode,
    mask_ious,
    merge,
    run_totals,
)

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))
masks = sizes.flatmap(lambda size: arrays(bool, size))


@given(st.lists(masks, min_size=1, max_size=8))
def test_run_totals_are_the_pixels_of_each_mask(several):
    assert run_totals([encode(mask) for mask in several]).tolist() == [mask.size for mask in several]


@given(masks, st.lists(st.binary(max_size=6), max_size=4))
def test_malformed_strings_do_not_disturb_their_neighbours(mask, junk):
    totals = run_totals([*junk, encode(mask), *junk])
    assert totals[len(junk)] == mask.size


def test_malformed_strings_have_no_total():
    unended, outside, negative, huge, empty = b"o", b"\x20", b"5L", b"ooooooooo0", b""
    assert run_totals([unended, outside, negative, huge, empty]).tolist() == [-1] * 5


def test_totals_of_a_large_mask():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[:, 1000:3500] = True
    assert run_totals([encode(mask)]).tolist() == [12_000_000]


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_ious_are_those_of_the_pixels(height, width, data):
    several = data.draw(st.lists(arrays(bool, (height, width)), min_size=2, max_size=5))
    first, rest = several[:1], several[1:]
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in rest] for a in first]
    found = mask_ious([encode(mask) for mask in first], [encode(mask) for mask in rest], (height, width))
    np.testing.assert_array_equal(found, expected)


def test_box_ious_equal_pycocotools():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((30, 4)), rng.random((20, 4))
    np.testing.assert_array_equal(box_ious(ours, theirs), coco.iou(ours, theirs, [0] * 20))
    assert box_ious([[0, 0, 0, 0]], [[0, 0, 0, 0]]).item() == 0


def test_boxes_by_their_corners_overlap_as_by_their_sides():
    ones, others = np.array([[30, 40, 10, 20], [35, 40, 10, 20]]), np.array([[35, 45, 10, 20]])
    corners = [np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) for boxes in (ones, others)]
    np.testing.assert_allclose(corner_ious(*corners), box_ious(ones, others))
    assert corner_ious([[24, 24, 40, 40]], [[40, 40, 56, 56]]).item() == 0  # they touch


def test_uncompressed_and_polygon_masks_become_run_lengths():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    runs = compress([9, 2, 2, 2, 2, 2, 5])
    polygon = filled([[2, 1, 5, 1, 5, 3, 2, 3]], (4, 6))
    np.testing.assert_array_equal(decode(runs, (4, 6)), mask)
    np.testing.assert_array_equal(decode(polygon, (4, 6)), mask)


@given(sizes.flatmap(lambda size: st.lists(arrays(bool, size), min_size=2, max_size=4)))
def test_numbers_and_strings_are_those_of_pycocotools(several):
    height, width = several[0].shape
    strings = [coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"] for mask in several]
    theirs = [{"size": [height, width], "counts": counts} for counts in strings]
    assert [encode(mask) for mask in several] == strings
    assert areas(strings).tolist() == coco.area(theirs).tolist()
    assert bounding_boxes(strings, (height, width)).tolist() == coco.toBbox(theirs).tolist()
    assert merge(strings, (height, width)) == coco.merge(theirs)["counts"]
    assert merge(strings, (height, width), len(several)) == coco.merge(theirs, intersect=True)["counts"]
    ious = coco.iou(theirs[:1], theirs[1:], [0] * (len(theirs) - 1))
    np.testing.assert_array_equal(mask_ious(strings[:1], strings[1:], (height, width)), ious)
    for mask, counts in zip(several, strings, strict=True):
        np.testing.assert_array_equal(decode(counts, (height, width)), mask)


corners = st.lists(st.tuples(*[st.floats(-15, 30, width=32)] * 2), min_size=3, max_size=8)


@given(sizes, st.lists(corners, min_size=1, max_size=3))
def test_polygons_are_filled_as_pycocotools_fills_them(size, several):
    flat = [np.asarray(polygon, dtype=np.float64).ravel().tolist() for polygon in several]
    assert filled(flat, size) == coco.merge(coco.frPyObjects(flat, *size))["counts"]


@given(sizes.flatmap(lambda size: arrays(bool, size)))
def test_outlines_filled_are_the_mask_and_one_a_part(mask):
    lines = outlines(mask)
    assert len(lines) == label(mask, np.ones((3, 3)))[1], "parts that touch by a corner belong together"
    if lines:
        assert filled(lines, mask.shape) == encode(mask)


def test_outlines_may_be_moved_a_little_to_save_corners():
    rows, columns = np.mgrid[:300, :400]
    disc = (rows - 150) ** 2 + (columns - 200) ** 2 < 120**2
    disc &= (rows - 150) ** 2 + (columns - 200) ** 2 > 40**2  # with a hole
    (exact,), (simple,) = outlines(disc), outlines(disc, tolerance=1.0)
    assert len(simple) < len(exact) / 8
    iou = mask_ious([encode(disc)], [filled([simple], disc.shape)], disc.shape)[0, 0]
    assert 0.98 < iou < 1


def test_strings_that_are_no_mask_are_refused():
    for counts, what in ((b"o", "malformed"), (encode(np.ones((3, 3), bool)), "covers 9 pixels"), (b"", "malformed")):
        with pytest.raises(LitetextError, match=what):
            decode(counts, (4, 4))
