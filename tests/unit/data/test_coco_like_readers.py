"""COCO detection, RefCOCO in both published forms, Visual Genome in both."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from gpt4roi.conversation import mentioned_numbers
from gpt4roi.data.coco_detection import read_coco_detection
from gpt4roi.data.errors import DataError
from gpt4roi.data.refcoco import read_refcoco
from gpt4roi.data.sample import Sample
from gpt4roi.data.visual_genome import read_visual_genome


def coco_annotation(annotation_id: int, image_id: int, category_id: int, bbox: list[float], **more: object) -> dict:
    segmentation = [[bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1], bbox[0], bbox[1] + bbox[3]]]
    box = {"segmentation": segmentation, "area": bbox[2] * bbox[3], "iscrowd": 0, "image_id": image_id, "bbox": bbox}
    return {**box, "category_id": category_id, "id": annotation_id, **more}


def coco_image(image_id: int, file_name: str, width: int = 640, height: int = 480, **more: object) -> dict:
    times = {"date_captured": "2013-11-14 17:02:52", "coco_url": f"http://images.cocodataset.org/train2017/{file_name}"}
    return {"license": 4, "file_name": file_name, "height": height, "width": width, "id": image_id, **times, **more}


CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "vehicle", "id": 3, "name": "car"},
    {"supercategory": "indoor", "id": 90, "name": "toothbrush"},
]


def answers(sample: Sample) -> dict[int, str]:
    """Answer by the region that its question names."""
    pairs = zip(sample.conversation[::2], sample.conversation[1::2], strict=True)
    return {mentioned_numbers(question.content)[0]: answer.content for question, answer in pairs}


# COCO detection


def test_coco_boxes_names_and_what_is_left_out(write_json):
    path = write_json(
        "instances_train2017.json",
        {
            "info": {},
            "licenses": [],
            "categories": CATEGORIES,
            "images": [coco_image(9, "000000000009.jpg"), coco_image(25, "000000000025.jpg"), coco_image(30, "000000000030.jpg")],
            "annotations": [
                coco_annotation(1, 9, 90, [10.5, 20.0, 100.0, 50.0]),
                coco_annotation(2, 9, 1, [600.0, 400.0, 60.0, 90.0]),  # leaves the image: clipped to 40 x 80
                coco_annotation(3, 9, 3, [0.0, 0.0, 31.0, 200.0]),  # a side under 32
                coco_annotation(4, 9, 1, [0.0, 0.0, 300.0, 300.0], iscrowd=1),
                coco_annotation(5, 25, 3, [5.0, 5.0, 10.0, 10.0]),
            ],
        },
    )
    samples = read_coco_detection(path, "pictures")
    assert len(samples) == 1
    (sample,) = samples
    assert sample.image == Path("pictures/000000000009.jpg") and sample.image_size_wh == (640, 480)
    expected = {((10.5, 20.0, 110.5, 70.0), "toothbrush"), ((600.0, 400.0, 640.0, 480.0), "person")}
    assert {(region.box_xyxy, region.label) for region in sample.regions} == expected
    assert answers(sample) == {1: sample.regions[0].label, 2: sample.regions[1].label}
    assert dict(samples.left_out) == {"boxes under 32 px": 2, "crowd boxes": 1, "pictures without a usable box": 2}


def test_coco_shuffles_whole_boxes_by_seed_and_loses_none_to_the_limit(write_json):
    annotations = [coco_annotation(i, 9, 1 if i % 2 else 3, [10.0 * i, 0.0, 40.0, 40.0]) for i in range(1, 8)]
    images = [coco_image(9, "a.jpg")]
    path = write_json("instances.json", {"images": images, "annotations": annotations, "categories": CATEGORIES})
    samples = read_coco_detection(path, "", max_regions=3, seed=1)
    assert [len(sample.regions) for sample in samples] == [3, 3, 1]
    boxes = [region for sample in samples for region in sample.regions]
    assert {region.box_xyxy[0]: region.label for region in boxes} == {10.0 * i: "person" if i % 2 else "car" for i in range(1, 8)}
    assert all(answers(sample) == {n: region.label for n, region in enumerate(sample.regions, 1)} for sample in samples)
    assert read_coco_detection(path, "", max_regions=3, seed=1) == samples
    assert read_coco_detection(path, "", max_regions=3, seed=2) != samples
    assert len({sample.sample_id for sample in samples}) == 3


def test_category_names_go_by_id_not_by_place(write_json):
    """COCO's ids have gaps and LVIS's list once lost a comma in the reference, which shifted every later name by one (its defect 3)."""
    names = [{"id": i, "name": f"class_{i}"} for i in (2, 5, 938, 939, 1203)]
    annotations = [coco_annotation(i, 1, category["id"], [50.0 * i, 0, 40, 40]) for i, category in enumerate(names)]
    path = write_json("lvis_v1_train.json", {"images": [coco_image(1, "a.jpg")], "annotations": annotations, "categories": names[::-1]})
    (sample,) = read_coco_detection(path, "")
    assert {region.box_xyxy[0]: region.label for region in sample.regions} == {50.0 * i: f"class {c['id']}" for i, c in enumerate(names)}


def test_lvis_v1_names_images_by_address(write_json):
    image = {"id": 1, "width": 100, "height": 100, "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg"}
    path = write_json("lvis.json", {"images": [image], "annotations": [coco_annotation(1, 1, 3, [0, 0, 50, 50])], "categories": CATEGORIES})
    assert read_coco_detection(path, "p")[0].image == Path("p/000000391895.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is an object with"),
        ({"images": []}, 'no "annotations"'),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\]: .* needs file_name"),
        ({"images": [coco_image(1, "a.jpg")], "annotations": [{"image_id": 1}]}, r"annotations\[0\]: .* needs bbox, category_id"),
        (
            {"images": [coco_image(1, "a.jpg")], "annotations": [coco_annotation(7, 2, 1, [0, 0, 9, 9])]},
            r"annotations\[0\]: names picture 2, which is not in the file",
        ),
        (
            {"images": [coco_image(1, "a.jpg")], "annotations": [coco_annotation(7, 1, 4, [0, 0, 90, 90])], "categories": CATEGORIES},
            "annotation 7: category 4 is not in the file's categories",
        ),
        (
            {"images": [coco_image(1, "a.jpg")], "annotations": [{**coco_annotation(7, 1, 1, [0, 0, 9, 9]), "bbox": [1, 2, 3]}]},
            "annotation 7: boxes must be lists of four numbers",
        ),
    ],
)
def test_a_broken_coco_file_is_named_with_the_place(write_json, content, message):
    path = write_json("broken.json", content)
    with pytest.raises(DataError, match=f"broken.json.*{message}"):
        read_coco_detection(path, "")


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_coco_detection(tmp_path / "none.json", "")
    (tmp_path / "cut.json").write_text('{"images": [\n{"id":')
    with pytest.raises(DataError, match=r"cut.json, line 2: not JSON"):
        read_coco_detection(tmp_path / "cut.json", "")


def test_unknown_role_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot answer 'colour'"):
        read_coco_detection(tmp_path / "x.json", "", roles=("colour",))


# RefCOCO


def mdetr_entry(entry_id: int, original_id: int, caption: str) -> dict:
    return {
        "file_name": f"COCO_train2014_{original_id:012d}.jpg",
        "height": 480,
        "width": 640,
        "id": entry_id,
        "original_id": original_id,
        "caption": caption,
        "dataset_name": "refcoco",
        "tokens_negative": [[0, len(caption)]],
    }


def mdetr_annotation(annotation_id: int, entry_id: int, bbox: list[float]) -> dict:
    return coco_annotation(annotation_id, entry_id, 1, bbox, tokens_positive=[[0, 3]], original_id=annotation_id + 1000)


@pytest.fixture
def mdetr_refcoco(write_json) -> Path:
    captions = ["the lady with the blue shirt", "blue", "man on the far left", "dog behind the sofa"]
    return write_json(
        "finetune_refcoco_train.json",
        {
            "info": [],
            "licenses": [],
            # Ids start elsewhere than the places in the list do: an index by place would take another image's boxes.
            "images": [mdetr_entry(100 + i, 581857 + i // 2, caption) for i, caption in enumerate(captions)],
            "annotations": [mdetr_annotation(i, 100 + i, [10.0 * i, 20.0, 30.0, 40.0]) for i in (3, 2, 1, 0)],
            "categories": [{"supercategory": "object", "id": 1, "name": "object"}],
        },
    )


def test_refcoco_of_mdetr(mdetr_refcoco):
    samples = read_refcoco(mdetr_refcoco, "train2014", dataset="refcoco")
    assert [(sample.regions[0].box_xyxy, sample.conversation[1].content) for sample in samples] == [
        ((0.0, 20.0, 30.0, 60.0), "the lady with the blue shirt"),
        ((20.0, 20.0, 50.0, 60.0), "man on the far left"),
        ((30.0, 20.0, 60.0, 60.0), "dog behind the sofa"),
    ]
    assert samples[1].image == Path("train2014/COCO_train2014_000000581858.jpg")
    assert dict(samples.left_out) == {"expressions under 3 words": 1}
    assert len(read_refcoco(mdetr_refcoco, "", dataset="refcoco", min_words=1)) == 4


def test_coco_2014_names_are_found_in_a_2017_folder(mdetr_refcoco, image):
    folder = image("train2017/000000581857.jpg").parent
    samples = read_refcoco(mdetr_refcoco, folder, dataset="refcoco")
    assert samples[0].image == folder / "000000581857.jpg"


@pytest.fixture
def original_refcoco(tmp_path, write_json) -> Path:
    refs = [
        {
            "sent_ids": [0, 1, 2],
            "file_name": "COCO_train2014_000000581857_16.jpg",
            "ann_id": 1719310,
            "ref_id": 0,
            "image_id": 581857,
            "split": "train",
            "category_id": 1,
            "sentences": [
                {"tokens": ["the", "lady", "left"], "raw": "THE LADY LEFT", "sent_id": 0, "sent": "the lady left"},
                {"tokens": ["lady", "in", "blue"], "raw": "lady in blue", "sent_id": 1, "sent": "lady in blue"},
            ],
        },
        {
            "sent_ids": [3],
            "file_name": "COCO_train2014_000000581857_2.jpg",
            "ann_id": 5,
            "ref_id": 1,
            "image_id": 581857,
            "split": "val",
            "category_id": 3,
            "sentences": [{"tokens": ["car"], "raw": "the red car", "sent_id": 3, "sent": "the red car"}],
        },
    ]
    path = tmp_path / "refs(unc).p"
    # Protocol 0, as Python 2 wrote them.
    path.write_bytes(pickle.dumps(refs, protocol=0))
    write_json(
        "instances.json",
        {
            "images": [coco_image(581857, "COCO_train2014_000000581857.jpg")],
            "annotations": [coco_annotation(5, 581857, 3, [1, 2, 30, 40]), coco_annotation(1719310, 581857, 1, [50, 60, 70, 80])],
            "categories": CATEGORIES,
        },
    )
    return path


def test_refcoco_original(original_refcoco):
    samples = read_refcoco(original_refcoco, "pictures", dataset="refcoco+")
    assert [sample.conversation[1].content for sample in samples] == ["THE LADY LEFT", "lady in blue"]
    assert {sample.regions[0].box_xyxy for sample in samples} == {(50.0, 60.0, 120.0, 140.0)}
    assert samples[0].image == Path("pictures/COCO_train2014_000000581857.jpg")
    assert len({sample.sample_id for sample in samples}) == 2
    (val,) = read_refcoco(original_refcoco, "", dataset="refcoco+", split="val")
    assert val.regions[0].box_xyxy == (1.0, 2.0, 31.0, 42.0)
    assert len(read_refcoco(original_refcoco, "", dataset="refcoco+", split=None)) == 3


def test_refcoco_refusals(original_refcoco, tmp_path):
    with pytest.raises(DataError, match="has no split 'testA'; it has train, val"):
        read_refcoco(original_refcoco, "", dataset="refcoco", split="testA")
    with pytest.raises(DataError, match="unknown RefCOCO data set 'refclef'"):
        read_refcoco(original_refcoco, "", dataset="refclef")
    (tmp_path / "instances.json").unlink()
    with pytest.raises(DataError, match=r"instances.json: there is no such file"):
        read_refcoco(original_refcoco, "", dataset="refcoco")


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_a_pickle_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refs(evil).p"
    path.write_bytes(pickle.dumps([Bomb()]))
    with pytest.raises(DataError, match="not a pickle of plain data: it asks for"):
        read_refcoco(path, "", dataset="refcoco")
    assert not Path("exploded").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2])[:-3], pickle.dumps({"refs": []})])
def test_damaged_pickles(tmp_path, content):
    path = tmp_path / "refs(unc).p"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"refs\(unc\).p"):
        read_refcoco(path, "", dataset="refcoco")


# Visual Genome


def test_visual_genome_of_grit(write_json):
    annotations = [
        coco_annotation(1, 2, 1, [10, 10, 50, 50], caption="a red kite "),
        coco_annotation(2, 2, 1, [90, 20, 30, 30], caption="sky above"),
        coco_annotation(3, 2, 1, [98, 20, 2, 0], caption="no height"),
    ]
    categories = [{"id": 1, "name": "object", "supercategory": "object"}]
    path = write_json("train.json", {"images": [coco_image(2, "2.jpg", 100, 100)], "annotations": annotations, "categories": categories})
    samples = read_visual_genome(path, "vg")
    (sample,) = samples
    labels = {"a red kite": (10.0, 10.0, 60.0, 60.0), "sky above": (90.0, 20.0, 100.0, 50.0)}
    assert {region.label: region.box_xyxy for region in sample.regions} == labels
    assert answers(sample) == {1: sample.regions[0].label, 2: sample.regions[1].label}
    assert dict(samples.left_out) == {"boxes under 1 px": 1}


def vg_region(region_id: int, image_id: int, box: tuple[int, int, int, int], phrase: str) -> dict:
    x, y, width, height = box
    return {"region_id": region_id, "width": width, "height": height, "image_id": image_id, "phrase": phrase, "y": y, "x": x}


@pytest.fixture
def original_vg(write_json) -> Path:
    write_json(
        "image_data.json",
        [
            {
                "width": 800,
                "url": "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg",
                "height": 600,
                "image_id": 1,
                "coco_id": None,
                "flickr_id": None,
            }
        ],
    )
    regions = [
        vg_region(1382, 1, (421, 57, 82, 139), "the clock is green in colour"),
        vg_region(1383, 1, (700, 500, 300, 300), "the shade is along the street"),  # leaves the image
        vg_region(1384, 1, (900, 10, 20, 20), "outside"),
        vg_region(1385, 1, (5, 5, 20, 20), " "),
    ]
    return write_json("region_descriptions.json", [{"id": 1, "regions": regions}])


def test_visual_genome_original(original_vg, image):
    samples = read_visual_genome(original_vg, "images")
    (sample,) = samples
    boxes = {"the clock is green in colour": (421.0, 57.0, 503.0, 196.0), "the shade is along the street": (700.0, 500.0, 800.0, 600.0)}
    assert {region.label: region.box_xyxy for region in sample.regions} == boxes
    assert sample.image == Path("images/VG_100K_2/1.jpg") and sample.image_size_wh == (800, 600)
    assert sum(samples.left_out.values()) == 2
    flat = image("flat/1.jpg").parent
    assert read_visual_genome(original_vg, flat)[0].image == flat / "1.jpg"


def test_visual_genome_refusals(original_vg, write_json):
    write_json("image_data.json", [{"image_id": 7, "width": 1, "height": 1, "url": "a/7.jpg"}])
    with pytest.raises(DataError, match=r"record 0: picture 1 is not in .*image_data.json"):
        read_visual_genome(original_vg, "")
    write_json("region_descriptions.json", [{"id": 7, "regions": [{"x": 1}]}])
    with pytest.raises(DataError, match=r"record 0: .* missing 'y'"):
        read_visual_genome(original_vg, "")
