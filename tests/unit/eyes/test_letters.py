"""Letters are read, with the boxes of their lines."""

from __future__ import annotations

import cv2
import numpy as np

from gpt4roi.eyes.letters import read_lines


def test_two_lines_are_read_where_they_stand() -> None:
    image = np.full((240, 480, 3), 255, np.uint8)
    cv2.putText(image, "OPEN DAILY", (40, 80), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(image, "ROOM 27", (60, 190), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (0, 0, 0), 3, cv2.LINE_AA)
    lines = read_lines(image)
    assert [line.text.replace(" ", "") for line in lines] == ["OPENDAILY", "ROOM27"]
    assert lines[0].box_xyxy[3] < lines[1].box_xyxy[1] < 240 and all(line.score > 0.5 for line in lines)


def test_nothing_is_read_where_nothing_stands() -> None:
    assert read_lines(np.full((64, 64, 3), 128, np.uint8)) == []
