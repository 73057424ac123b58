"""Pascal VOC: one XML file an image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from gpt4roi.data.importers.common import supervision_format
from gpt4roi.data.label_files import (
    LabelledImage,
    Losses,
    Source,
    find_image,
    image_size_wh,
    label_files,
    usable_regions,
)
from gpt4roi.data.text_files import read_text


def import_voc(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    detections_from_xml_obj = supervision_format("pascal_voc").detections_from_xml_obj
    for path in label_files(source.annotations, ".xml"):
        try:
            # The text is decoded already, so that what the file declares to be written in does not matter.
            root = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", read_text(path), flags=re.DOTALL))
        except ElementTree.ParseError as error:
            losses.refuse(path, f"not XML: {error}")
            continue
        image = find_image(source.images, root.findtext("filename") or path.stem, path.stem, losses, path, source.annotations)
        if image is None:
            continue
        size = image_size_wh(image)
        try:
            detections, classes = detections_from_xml_obj(root, [], size)
        except (ValueError, TypeError, AttributeError) as error:
            losses.refuse(path, str(error))
            continue
        labels = [classes[index] for index in detections.class_id]
        yield LabelledImage(image, size, usable_regions(detections.xyxy.tolist(), labels, size, losses))
