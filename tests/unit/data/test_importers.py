"""Labels of other tools, in exactly the files that the tools write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from gpt4roi.data.errors import DataError
from gpt4roi.data.importers import IMPORTERS, import_samples
from gpt4roi.data.label_files import Source
from gpt4roi.data.text_files import read_text

pytest.importorskip("supervision", reason="VOC, YOLO and LabelMe are read by the package supervision")

DOG, CAT = (10.0, 20.0, 60.0, 70.0), (50.0, 0.0, 100.0, 40.0)


@pytest.fixture
def photos(image) -> Path:
    """Two images of 100 x 80 pixels."""
    image("photos/one.jpg")
    return image("photos/two.jpg").parent


def found(samples) -> dict[str, dict[str, tuple[float, ...]]]:
    """Boxes to a hundredth of a pixel, by image and label."""
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
    # Box by centre and size; polygon by its points; both in shares of the image.
    (tmp_path / "labels/one.txt").write_text("1 0.35 0.5625 0.5 0.625\n0 0.5 0 1 0 1 0.5 0.5 0.5\n")
    (tmp_path / "labels/two.txt").write_text("")
    assert found(import_samples("yolo", Source(tmp_path / "labels", photos))) == {"one.jpg": {"dog": DOG, "cat": CAT}}


def test_yolo_refusals(photos, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/one.txt").write_text("1 0.35 0.5625 0.5 0.625\n")
    with pytest.raises(DataError, match="need their class names"):
        import_samples("yolo", Source(tmp_path / "labels", photos))
    (tmp_path / "short.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"one.txt: line 1: class 1 has no name; the names are numbered 0 to 0"):
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
    assert samples.left_out == {"shapes that enclose nothing (points, lines)": 1}


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
    # 30 degrees about (1, 0.8): 1 - 7.2 sin 30 is outside, 1 + 9 cos 30 = 8.79; 0.8 + 9 sin 30 + 7.2 cos 30 = 11.54.
    assert found(samples) == {"one.jpg": {"dog": DOG, "cat": CAT, "tilted": (0.0, 0.8, 8.79, 11.54)}, "two.jpg": {"dog": DOG}}
    assert samples.left_out == {}


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
        ("image,x0,y0,x1,y1,label\none.jpg,1,2,,4,dog\n", "line 2: a box is four numbers"),
        ("image,x0,y0,x1,y1,label\none.jpg,0.1,0.2,0.3,0.4,dog\n", "give --space unit"),
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


def test_missing_images_are_told_at_once(photos, tmp_path):
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
    with pytest.raises(DataError, match="no LabelMe file"):
        import_samples("labelme", Source(write_json("labels/x.json", []), photos))
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc/one.xml").write_text("<annotation><object><name>dog</name></object></annotation>")
    with pytest.raises(DataError, match=r"one.xml: Missing bndbox"):
        import_samples("voc", Source(tmp_path / "voc", photos))


def test_the_command_offers_every_importer():
    from gpt4roi.commands.data import IMPORT_FORMATS, QUESTION_ROLES
    from gpt4roi.data.label_questions import LABEL_ROLES, TEXT_ROLES

    assert set(IMPORT_FORMATS) == set(IMPORTERS) and set(QUESTION_ROLES) == {*LABEL_ROLES, *TEXT_ROLES}


# Files as people's programs write them (public bug reports of the tools named); the right values are worked out by hand.


def write_image(path: Path, size: tuple[int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path)
    return path


def boxes_of(samples) -> dict[str, dict[str, tuple[float, ...]]]:
    return {
        f"{sample.image.parent.name}/{sample.image.name}": {
            region.label: tuple(round(v, 3) for v in region.box_xyxy) for region in sample.regions
        }
        for sample in samples
    }


def test_yolo_pose_labels_have_a_box_before_their_key_points(tmp_path):
    write_image(tmp_path / "images/a.jpg", (640, 480))
    (tmp_path / "data.yaml").write_text("names: [person]\nkpt_shape: [3, 3]\n")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.1 2 0.5 0.9 1\n")
    samples = import_samples("yolo", Source(tmp_path / "labels", tmp_path / "images"))
    assert boxes_of(samples) == {"images/a.jpg": {"person": (160, 120, 480, 360)}}


def test_yolo_trees_as_the_tools_unpack_them(tmp_path):
    """images/train beside labels/train, a read-me and CVAT's list of images, equal names in two folders, a class file with a byte-order mark."""
    for split, size in (("train", (100, 80)), ("val", (200, 100))):
        write_image(tmp_path / f"images/{split}/0001.jpg", size)
        (tmp_path / f"labels/{split}").mkdir(parents=True)
        (tmp_path / f"labels/{split}/0001.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog\r\n")
    (tmp_path / "README.roboflow.txt").write_text("Exported by a tool")
    (tmp_path / "train.txt").write_text("data/obj_train_data/0001.jpg\n")
    samples = import_samples("yolo", Source(tmp_path, tmp_path))
    assert boxes_of(samples) == {"train/0001.jpg": {"cat": (0, 0, 100, 80)}, "val/0001.jpg": {"cat": (0, 0, 200, 100)}}


def test_one_bad_line_or_file_does_not_end_an_import(photos, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/one.txt").write_text("0 0.35 0.5625 0.5 0.625\n0 0.35 x 0.5\n")
    (tmp_path / "classes.txt").write_text("dog\n")
    samples = import_samples("yolo", Source(tmp_path / "labels", photos, tmp_path / "classes.txt"))
    assert len(samples) == 1 and sum(samples.left_out.values()) == 1 and "one.txt: line 2" in next(iter(samples.left_out))
    (tmp_path / "voc").mkdir()
    voc_file(tmp_path / "voc", "one", [("dog", (10, 20, 60, 70))])
    (tmp_path / "voc/broken.xml").write_text("<annotation><object>")
    samples = import_samples("voc", Source(tmp_path / "voc", photos))
    assert len(samples) == 1 and "broken.xml: not XML" in next(iter(samples.left_out))


def test_labelme_files_of_old_and_of_other_programs(tmp_path):
    for folder, size in (("day", (320, 240)), ("night", (640, 480))):
        write_image(tmp_path / folder / "0001.jpg", size)
    old = {"label": "door", "points": [[100, 50], [300, 50], [300, 200], [100, 200]]}
    circle = {"label": "wheel", "points": [[100, 100], [130, 140]], "shape_type": "circle"}
    parts = [{"label": "cat", "points": [[x, 0], [x + 10, 0], [x, 10]], "group_id": 3, "shape_type": "polygon"} for x in (0, 50)]
    apart = [{"label": "man", "points": [[x, 0], [x + 10, 10]], "group_id": 3, "shape_type": "rectangle"} for x in (0, 100)]
    (tmp_path / "day/0001.json").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"shapes": [old], "imagePath": "C:\\\\photos\\\\0001.jpg"}).encode()
    )
    (tmp_path / "night/0001.json").write_text(json.dumps({"shapes": [circle, *parts, *apart], "imagePath": "stale.jpg"}))
    samples = import_samples("labelme", Source(tmp_path, tmp_path))
    by_image = {sample.image.parent.name: sorted((r.label, r.box_xyxy) for r in sample.regions) for sample in samples}
    assert by_image["day"] == [("door", (100, 50, 300, 200))]
    assert by_image["night"] == [
        ("cat", (0, 0, 60, 10)), ("man", (0, 0, 10, 10)), ("man", (100, 0, 110, 10)), ("wheel", (50, 50, 150, 150)),
    ]  # fmt: skip
    assert samples.left_out == {"polygons joined with another of their group": 1}


def test_labelstudio_turned_boxes_ellipses_and_second_labels(tmp_path, write_json):
    write_image(tmp_path / "photos/a.jpg", (640, 480))
    turned = {"x": 50, "y": 50, "width": 10, "height": 20, "rotation": 90, "rectanglelabels": ["car", "damaged"]}
    round_one = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["ball"]}
    task = {
        "data": {"image": "a.jpg"},
        "annotations": [{"result": [{"value": turned}, {"value": round_one}, {"value": {"choices": ["good"]}}, 7]}],
    }
    samples = import_samples("labelstudio", Source(write_json("export.json", [task]), tmp_path / "photos"))
    assert boxes_of(samples) == {"photos/a.jpg": {"car, damaged": (224, 240, 320, 304), "ball": (256, 144, 384, 336)}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"].append(dict(c["images"][0])), r"images\[1\]: has the id 1 of images\[0\]"),
        (lambda c: c["categories"].append({"id": 1, "name": "cat"}), r"categories\[1\]: has the id 1 of categories\[0\]"),
        (lambda c: c["categories"].append({"id": 2}), r'categories\[1\]: "categories" needs name'),
        (lambda c: c["categories"].append(None), r'categories\[1\]: "categories" needs id, name'),
        (lambda c: c["images"].append({"id": [1], "file_name": "b.jpg"}), "an id is a number or a text"),
    ],
)
def test_coco_files_whose_ids_do_not_tell_things_apart(photos, write_json, change, message):
    content = {
        "images": [{"id": 1, "file_name": "one.jpg", "width": 100, "height": 80}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 20, 20]}],
    }
    change(content)
    with pytest.raises(DataError, match=message):
        import_samples("coco", Source(write_json("instances.json", content), photos))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"images": ' + "9" * 5000 + "}", "\ufeff[", "\x00\x01"])
def test_strange_json_is_a_sentence(photos, tmp_path, content):
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError):
        import_samples("coco", Source(tmp_path / "x.json", photos))


def test_yaml_with_anchors_is_refused_before_it_is_read(photos, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/one.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n")
    with pytest.raises(DataError, match="anchors"):
        import_samples("yolo", Source(tmp_path / "labels", photos))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_text_of_other_programs(tmp_path, encoding):
    (tmp_path / "names.txt").write_bytes("猫\nкот\n".encode(encoding))
    assert read_text(tmp_path / "names.txt").split() == ["猫", "кот"]


def test_coco_files_of_converters(photos, write_json):
    """Ids as text in one place, a box that only its outline tells, annotations of nothing, and one that is no record."""
    outline = {"id": 2, "image_id": "1", "category_id": 0, "segmentation": [[10, 20, 60, 20, 60, 70]]}
    content = {
        "images": [{"id": 1, "file_name": "one.jpg", "width": 100, "height": 80}],
        "categories": [{"id": 0, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": "3", "bbox": [50, 0, 50, 40]}, outline, 7,
            {"id": 4, "image_id": 99, "category_id": 0, "bbox": [1, 1, 9, 9]}, {"id": 5, "image_id": 1, "category_id": None, "bbox": [1, 1, 9, 9]},
            {"id": 6, "image_id": 1, "category_id": 0, "bbox": []},
        ],
    }  # fmt: skip
    samples = import_samples("coco", Source(write_json("instances.json", content), photos))
    assert found(samples) == {"one.jpg": {"dog": DOG, "cat": CAT}}
    assert {reason.split(",")[0]: count for reason, count in samples.left_out.items()} == {
        "annotations of a picture that is not in the file": 1,
        "annotations of a category that is not in the file": 1,
        "annotations that cannot be read": 2,
    }


def test_names_that_label_studio_writes_for_yolo_and_voc_in_another_encoding(tmp_path):
    write_image(tmp_path / "images/Capture_décran.jpg", (100, 80))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/0a1b2c3d-Capture_d%C3%A9cran.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    assert len(import_samples("yolo", Source(tmp_path / "labels", tmp_path / "images"))) == 1
    (tmp_path / "voc").mkdir()
    xml = '<?xml version="1.0" encoding="GB2312"?><annotation><filename>Capture_décran.jpg</filename><object><name>杯子</name>'
    xml += "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>50</xmax><ymax>50</ymax></bndbox></object></annotation>"
    (tmp_path / "voc/a.xml").write_bytes(xml.replace("é", "e").encode("gb18030"))
    write_image(tmp_path / "images/Capture_decran.jpg", (100, 80))
    (sample,) = import_samples("voc", Source(tmp_path / "voc", tmp_path / "images"))
    assert sample.regions[0].label == "杯子"


@pytest.mark.parametrize(
    ("content", "space"),
    [
        ("image;x0;y0;x1;y1;label\r\none.jpg;10,0;20;60;70;dog\r\n", "pixels"),
        ("image\tx0\ty0\tx1\ty1\tlabel\r\none.jpg\t10\t20\t60\t70\tdog\r\n", "pixels"),
        ("label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\ndog,10,20,50,50,one.jpg,100,80\n", "pixels"),
        ("ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\none,xclick,dog,1,0.1,0.6,0.25,0.875\n", "unit"),
        (
            "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
            'one.jpg,1,"{}",1,0,"{""name"":""rect"",""x"":10,""y"":20,""width"":50,""height"":50}","{""class"":""dog""}"\n',
            "pixels",
        ),
    ],
    ids=["Excel semicolons", "tabs", "makesense", "Open Images", "VIA"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_of_other_programs(photos, tmp_path, content, space, encoding):
    (tmp_path / "labels.csv").write_bytes(content.encode(encoding))
    assert found(import_samples("csv", Source(tmp_path / "labels.csv", photos, space=space))) == {"one.jpg": {"dog": DOG}}


def test_labelstudio_short_and_first_exports(photos, write_json):
    value = labelstudio_box("dog", 10, 25, 50, 62.5)["value"]
    short = {"image": "/data/upload/1/1a2b3c4d-one.jpg", "id": 1, "label": [{**value, "original_width": 100}], "annotator": 1}
    first = {"id": 2, "data": {"image": "two.jpg"}, "completions": [{"id": 1, "result": [{"value": value}]}]}
    assert found(import_samples("labelstudio", Source(write_json("e.json", [short, first]), photos))) == {
        "one.jpg": {"dog": DOG},
        "two.jpg": {"dog": DOG},
    }
