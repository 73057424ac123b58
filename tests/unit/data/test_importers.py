"""Labels of other tools, in exactly the files that the tools write."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt4roi.data.errors import DataError
from gpt4roi.data.importers import IMPORTERS, import_samples
from gpt4roi.data.label_files import Source

pytest.importorskip("supervision", reason="VOC, YOLO and LabelMe are read by the package supervision")

DOG, CAT = (10.0, 20.0, 60.0, 70.0), (50.0, 0.0, 100.0, 40.0)


@pytest.fixture
def photos(picture) -> Path:
    """Two pictures of 100 x 80 pixels."""
    picture("photos/one.jpg")
    return picture("photos/two.jpg").parent


def found(samples) -> dict[str, dict[str, tuple[float, ...]]]:
    """Boxes to a hundredth of a pixel, by picture and label."""
    result: dict[str, dict[str, tuple[float, ...]]] = {}
    for sample in samples:
        boxes = {str(region.label): tuple(round(value, 2) for value in region.box_xyxy) for region in sample.regions}
        result.setdefault(sample.image.name, {}).update(boxes)
    return result


def voc_file(folder: Path, name: str, objects: list[tuple[str, tuple[int, ...]]]) -> None:
    folder.mkdir(exist_ok=True)
    body = "".join(
        f"<object><name>{label}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for label, (x0, y0, x1, y1) in objects
    )
    (folder / f"{name}.xml").write_text(
        f"<annotation><folder>photos</folder><filename>{name}.jpg</filename><path>C:\\Users\\me\\{name}.jpg</path>"
        f"<source><database>Unknown</database></source><size><width>100</width><height>80</height><depth>3</depth></size>"
        f"<segmented>0</segmented>{body}</annotation>"
    )


def test_voc(photos, tmp_path):
    # Pixel indices from 1, both ends included: the left edge of index 11 is 10.
    voc_file(tmp_path / "voc", "one", [("dog", (11, 21, 60, 70)), ("cat", (51, 1, 100, 40))])
    voc_file(tmp_path / "voc", "two", [])
    samples = import_samples("voc", Source(tmp_path / "voc", photos))
    assert found(samples) == {"one.jpg": {"dog": DOG, "cat": CAT}}
    assert samples.left_out == {"pictures without a usable box": 1}
    assert samples[0].conversation[1].content == samples[0].regions[0].label


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", "train: images/train\nval: images/val\nnc: 2\nnames: [cat, dog]\n"),
        ("data.yaml", "names:\n  0: cat\n  1: dog\n"),
        ("classes.txt", "cat\ndog\n"),
    ],
)
def test_yolo(photos, tmp_path, name, content):
    (tmp_path / "labels").mkdir()
    (tmp_path / name).write_text(content)
    # Box by centre and size; polygon by its points; both in shares of the picture.
    (tmp_path / "labels/one.txt").write_text("1 0.35 0.5625 0.5 0.625\n0 0.5 0 1 0 1 0.5 0.5 0.5\n")
    (tmp_path / "labels/two.txt").write_text("")
    assert found(import_samples("yolo", Source(tmp_path / "labels", photos))) == {"one.jpg": {"dog": DOG, "cat": CAT}}


def test_yolo_refusals(photos, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/one.txt").write_text("1 0.35 0.5625 0.5 0.625\n")
    with pytest.raises(DataError, match="need their class names"):
        import_samples("yolo", Source(tmp_path / "labels", photos))
    (tmp_path / "short.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"one.txt: class 1 has no name; the names are numbered 0 to 0"):
        import_samples("yolo", Source(tmp_path / "labels", photos, tmp_path / "short.txt"))
    (tmp_path / "labels/one.txt").write_text("1 0.35 x 0.5 0.625\n")
    with pytest.raises(DataError, match=r"one.txt: "):
        import_samples("yolo", Source(tmp_path / "labels", photos, tmp_path / "short.txt"))


def labelme_shape(label: str, shape_type: str, points: list[list[float]]) -> dict:
    return {"label": label, "points": points, "group_id": None, "description": "", "shape_type": shape_type, "flags": {}}


def test_labelme(photos, write_json, tmp_path):
    shapes = [
        labelme_shape("dog", "rectangle", [[60.0, 70.0], [10.0, 20.0]]),  # drawn from the lower right corner
        labelme_shape("cat", "polygon", [[50.0, 0.0], [100.0, 10.0], [70.0, 40.0]]),
        labelme_shape("spot", "point", [[5.0, 5.0]]),
    ]
    shared = {"version": "5.5.0", "flags": {}, "imageData": None, "imageHeight": 80, "imageWidth": 100}
    write_json("labels/one.json", {**shared, "shapes": shapes, "imagePath": "..\\photos\\one.jpg"})
    samples = import_samples("labelme", Source(tmp_path / "labels", photos))
    assert found(samples) == {"one.jpg": {"dog": DOG, "cat": CAT}}
    assert samples.left_out == {"shapes that are neither rectangle nor polygon": 1}


def labelstudio_box(label: str, x: float, y: float, width: float, height: float, rotation: float = 0) -> dict:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": [label]}
    shared = {"original_width": 100, "original_height": 80, "image_rotation": 0, "from_name": "label", "to_name": "image"}
    return {**shared, "value": value, "id": "k1", "type": "rectanglelabels", "origin": "manual"}


def test_labelstudio(photos, write_json):
    points = {"points": [[50, 0], [100, 10], [70, 50]], "closed": True, "polygonlabels": ["cat"]}
    polygon = {"value": points, "id": "k2", "type": "polygonlabels", "original_width": 100, "original_height": 80}
    choice = {"value": {"choices": ["good"]}, "type": "choices", "id": "k3"}
    results = [labelstudio_box("dog", 10, 25, 50, 62.5), polygon, choice, labelstudio_box("tilted", 1, 1, 9, 9, rotation=30)]
    cancelled = {"id": 2, "was_cancelled": True, "result": [labelstudio_box("wrong", 0, 0, 50, 50)]}
    path = write_json(
        "export.json",
        [
            {
                "id": 1,
                "data": {"image": "/data/upload/3/0a1b2c3d-one.jpg"},
                "annotations": [{"id": 1, "was_cancelled": False, "result": results}, cancelled],
            },
            {
                "id": 2,
                "data": {"photo": "/data/local-files/?d=photos%2Ftwo.jpg"},
                "annotations": [{"id": 3, "result": [labelstudio_box("dog", 10, 25, 50, 62.5)]}],
            },
        ],
    )
    samples = import_samples("labelstudio", Source(path, photos))
    assert found(samples) == {"one.jpg": {"dog": DOG, "cat": CAT}, "two.jpg": {"dog": DOG}}
    assert samples.left_out == {"results that are no upright labelled box or polygon": 2}


@pytest.mark.parametrize(
    ("heading", "space", "row"),
    [
        ("image,x0,y0,x1,y1,label", "pixels", "one.jpg,10,20,60,70,dog"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "pixels", "one.jpg,100,80,dog,10,20,60,70"),
        ("image_path,x1,y1,x2,y2,class_name", "pixels", "somewhere/one.jpg,10,20,60,70,dog"),
        ("label,left,top,right,bottom,path", "unit", "dog,0.1,0.25,0.6,0.875,one.jpg"),
        ("Image,X0,Y0,X1,Y1,Label", "thousandths", "one,100,250,600,875,dog"),
    ],
)
def test_csv(photos, tmp_path, heading, space, row):
    (tmp_path / "labels.csv").write_text(f"\ufeff{heading}\n{row}\n", encoding="utf-8")
    assert found(import_samples("csv", Source(tmp_path / "labels.csv", photos, space=space))) == {"one.jpg": {"dog": DOG}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the heading must be like image,x0,y0,x1,y1,label; it is empty"),
        ("image,x,y,w,h,label\n", "line 1: the heading must be like .* it is image,x,y,w,h,label"),
        ("image,x0,y0,x1,y1,label\none.jpg,1,2,3,4,dog\none.jpg,1,2,,4,dog\n", "line 3: a box is four numbers"),
        ("image,x0,y0,x1,y1,label\n", "no labelled box was found"),
        ("image,x0,y0,x1,y1,label\none.jpg,500,2,600,4,dog\n", "no labelled box was found .left out: 1 boxes under 1 px"),
    ],
)
def test_csv_refusals(photos, tmp_path, content, message):
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        import_samples("csv", Source(tmp_path / "labels.csv", photos))


def test_coco(photos, write_json):
    annotations = [
        {"id": 1, "image_id": 5, "category_id": 7, "bbox": [10, 20, 50, 50], "iscrowd": 0, "area": 2500},
        {"id": 2, "image_id": 5, "category_id": 2, "bbox": [50, 0, 70, 40], "iscrowd": 0, "area": 2800},
    ]
    categories = [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]
    images = [{"id": 5, "file_name": "photos/one.jpg", "width": 100, "height": 80}]
    path = write_json("coco.json", {"images": images, "annotations": annotations, "categories": categories})
    assert found(import_samples("coco", Source(path, photos))) == {"one.jpg": {"dog": DOG, "cat": CAT}}


def test_missing_pictures_are_told_at_once(photos, tmp_path):
    for name in ("one", "gone1", "gone2"):
        voc_file(tmp_path / "voc", name, [("dog", (11, 21, 60, 70))])
    with pytest.raises(DataError, match=r"2 pictures are not in .*photos, for example gone1.jpg, gone2.jpg; .*--skip-missing"):
        import_samples("voc", Source(tmp_path / "voc", photos))
    samples = import_samples("voc", Source(tmp_path / "voc", photos), skip_missing=True)
    assert len(samples) == 1 and samples.left_out == {"pictures that are missing": 2}


def test_questions_limits_and_words(photos, tmp_path):
    rows = "".join(f"one.jpg,{i},0,{i + 20},20,hot_dog\n" for i in range(5))
    (tmp_path / "labels.csv").write_text(f"image,x0,y0,x1,y1,label\n{rows}two.jpg,1,1,9,9,cat\n")
    source = Source(tmp_path / "labels.csv", photos)
    samples = import_samples("csv", source, roles=("name", "count"), max_regions=3, plain_words=True)
    assert [len(sample.regions) for sample in samples] == [3, 2, 1]
    assert [sample.conversation[-1].content for sample in samples] == ["Three.", "Two.", "cat"]
    assert samples[0].conversation[1].content == "hot dog"
    only_count = import_samples("csv", source, roles=("count",))
    assert len(only_count) == 1 and only_count.left_out == {"pictures with too few boxes for the questions": 1}


@pytest.mark.parametrize("name", ["voc", "yolo", "labelme"])
def test_empty_folders(name, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"there are no .* files here"):
        import_samples(name, Source(tmp_path / "empty", photos))


def test_a_file_that_is_something_else(photos, write_json, tmp_path):
    with pytest.raises(DataError, match="a Label Studio export is a list"):
        import_samples("labelstudio", Source(write_json("x.json", {}), photos))
    with pytest.raises(DataError, match="a task needs"):
        import_samples("labelstudio", Source(write_json("x.json", [{"data": {}}]), photos))
    with pytest.raises(DataError, match='a LabelMe file is an object with "shapes"'):
        import_samples("labelme", Source(write_json("labels/x.json", []), photos))
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/one.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    with pytest.raises(DataError, match=r"one.xml: Missing bndbox"):
        import_samples("voc", Source(tmp_path / "voc", photos))


def test_the_command_offers_every_importer():
    from gpt4roi.commands.data import IMPORT_FORMATS, QUESTION_ROLES
    from gpt4roi.data.label_questions import LABEL_ROLES, TEXT_ROLES

    assert set(IMPORT_FORMATS) == set(IMPORTERS) and set(QUESTION_ROLES) == {*LABEL_ROLES, *TEXT_ROLES}
