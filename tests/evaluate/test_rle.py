import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from litetext.evaluate.rle import box_ious, compressed, decoded, encoded, mask_ious, run_totals

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: arrays(bool, size))


@given(st.lists(masks, min_size=1, max_size=8))
def test_run_totals_are_the_pixels_of_each_mask(several):
    assert run_totals([encoded(mask) for mask in several]).tolist() == [mask.size for mask in several]


@given(masks, st.lists(st.binary(max_size=6), max_size=4))
def test_malformed_strings_do_not_disturb_their_neighbours(mask, junk):
    totals = run_totals([*junk, encoded(mask), *junk])
    assert totals[len(junk)] == mask.size


def test_malformed_strings_have_no_total():
    unended, outside, negative, huge, empty = b"o", b"\x20", b"5L", b"ooooooooo0", b""
    assert run_totals([unended, outside, negative, huge, empty]).tolist() == [-1] * 5


def test_totals_of_a_large_mask():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[:, 1000:3500] = True
    assert run_totals([encoded(mask)]).tolist() == [12_000_000]


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_ious_are_those_of_the_pixels(height, width, data):
    several = data.draw(st.lists(arrays(bool, (height, width)), min_size=2, max_size=5))
    first, rest = several[:1], several[1:]
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in rest] for a in first]
    found = mask_ious([encoded(mask) for mask in first], [encoded(mask) for mask in rest], (height, width))
    np.testing.assert_array_equal(found, expected)


def test_box_ious_equal_pycocotools():
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    ours, theirs = rng.random((30, 4)), rng.random((20, 4))
    np.testing.assert_array_equal(box_ious(ours, theirs), coco.iou(ours, theirs, [0] * 20))
    assert box_ious([[0, 0, 0, 0]], [[0, 0, 0, 0]]).item() == 0


def test_uncompressed_and_polygon_masks_become_run_lengths():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    runs = compressed({"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]}, (4, 6))
    polygon = compressed([[2, 1, 5, 1, 5, 3, 2, 3]], (4, 6))
    np.testing.assert_array_equal(decoded(runs, (4, 6)), mask)
    np.testing.assert_array_equal(decoded(polygon, (4, 6)), mask)
