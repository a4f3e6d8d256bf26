"""Data sets as other tools write them, each remade here: read as they are, or refused by name."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlc_edge.compiler.data.decode import decode_all
from tlc_edge.compiler.data.duplicates import join_groups
from tlc_edge.compiler.data.exports.forms import EXPORTS
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.compiler.data.records import Dataset
from tlc_edge.runtime.bundle.manifest import Preprocessing
from tlc_edge.runtime.errors import DataError

CLASSES = ("bishop", "king")
COLOURS = {"bishop": (200, 30, 30), "king": (30, 30, 200)}
SPLITS = {0: "train", 1: "train", 2: "test"}


def picture(label: str, size: int = 16, suffix: str = "PNG") -> bytes:
    """A picture whose colour says its class, not all of one colour."""
    out = io.BytesIO()
    pixels = np.full((size, size, 3), COLOURS[label], np.uint8)
    pixels[::2] //= 2
    Image.fromarray(pixels).save(out, suffix)
    return out.getvalue()


def put(path: Path, label: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture(label))
    return path.name


def each() -> list[tuple[str, int]]:
    return [(label, i) for label in CLASSES for i in range(3)]


def write_csv(path: Path, rows: list[list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def edge_impulse(root: Path) -> None:
    files = []
    for label, i in each():
        category = "testing" if i == 2 else "training"
        name = put(root / category / f"{label}.{i}.ei00{i}.png", label)
        files.append({"path": f"{category}/{name}", "category": category, "label": {"type": "label", "label": label}})
    files.append({"path": "training/sound.wav", "category": "training", "label": {"type": "label", "label": "noise"}})
    put(root / "training" / "none.png", "king")
    files.append({"path": "training/none.png", "category": "training", "label": {"type": "unlabeled"}})
    (root / "info.labels").write_text(json.dumps({"version": 1, "files": files}))


def roboflow(root: Path) -> None:
    for split in ("train", "test"):
        rows: list[list[Any]] = [["filename", " bishop", " king"]]
        for label, i in each():
            if SPLITS[i] == split:
                name = put(root / split / f"{label}{i}.png", label)
                rows.append([name, *(int(label == of) for of in CLASSES)])
        write_csv(root / split / "_classes.csv", rows)
    (root / "README.dataset.txt").write_text("exported")


def frigate(root: Path) -> None:
    for label, i in each():
        put(root / "dataset" / label / f"{i}.png", label)
    put(root / "train" / "1777526217.4-abc-unknown-0.62.png", "king")


def teachable_machine(root: Path) -> None:
    for label, i in each():
        put(root / f"{label}-!-{i}.png", label)


def samples_of_teachable_machine(root: Path) -> None:
    root.mkdir(parents=True)
    for label in CLASSES:
        with zipfile.ZipFile(root / f"{label}-samples.zip", "w") as archive:
            for i in range(3):
                archive.writestr(f"{i}.png", picture(label))


def ultralytics(root: Path) -> None:
    for label, i in each():
        put(root / SPLITS[i] / label / f"{i}.png", label)


def hugging_face_csv(root: Path) -> None:
    for split in ("train", "test"):
        names = [(put(root / split / f"{n}{i}.png", n), n) for n, i in each() if SPLITS[i] == split]
        write_csv(root / split / "metadata.csv", [["file_name", "label"], *map(list, names)])


def hugging_face_jsonl(root: Path) -> None:
    lines = []
    for label, i in each():
        name = put(root / SPLITS[i] / f"{label}{i}.png", label)
        lines.append(json.dumps({"file_name": f"{SPLITS[i]}/{name}", "label": label, "text": "x"}))
    (root / "metadata.jsonl").write_text("\n".join(lines))


def parquet(root: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    (root / "data").mkdir(parents=True)
    feature = {"info": {"features": {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}}}
    for split in ("train", "test"):
        own = [(label, i) for label, i in each() if SPLITS[i] == split]
        columns = {
            "image": [{"bytes": picture(label, 16 + i), "path": f"{label}{i}.png"} for label, i in own],
            "label": [CLASSES.index(label) for label, _ in own],
        }
        table = arrow.table(columns).replace_schema_metadata({"huggingface": json.dumps(feature)})
        files.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")


def label_studio(root: Path) -> None:
    tasks: list[dict[str, Any]] = []
    for label, i in each():
        put(root / "images" / f"{label}{i}.png", label)
        result = [{"type": "choices", "from_name": "piece", "value": {"choices": [label]}}]
        tasks.append(
            {
                "id": len(tasks),
                "data": {"image": f"/data/upload/1/1a2b3c4d-{label}{i}.png"},
                "annotations": [{"was_cancelled": True, "result": []}, {"was_cancelled": False, "result": result}],
            }
        )
    tasks.append({"id": 99, "data": {"image": "/data/upload/1/none.png"}, "annotations": []})
    (root / "project-1.json").write_text(json.dumps(tasks))


def label_studio_min(root: Path) -> None:
    tasks = []
    for label, i in each():
        put(root / f"{label}{i}.png", label)
        tasks.append({"image": f"/data/local-files/?d=photos/{label}{i}.png", "id": i, "choice": label})
    (root / "min.json").write_text(json.dumps(tasks))


def label_studio_csv(root: Path) -> None:
    rows: list[list[Any]] = [["annotation_id", "annotator", "choice", "id", "image"]]
    for label, i in each():
        put(root / "photos" / f"{label}{i}.png", label)
        rows.append([i, 1, label, i, f"/data/upload/1/1a2b3c4d-{label}{i}.png"])
    write_csv(root / "project-1.csv", rows)


def cvat_xml(root: Path) -> None:
    images = []
    for label, i in each():
        name = put(root / "images" / f"{label}{i}.png", label)
        images.append(f'<image id="{i}" name="{name}" width="16" height="16"><tag label="{label}" source="m"/></image>')
    images.append('<image id="9" name="none.png" width="16" height="16"/>')
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")


def cvat_datumaro(root: Path) -> None:
    items = []
    for label, i in each():
        name = put(root / "images" / "default" / f"{label}{i}.png", label)
        marks = [{"id": 0, "type": "label", "label_id": CLASSES.index(label)}]
        items.append({"id": f"{label}{i}", "annotations": marks, "image": {"path": name}})
    document = {"info": {}, "categories": {"label": {"labels": [{"name": of} for of in CLASSES]}}, "items": items}
    (root / "annotations").mkdir()
    (root / "annotations" / "default.json").write_text(json.dumps(document))


def kaggle(root: Path) -> None:
    rows = [["id", "label"]]
    for label, i in each():
        put(root / "train" / f"{label}{i}.png", label)
        put(root / "test" / f"{label}{i}.png", label)
        rows.append([f"{label}{i}", label])
    write_csv(root / "train.csv", rows)
    write_csv(root / "sample_submission.csv", [["id", "label"], ["x", "king"]])


def kaggle_one_hot(root: Path) -> None:
    rows: list[list[Any]] = [["image_id", *CLASSES]]
    for label, i in each():
        put(root / "images" / f"{label}{i}.png", label)
        rows.append([f"{label}{i}", *(int(label == of) for of in CLASSES)])
    write_csv(root / "train.csv", rows)


WITH_SPLITS = (edge_impulse, roboflow, ultralytics, hugging_face_csv, hugging_face_jsonl, parquet)
FORMS: tuple[tuple[Callable[[Path], None], str | None], ...] = (
    *((edge_impulse, "Edge Impulse"), (roboflow, "Roboflow"), (frigate, "Frigate"), (ultralytics, None)),
    *((teachable_machine, "Teachable Machine"), (samples_of_teachable_machine, "Teachable Machine")),
    *((hugging_face_csv, "Hugging Face"), (hugging_face_jsonl, "Hugging Face"), (parquet, "Parquet")),
    *((label_studio, "Label Studio"), (label_studio_min, "Label Studio"), (label_studio_csv, "a list beside")),
    *((cvat_xml, "CVAT"), (cvat_datumaro, "CVAT"), (kaggle, "a list beside"), (kaggle_one_hot, "a list beside")),
)
BY_NAME = pytest.mark.parametrize(("form", "said"), FORMS, ids=[form.__name__ for form, _ in FORMS])


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    return lambda path, **more: load_dataset(Origin(str(path), cache=str(tmp_path / "cache"), **more))


Load = Callable[..., Dataset]


def check(data: Dataset, form: Callable[[Path], None], said: str | None) -> None:
    assert data.labels == CLASSES
    assert len(data.samples) == len({sample.name for sample in data.samples}) == 6
    assert {s.split for s in data.samples} == ({"train", "test"} if form in WITH_SPLITS else {None})
    assert data.skipped == ()
    assert said is None or said in data.recognised
    _, images, _ = decode_all(data.samples, Preprocessing(4, 4))
    for sample, image in zip(data.samples, images, strict=True):
        assert (image[..., 0].mean() > image[..., 2].mean()) == (sample.label == "bishop")


@BY_NAME
def test_a_folder(form: Callable[[Path], None], said: str | None, tmp_path: Path, load: Load) -> None:
    form(tmp_path / "export")
    check(load(tmp_path / "export"), form, said)


@BY_NAME
def test_in_a_folder_that_holds_it(form: Callable[[Path], None], said: str | None, tmp_path: Path, load: Load) -> None:
    form(tmp_path / "all" / "export")
    if form is not samples_of_teachable_machine:
        check(load(tmp_path / "all" / "export"), form, said)


@BY_NAME
def test_packed(form: Callable[[Path], None], said: str | None, tmp_path: Path, load: Load) -> None:
    if form is samples_of_teachable_machine:
        pytest.skip("zips in a zip are not unpacked")
    form(tmp_path / "export")
    data = load(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "export"))
    check(data, form, said)
    assert all(str(tmp_path / "cache") not in note for note in data.notes)


# --- boxes


def photo(path: Path) -> None:
    """A photo with a bishop on its left and a king on its right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = Image.new("RGB", (64, 32), (90, 90, 90))
    for label, left in (("bishop", 4), ("king", 36)):
        whole.paste(Image.open(io.BytesIO(picture(label))), (left, 8))
    whole.save(path)


EDGES = {"bishop": (4, 8, 20, 24), "king": (36, 8, 52, 24)}


def coco(root: Path) -> None:
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": 7 + i, "name": label} for i, label in enumerate(CLASSES)]
    for i in range(3):
        photo(root / "images" / f"{i}.png")
        document["images"].append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 32})
        for k, (left, top, right, bottom) in enumerate(EDGES.values()):
            box = {"image_id": i, "category_id": 7 + k, "bbox": [left, top, right - left, bottom - top], "iscrowd": 0}
            document["annotations"].append(box)
    document["annotations"].append({"image_id": 0, "category_id": 7, "bbox": [0, 0, 60, 30], "iscrowd": 1})
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_all.json").write_text(json.dumps(document))


def coco_of_roboflow(root: Path) -> None:
    coco(root)
    shutil.move(root / "annotations" / "instances_all.json", root / "images" / "_annotations.coco.json")
    (root / "images").rename(root / "train")
    (root / "annotations").rmdir()


def pascal_voc(root: Path) -> None:
    (root / "Annotations").mkdir(parents=True)
    for i in range(3):
        photo(root / "JPEGImages" / f"{i}.png")
        things = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{e[0]}</xmin><ymin>{e[1]}</ymin><xmax>{e[2]}</xmax>"
            f"<ymax>{e[3]}</ymax></bndbox></object>"
            for label, e in EDGES.items()
        )
        text = f"<annotation><filename>{i}.png</filename>{things}</annotation>"
        (root / "Annotations" / f"{i}.xml").write_text(text)
        photo(root / "SegmentationClass" / f"{i}.png")


def tables_of_roboflow(root: Path) -> None:
    rows: list[list[Any]] = [["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]]
    for i in range(3):
        photo(root / "train" / f"{i}.png")
        rows += [[f"{i}.png", 64, 32, label, *edges] for label, edges in EDGES.items()]
    write_csv(root / "train" / "_annotations.csv", rows)


def boxes_of_cvat(root: Path) -> None:
    images = ""
    for i in range(3):
        photo(root / "images" / f"{i}.png")
        boxes = "".join(
            f'<box label="{label}" xtl="{e[0]}" ytl="{e[1]}" xbr="{e[2]}" ybr="{e[3]}"/>' for label, e in EDGES.items()
        )
        images += f'<image id="{i}" name="{i}.png">{boxes}</image>'
    (root / "annotations.xml").write_text(f"<annotations>{images}</annotations>")


def boxes_of_label_studio(root: Path) -> None:
    tasks = []
    for i in range(3):
        photo(root / f"{i}.png")
        result = [
            {
                "original_width": 64,
                "original_height": 32,
                "value": {
                    "x": e[0] / 0.64,
                    "y": e[1] / 0.32,
                    "width": (e[2] - e[0]) / 0.64,
                    "height": (e[3] - e[1]) / 0.32,
                    "rectanglelabels": [label],
                },
            }
            for label, e in EDGES.items()
        ]
        tasks.append({"id": i, "data": {"image": f"{i}.png"}, "annotations": [{"result": result}]})
    (root / "project.json").write_text(json.dumps(tasks))


def table_beside(root: Path) -> None:
    """As TensorFlow's object detection has it: a list with any name, beside a folder of photos."""
    tables_of_roboflow(root)
    (root / "train").rename(root / "images")
    shutil.move(root / "images" / "_annotations.csv", root / "piece_labels.csv")


def create_ml(root: Path) -> None:
    marks = [
        {"label": label, "coordinates": {"x": (e[0] + e[2]) / 2, "y": (e[1] + e[3]) / 2, "width": 16, "height": 16}}
        for label, e in EDGES.items()
    ]
    for i in range(3):
        photo(root / "train" / f"{i}.png")
    document = [{"image": f"{i}.png", "annotations": marks} for i in range(3)]
    (root / "train" / "_annotations.createml.json").write_text(json.dumps(document))


LINES = "".join(f"{i} {(e[0] + e[2]) / 128} {(e[1] + e[3]) / 64} 0.25 0.5\n" for i, e in enumerate(EDGES.values()))
OUTLINES = "".join(
    f"{i} {e[0] / 64} {e[1] / 32} {e[2] / 64} {e[1] / 32} {e[2] / 64} {e[3] / 32} {e[0] / 64} {e[3] / 32}\n"
    for i, e in enumerate(EDGES.values())
)


def yolo(images: str, labels: str, names: str, text: str, lines: str = LINES) -> Callable[[Path], None]:
    """YOLO's boxes with images and lines in these folders, and the names of classes in a file of this name."""

    def make(root: Path) -> None:
        for i in range(3):
            photo(root / images / f"{i}.png")
            (root / labels).mkdir(parents=True, exist_ok=True)
            (root / labels / f"{i}.txt").write_text(lines)
        photo(root / images / "background.png")
        (root / labels / "background.txt").write_text("")
        (root / names).write_text(text)

    make.__name__ = f"yolo_{names}_{images}".replace("/", "_")
    return make


YOLO = (
    yolo("train/images", "train/labels", "data.yaml", "train: ../train/images\nnc: 2\nnames: ['bishop', 'king']\n"),
    yolo("images/train", "labels/train", "coco8.yaml", "path: .\nnames:\n  0: bishop\n  1: king\n\nnc: 2\n"),
    yolo("images", "labels", "classes.txt", "bishop\r\nking\r\n", OUTLINES),
    yolo("obj_train_data", "obj_train_data", "obj.names", "bishop\nking\n"),
    yolo("valid", "valid", "data.yml", "names:\n- bishop\n- king\nval: valid\n"),
    yolo(".", ".", "classes.txt", "bishop\nking"),
    yolo("images", "labels", "data.yaml", "names: {0: bishop,\n  1: king}\n"),
)
BOXES = (
    *(coco, coco_of_roboflow, pascal_voc, tables_of_roboflow, boxes_of_cvat, boxes_of_label_studio),
    *(table_beside, create_ml, *YOLO),
)


@pytest.mark.parametrize("form", BOXES, ids=[form.__name__ for form in BOXES])
def test_boxes_are_cropped_where_that_is_asked_for(form: Callable[[Path], None], tmp_path: Path, load: Load) -> None:
    form(tmp_path / "export")
    with pytest.raises(DataError, match=r"6 boxes in 3 photos.*--crop boxes"):
        load(tmp_path / "export")
    data = load(tmp_path / "export", crop="boxes")
    assert (data.labels, len(data.samples), data.skipped) == (CLASSES, 6, ())
    for sample in data.samples:
        with Image.open(str(sample.source)) as image:
            assert image.tobytes() == Image.open(io.BytesIO(picture(sample.label))).tobytes()
    again = load(tmp_path / "export", crop="boxes")
    assert [s.source for s in again.samples] == [s.source for s in data.samples]


def test_boxes_packed_and_their_split(tmp_path: Path, load: Load) -> None:
    for form, split in ((YOLO[0], "train"), (YOLO[4], "validation"), (create_ml, "train"), (table_beside, None)):
        shutil.rmtree(tmp_path / "export", ignore_errors=True)
        form(tmp_path / "export")
        data = load(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "export"), crop="boxes")
        assert (len(data.samples), {s.split for s in data.samples}) == (6, {split})


@pytest.mark.parametrize(
    "line", ["2 0.5 0.5 0.2 0.2", "0 32 16 16 16", "0 0.5 0.5 0.2", "-1 0.5 0.5 0.2 0.2", "king 0.5 0.5 0.2 0.2"]
)
def test_lines_that_are_no_boxes_are_named(line: str, tmp_path: Path, load: Load) -> None:
    YOLO[0](tmp_path / "export")
    (tmp_path / "export" / "train" / "labels" / "1.txt").write_text(line)
    with pytest.raises(DataError, match=r"labels/1\.txt: not as YOLO writes it"):
        load(tmp_path / "export", crop="boxes")


def test_a_folder_per_class_with_notes_in_txt_is_no_yolo(tmp_path: Path, load: Load) -> None:
    ultralytics(tmp_path / "export")
    (tmp_path / "export" / "classes.txt").write_text("bishop\nking\n")
    (tmp_path / "export" / "train" / "king" / "0.txt").write_text("0 0.5 0.5 0.2 0.2")
    assert len(load(tmp_path / "export").samples) == 6


@pytest.mark.parametrize("bbox", [None, []])
def test_annotations_of_whole_images_are_labels(bbox: list[int] | None, tmp_path: Path, load: Load) -> None:
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": i, "name": label} for i, label in enumerate(CLASSES)]
    for label, i in each():
        name = put(tmp_path / "export" / "images" / f"{label}{i}.png", label)
        document["images"].append({"id": name, "file_name": name})
        mark = {"image_id": name, "category_id": CLASSES.index(label), **({} if bbox is None else {"bbox": bbox})}
        document["annotations"].append(mark)
    file = tmp_path / "export" / "annotations.json"
    file.write_text(json.dumps(document))
    data = load(tmp_path / "export")
    assert [s.label for s in data.samples] == ["bishop"] * 3 + ["king"] * 3
    document["annotations"].append({**document["annotations"][0], "category_id": 1})
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match="multi-label data are not read"):
        load(tmp_path / "export")


def test_a_list_of_boxes_in_shares_and_photos_with_none(tmp_path: Path, load: Load) -> None:
    rows: list[list[Any]] = [["image_id", "class_name", "x_min", "y_min", "x_max", "y_max"]]
    for i in range(3):
        photo(tmp_path / f"{i}.png")
        for label, (left, top, right, bottom) in EDGES.items():
            rows.append([i, label, left / 64, top / 32, right / 64, bottom / 32])
    photo(tmp_path / "9.png")
    write_csv(tmp_path / "list.csv", [*rows, [9, "No finding", "", "", "", ""]])
    data = load(tmp_path / "list.csv", crop="boxes")
    assert (data.labels, len(data.samples), data.skipped) == (CLASSES, 6, ())
    write_csv(tmp_path / "list.csv", [*rows, [9, "king", "left", 0, 1, 1]])
    with pytest.raises(DataError, match=r"list\.csv: the edge of a box is no number"):
        load(tmp_path / "list.csv", crop="boxes")


def test_crops_of_one_photo_stay_together(tmp_path: Path, load: Load) -> None:
    coco(tmp_path / "export")
    samples = load(tmp_path / "export", crop="boxes").samples
    groups = join_groups(np.arange(len(samples)), samples)
    for a, one in zip(samples, groups, strict=True):
        assert [b.name.partition("[")[0] == a.name.partition("[")[0] for b in samples] == (groups == one).tolist()


def test_boxes_that_show_nothing_and_photos_that_cannot_be_read(tmp_path: Path, load: Load) -> None:
    coco(tmp_path / "export")
    file = tmp_path / "export" / "annotations" / "instances_all.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["bbox"] = [2, 2, 3, 30]
    document["annotations"][3]["bbox"] = [60, 28, 90, 90]
    file.write_text(json.dumps(document))
    (tmp_path / "export" / "images" / "2.png").write_bytes(b"no image")
    skipped = load(tmp_path / "export", crop="boxes").skipped
    assert [(s.name, s.reason.partition(" (")[0]) for s in skipped] == [
        ("0.png[0]", "a box of less than 8 pixels"),
        ("1.png[1]", "a box of less than 8 pixels"),
        ("2.png", "damaged, or no image that is known here"),
    ]


# --- several labels, and damage


def edited(form: Callable[[Path], None], name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        form(root)
        path = root / name
        path.write_text(change(path.read_text()))

    return make


SEVERAL = (
    edited(roboflow, "train/_classes.csv", lambda t: t.replace("bishop0.png,1,0", "bishop0.png,1,1")),
    edited(kaggle_one_hot, "train.csv", lambda t: t.replace("king1,0,1", "king1,1,1")),
    edited(kaggle, "train.csv", lambda t: t + "king0,bishop\n"),
    edited(kaggle, "train.csv", lambda t: t.replace("label", "tags").replace("king0,king", "king0,king bishop")),
    edited(label_studio, "project-1.json", lambda t: t.replace('["king"]', '["king", "bishop"]', 1)),
    edited(label_studio_min, "min.json", lambda t: t.replace('"king"', '{"choices": ["king", "bishop"]}', 1)),
    edited(cvat_xml, "annotations.xml", lambda t: t.replace("</image>", '<tag label="rook"/></image>', 1)),
    edited(hugging_face_jsonl, "metadata.jsonl", lambda t: t.replace('"king"', '["king", "bishop"]', 1)),
    edited(
        edge_impulse,
        "info.labels",
        lambda t: t.replace('"label", "label": "king"', '"multi-label", "labels": [{"label": "a"}, {"label": "b"}]', 1),
    ),
)


@pytest.mark.parametrize("form", SEVERAL, ids=map(str, range(len(SEVERAL))))
def test_several_labels_are_refused_by_name(form: Callable[[Path], None], tmp_path: Path, load: Load) -> None:
    form(tmp_path / "export")
    with pytest.raises(DataError, match="multi-label data are not read"):
        load(tmp_path / "export")


DAMAGED = (
    edited(edge_impulse, "info.labels", lambda t: t.replace('"path"', '"paths"')),
    edited(edge_impulse, "info.labels", lambda _: "[1, 2]"),
    edited(edge_impulse, "info.labels", lambda t: t[:50]),
    edited(label_studio, "project-1.json", lambda t: t.replace('"result"', '"results"')),
    edited(coco, "annotations/instances_all.json", lambda t: t.replace('"file_name"', '"name"')),
    edited(pascal_voc, "Annotations/0.xml", lambda t: t.replace("<xmin>4</xmin>", "<xmin>left</xmin>")),
    edited(pascal_voc, "Annotations/0.xml", lambda _: "<annotation"),
    edited(cvat_xml, "annotations.xml", lambda t: f"<!DOCTYPE x [<!ENTITY a 'b'>]>{t}"),
    edited(hugging_face_jsonl, "metadata.jsonl", lambda t: t + "\n{"),
)


@pytest.mark.parametrize("form", DAMAGED, ids=map(str, range(len(DAMAGED))))
def test_damage_is_told_in_a_sentence(form: Callable[[Path], None], tmp_path: Path, load: Load) -> None:
    form(tmp_path / "export")
    with pytest.raises(DataError, match="export/"):
        load(tmp_path / "export", crop="boxes")


def test_a_parquet_file_that_is_none(tmp_path: Path, load: Load) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"a\.parquet: not readable Parquet"):
        load(tmp_path / "a.parquet")


def test_a_list_may_not_lead_out_of_an_archive(tmp_path: Path, load: Load) -> None:
    put(tmp_path / "secret.png", "king")
    make = edited(edge_impulse, "info.labels", lambda t: t.replace("training/none.png", "x"))
    make(tmp_path / "export")
    text = (tmp_path / "export" / "info.labels").read_text()
    (tmp_path / "export" / "info.labels").write_text(
        text.replace("training/king.0.ei000.png", str(tmp_path / "secret.png"))
    )
    with pytest.raises(DataError, match="not in the archive"):
        load(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "export"))


@pytest.mark.parametrize("name", ["list.csv", "notes.json", "annotations.xml"])
def test_a_folder_per_class_with_a_file_beside_it_stays_one(name: str, tmp_path: Path, load: Load) -> None:
    for label, i in each():
        put(tmp_path / "photos" / label / f"{i}.png", label)
    text = {"list.csv": "path,label\nking/0.png,bishop\n", "notes.json": '[{"image": "x", "label": "y"}]'}
    (tmp_path / "photos" / name).write_text(text.get(name, "<annotations/>"))
    data = load(tmp_path / "photos")
    assert (data.labels, len(data.samples), data.notes) == (CLASSES, 6, ())


def test_every_reader_has_an_example() -> None:
    said = {name for _, name in FORMS if name} | {"COCO", "Pascal VOC", "Create ML", "YOLO"}
    assert [export.NAME for export in EXPORTS if not any(name in export.NAME for name in said)] == []


def test_a_file_of_json_that_is_no_export(tmp_path: Path, load: Load) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match="no export that is known here; expected Edge Impulse"):
        load(tmp_path / "a.json")
