"""Ink is joined and parted in every way that may make digits of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.pictures.parting import MOST_PARTED, find_seams, find_ways, part
from app.pictures.pieces import Piece, find_pieces

Picture = NDArray[np.uint8]


def rings(*across: int, height: int = 80) -> Picture:
    """Return ellipses so tall, 60 wide, white on black, with their middles in these columns."""
    picture = np.zeros((120, max(across) + 60), np.uint8)
    for middle in across:
        cv2.ellipse(picture, (middle, 60), (30, height // 2), 0, 0, 360, 255, 6)
    return picture


def pieces_of(picture: Picture) -> tuple[NDArray[np.int32], list[Piece]]:
    return find_pieces(picture > 127, (picture / 255).astype(np.float32))


def test_a_seam_leads_between_two_rings_that_touch() -> None:
    picture = rings(50, 110)
    labels, (whole,) = pieces_of(picture)
    left, top, right, bottom = whole.box
    seams = find_seams(labels[top:bottom, left:right] > 0, whole.width)
    best = min(seams, key=lambda seam: float(np.abs(seam.columns + left - 80).max()))
    assert np.abs(best.columns + left - 80).max() <= 6
    assert [float(seam.columns.mean()) for seam in seams] == sorted(seam.columns.mean() for seam in seams)


def test_the_parts_of_ink_are_all_of_it_from_left_to_right() -> None:
    labels, (whole,) = pieces_of(rings(50, 108, 166))
    ((parts,),), parted = part([[whole]], labels, MOST_PARTED)
    assert len(parts) > 2
    np.testing.assert_array_equal(parted > 0, labels > 0)
    assert set(np.unique(parted)) == {0, *(label for one in parts for label in one.labels)}
    lefts = [one.box[0] for one in parts]
    assert lefts == sorted(lefts)
    assert parts[0].cut == 0 < min(one.cut for one in parts[1:])
    # What was given is as it was.
    assert set(np.unique(labels)) == {0, *whole.labels}


@pytest.mark.parametrize("most", [0, 1, 2])
def test_nothing_is_parted_if_more_may_be_several_digits_than_are_asked_for(most: int) -> None:
    picture = np.concatenate([rings(50, 108)] * 2, axis=1)
    labels, pieces = pieces_of(picture)
    ((first, second),), parted = part([pieces], labels, most)
    assert (len(first) > 1, len(second) > 1) == ((True, True) if most == 2 else (False, False))
    assert (parted is labels) == (most < 2)


def test_a_narrow_digit_is_never_parted() -> None:
    labels, (whole,) = pieces_of(rings(50, height=90))
    ((parts,),), _ = part([[whole]], labels, MOST_PARTED)
    assert [one.labels for one in parts] == [whole.labels]


def test_ink_is_taken_whole_and_in_parts_that_follow_one_another() -> None:
    labels, pieces = pieces_of(np.concatenate([rings(50, 108), rings(40, height=90)], axis=1))
    line = sorted(pieces, key=lambda piece: piece.box[0])
    ((parts, alone),), _ = part([line], labels, MOST_PARTED)
    ways = list(find_ways(line, [parts, alone]))
    count = len(parts)
    assert len(alone) == 1
    assert len({(way.first, way.last) for way in ways}) == len(ways)
    (whole,) = [way for way in ways if (way.first, way.last) == (0, count - 1)]
    assert (whole.is_seamed, whole.is_part, whole.strangeness) == (True, False, 0.0)
    assert whole.box == line[0].box
    (narrow,) = [way for way in ways if (way.first, way.last) == (count, count)]
    assert (narrow.is_seamed, narrow.is_part, narrow.labels) == (False, False, line[1].labels)
    rest = [way for way in ways if way not in (whole, narrow)]
    assert all(way.is_part and way.last < count and way.strangeness > 0 for way in rest)
    # The two rings are among them.
    assert any(abs(way.box[2] - 80) < 6 and way.first == 0 for way in rest)
