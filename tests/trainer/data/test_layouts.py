"""However images and labels lie together, the same ones come out; what can be read in two ways is refused."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.data.codec import BadImageError
from trainer.data.contents import sort_out
from trainer.data.files import Listing, Source
from trainer.data.layout import Choices, Layout, arrange, class_list, imbalance
from trainer.data.layouts import base, rows
from trainer.data.layouts.base import natural
from trainer.data.layouts.table import LAYOUTS, TABLES
from trainer.errors import BadDataError

Files = dict[str, bytes]
Labelled = dict[str, str]
"""Content of an image → its class."""


class Memory(Source):
    """Files in memory."""

    name = "memory"

    def __init__(self, files: Files, folders: tuple[str, ...] = ()) -> None:
        self.files, self.folders = files, folders

    def listing(self) -> Listing:
        return Listing(tuple(sorted(self.files)), tuple(sorted(self.folders)))

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise BadImageError("is missing")
        return self.files[name]


def laid_out(names: list[str] | Files, folders: tuple[str, ...] = (), **choices: object) -> Layout:
    files = names if isinstance(names, dict) else dict.fromkeys(names, b"")
    return arrange(sort_out(Memory(files, folders)), Choices(**choices))  # type: ignore[arg-type]


def pictures(layout: Layout, files: Files) -> Labelled:
    """What each image is, by its class's name."""
    return {
        files[name].decode(): layout.classes[label] if label >= 0 else ""
        for entries in layout.splits.values()
        for name, label in entries
    }


def table(rows: list[tuple[str, str]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode()


def class_folders(what: Labelled) -> Files:
    return {f"{label}/{image}.png": image.encode() for image, label in what.items()}


def wrapped(what: Labelled) -> Files:
    return {f"photos/2024/{name}": content for name, content in class_folders(what).items()} | {
        "photos/readme.txt": b""
    }


def flat_files(what: Labelled) -> Files:
    return {f"images/{image}.jpg": image.encode() for image in what}


def csv_beside(what: Labelled) -> Files:
    rows = [("file", "label"), *((f"images/{image}.jpg", label) for image, label in what.items())]
    return flat_files(what) | {"labels.csv": table(rows)}


def csv_of_ids(what: Labelled) -> Files:
    rows = [("id", "breed"), *((image, label) for image, label in what.items())]
    return flat_files(what) | {"labels.tsv": table(rows, "\t")}


def csv_without_names(what: Labelled) -> Files:
    return flat_files(what) | {"list.csv": table([(f"{image}.jpg", label) for image, label in what.items()])}


def stylegan(what: Labelled) -> Files:
    order = sorted(set(what.values()), key=natural)
    names = {image: f"{number // 4:05d}/img{number * 250:08d}.png" for number, image in enumerate(what)}
    labels = [[names[image], order.index(label)] for image, label in what.items()]
    return {names[image]: image.encode() for image in what} | {"dataset.json": json.dumps({"labels": labels}).encode()}


def webdataset(what: Labelled) -> Files:
    files: Files = {}
    for number, (image, label) in enumerate(what.items()):
        files |= {f"{number:06d}.jpg": image.encode(), f"{number:06d}.cls": label.encode(), f"{number:06d}.json": b"{}"}
    return files


def imagefolder_csv(what: Labelled) -> Files:
    rows = [("file_name", "text", "label"), *((f"{image}.jpg", "x", label) for image, label in what.items())]
    return {f"{image}.jpg": image.encode() for image in what} | {"metadata.csv": table(rows)}  # type: ignore[list-item, arg-type]


def imagefolder_jsonl(what: Labelled) -> Files:
    lines = [json.dumps({"file_name": f"sub/{image}.jpg", "label": label}) for image, label in what.items()]
    return {f"data/sub/{image}.jpg": image.encode() for image in what} | {
        "data/metadata.jsonl": "\n".join(lines).encode()
    }


WAYS: dict[str, list[Callable[[Labelled], Files]]] = {
    "classes": [class_folders, wrapped],
    "csv": [csv_beside, csv_of_ids, csv_without_names],
    "stylegan": [stylegan],
    "webdataset": [webdataset],
    "huggingface": [imagefolder_csv, imagefolder_jsonl],
}
NAMES = st.sampled_from(["cat", "dog", "Maine Coon", "ä,b", "10", "9", "x2", "x10", "train"])


def test_every_layout_with_labels_is_held_to_the_same_images_and_labels() -> None:
    assert {*WAYS, "flat", "chunks"} == set(LAYOUTS)
    assert set(TABLES) < set(WAYS)


def parted_by_names(labels: list[str]) -> bool:
    """Whether they are several classes, and not all numbers: in some layouts those are the classes' numbers, from 0 on."""
    return len(set(labels)) > 1 and not all(label.isdigit() for label in labels)


@given(st.lists(NAMES, min_size=2, max_size=12).filter(parted_by_names))
@example(["9", "10", "cat"])
def test_whatever_the_layout_the_same_images_and_labels_come_out(labels: list[str]) -> None:
    what = {f"img-{number}": label for number, label in enumerate(labels)}
    order = tuple(sorted(set(labels), key=natural))
    for layout, ways in WAYS.items():
        for way in ways:
            files = way(what)
            choices = {"classes": order} if way in (stylegan,) else {}
            found = laid_out(files, **choices)
            assert (found.name, found.classes) == (layout, order), way
            assert pictures(found, files) == what, way
            assert all(entries == sorted(entries) for entries in found.splits.values())


def test_class_order_is_natural_or_as_given() -> None:
    names = [f"{number}/a.png" for number in (0, 1, 2, 10, 11, 20)]
    assert laid_out(names).classes == ("0", "1", "2", "10", "11", "20")
    assert laid_out(["b/1.png", "a/1.png"], classes=("b", "a")).classes == ("b", "a")
    words = laid_out(["0/a.png", "1/a.png", "2/a.png"], classes=("zero", "one", "two"))
    assert (words.classes, words.splits[""][2]) == (("zero", "one", "two"), ("2/a.png", 2))
    with pytest.raises(BadDataError, match="--classes leaves out 1 class of the source: b; name all"):
        laid_out(["a/1.png", "b/1.png"], classes=("a", "c"))
    with pytest.raises(BadDataError, match="--classes names 2 classes, but labels go up to 2"):
        laid_out(["0/a.png", "1/a.png", "2/a.png"], classes=("zero", "one"))
    with pytest.raises(BadDataError, match="gives no labels"):
        laid_out(["1.png", "2.png"], classes=("a", "b"))


@given(st.lists(st.text(alphabet="ab019 -", max_size=6), max_size=8))
def test_natural_order_is_an_order_and_alphabetical_without_digits(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)
    assert all(natural(name) != natural(other) for name in names for other in names if name != other)
    words = [name for name in names if not any(c.isdigit() for c in name)]
    assert sorted(words, key=natural) == sorted(words)
    assert natural("9" * 10_000) < natural("1" + "0" * 10_000)  # numbers of any length


def test_a_list_of_classes_is_commas_or_a_files_lines(tmp_path: object) -> None:
    assert class_list("a, b,c") == ("a", "b", "c")
    with pytest.raises(BadDataError, match="names a twice"):
        class_list("a,b,a")
    with pytest.raises(BadDataError, match="names no class"):
        class_list(" , ")


def test_a_class_without_images_is_an_error_unless_it_is_asked_for() -> None:
    names, folders = ["a/1.png", "c/1.png"], ("a", "b", "c")
    with pytest.raises(BadDataError, match=r"1 of 3 classes has no images: b; .*--empty-classes keep .* or drop"):
        laid_out(names, folders)
    kept = laid_out(names, folders, empty_classes="keep")
    assert (kept.classes, kept.splits[""]) == (("a", "b", "c"), [("a/1.png", 0), ("c/1.png", 2)])
    dropped = laid_out(names, folders, empty_classes="drop")
    assert (dropped.classes, dropped.splits[""]) == (("a", "c"), [("a/1.png", 0), ("c/1.png", 1)])
    with pytest.raises(BadDataError, match="2 of 4 classes have no images: b, d"):
        laid_out({**dict.fromkeys(names, b""), "d/notes.txt": b"no image"}, (*folders, "d"))
    gaps = {"a.png": b"", "b.png": b"", "dataset.json": json.dumps({"labels": [["a.png", 0], ["b.png", 2]]}).encode()}
    with pytest.raises(BadDataError, match="1 of 3 classes has no images: 1"):
        laid_out(gaps)


def test_folders_are_split_and_looked_through() -> None:
    found = laid_out(["x/y/train/a/1.png", "x/y/test/b/1.png", "x/y/test/b/deep/2.png", "x/y/train/b/2.png"])
    assert found.splits == {
        "train": [("x/y/train/a/1.png", 0), ("x/y/train/b/2.png", 1)],
        "test": [("x/y/test/b/1.png", 1), ("x/y/test/b/deep/2.png", 1)],
    }
    assert "one folder deeper" in found.warnings[0]
    one = laid_out(["photos/1.jpg", "photos/2.jpg"])
    assert one.classes == ()
    assert "a label says nothing" in one.warnings[0]
    for lone in (["train/a/1.png", "train/b/1.png"], ["train/1.png"]):
        assert set(laid_out(lone, split="train").splits) == set(laid_out(lone).splits) == {"train"}
    vehicles = laid_out(["bus/1.png", "car/1.png", "train/1.png"])
    assert (vehicles.classes, set(vehicles.splits)) == (("bus", "car", "train"), {""})


def test_a_split_is_judged_by_itself() -> None:
    names = ["train/cat/1.png", "train/dog/2.png", "test/3.png", "test/4.png"]
    assert laid_out(names, split="train").splits == {"train": [("train/cat/1.png", 0), ("train/dog/2.png", 1)]}
    both = laid_out(names)
    assert both.splits["test"] == [("test/3.png", -1), ("test/4.png", -1)]
    mixed = [*names, "test/cat/5.png"]
    assert laid_out(mixed, split="train").classes == ("cat", "dog")
    with pytest.raises(
        BadDataError, match=r"split test: images lie beside class folders, 2 of 3 \(test/3\.png, test/4"
    ):
        laid_out(mixed)
    with pytest.raises(BadDataError, match=r"no such split; splits: test, train"):
        laid_out(names, split="val")


def test_splits_beside_other_folders_are_no_classes_unless_it_is_said() -> None:
    names = ["train/1.png", "test/2.png", "extra/3.png"]
    with pytest.raises(
        BadDataError, match=r"test/ and train/ look like splits, but images lie beside them, 1 of 3 \(extra/3"
    ):
        laid_out(names)
    assert laid_out(names, layout="classes").classes == ("extra", "test", "train")
    chosen = laid_out(names, split="train")
    assert chosen.splits == {"train": [("train/1.png", -1)]}
    assert [item.file for item in chosen.ignored] == ["extra/3.png"]


def test_images_beside_class_folders_are_refused() -> None:
    with pytest.raises(BadDataError, match=r"images lie beside class folders, 1 of 3 \(3\.png\)"):
        laid_out(["a/1.png", "b/2.png", "3.png"])
    assert laid_out(["a/1.png", "b/2.png", "3.png"], layout="flat").classes == ()


def test_what_can_be_read_in_two_ways_is_refused_with_both() -> None:
    names = {f"{folder}/{number}.png": b"" for folder in ("cat", "dog") for number in range(2)}
    labels = {"labels.csv": table([("file", "label"), *((name, str(at % 2)) for at, name in enumerate(sorted(names)))])}
    with pytest.raises(BadDataError) as caught:
        laid_out(names | labels)
    for part in ("2 ways", "labels.csv (0 2, 1 2; --layout csv)", "class folders (cat 2, dog 2; --layout classes)"):
        assert part in str(caught.value)
    assert laid_out(names | labels, layout="csv").classes == ("0", "1")
    folders = laid_out(names | labels, layout="classes")
    assert folders.classes == ("cat", "dog")
    assert [item.file for item in folders.ignored] == ["labels.csv"]
    alike = {"labels.csv": table([("file", "label"), *((name, name[:1]) for name in sorted(names))])}
    assert laid_out(names | alike).classes == ("c", "d")  # the same parts: nothing to choose


@pytest.mark.parametrize("way", ["{0:05d}/img{1:08d}.png", "{2:05d}/{1:05d}.png"])
def test_folders_of_a_thousand_are_no_classes_unless_it_is_said(way: str) -> None:
    names = [way.format(number // 1000, number, number // 1000 * 1000) for number in range(0, 3000, 250)]
    with pytest.raises(
        BadDataError, match=r"folders of a thousand \(no labels; --layout chunks\), or as class folders"
    ):
        laid_out(names)
    assert laid_out(names, layout="chunks").classes == ()
    assert len(laid_out(names, layout="classes").classes) == 3
    assert laid_out(dict.fromkeys(names, b"") | {"dataset.json": b'{"labels": null}'}).classes == ()
    signs = laid_out([f"{sign:05d}/{number:05d}_00001.ppm" for sign in range(3) for number in range(3)])
    assert signs.classes == ("00000", "00001", "00002")


def test_a_table_may_label_one_split_only() -> None:
    images = {f"{split}/{number}.jpg": b"" for split in ("train", "test") for number in range(4)}
    rows = [("image_id", "label"), *((str(number), "ab"[number % 2]) for number in range(4))]
    found = laid_out(images | {"train.csv": table(rows)})
    assert found.classes == ("a", "b")
    assert [label for _, label in found.splits["train"]] == [0, 1, 0, 1]
    assert {label for _, label in found.splits["test"]} == {-1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"labels.csv": table([("file", "label"), ("a.png", "x")])}, r"labels\.csv labels 1 of 2 images, not b\.png"),
        ({"labels.csv": table([("file", "label"), ("a.png", "x"), ("b.png", "")])}, r"has 1 row without a label \(b\.png\)"),
        ({"labels.csv": table([("file", "label"), ("a.png", "x"), ("b.png", "y"), ("c.png", "y")])}, r"doesn't hold \(c\.png\)"),
        ({"labels.csv": table([("file", "label"), ("a.png", "x"), ("b.png", "y"), ("../c.png", "y")])}, r"doesn't hold \(\.\./c\.png\)"),
        ({"labels.csv": table([("file", "label"), ("a.png", "x"), ("b.png", "y"), ("/etc/passwd", "y")])}, r"doesn't hold \(/etc/passwd\)"),
        ({"labels.csv": table([("file", "label"), ("a.png", "x"), ("a.png", "y"), ("b.png", "y")])}, r"gives 1 file several labels \(a\.png\)"),
        ({"a.csv": table([("a.png", "x"), ("b.png", "y")]), "b.csv": table([("a.png", "y"), ("b.png", "y")])}, "a.csv and b.csv give a.png diff"),
        ({"dataset.json": json.dumps({"labels": [["a.png", 0], ["b.png", [0.3, 0.7]]]}).encode()}, r"1 label can't be read as a class"),
        ({"dataset.json": json.dumps({"labels": [["a.png", 0], ["b.png", 10**9]]}).encode()}, r"1 label can't be read as a class"),
        ({"dataset.json": json.dumps({"labels": [["a.png", 0], ["b.png", 1], ["../../c.png", 1]]}).encode()}, r"doesn't hold \(\.\./\.\./c\.png\)"),
        ({"a.cls": b"1", "b.cls": b"99999999"}, r"the label of 1 sample is no class \(b\.cls\)"),
        ({"a.cls": b"1", "b.cls": b"0", "c.cls": b"0"}, r"1 sample hold.? a cls and no image \(c\)"),
        ({"a.cls": b"1", "b.cls": b"0", "b.mask.png": b""}, r"1 sample hold.? several images \(b\)"),
        ({"metadata.jsonl": b'{"file_name": "a.png", "label": 1}\n{"file_name": "../b.png", "label": 0}'}, r"doesn't hold \(\.\./b\.png\)"),
    ],
)  # fmt: skip
def test_labels_that_are_wrong_are_refused_by_name(files: Files, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        laid_out({"a.png": b"", "b.png": b""} | files)


def test_a_table_beside_each_image_costs_no_look_at_all_images_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    for module in (base, rows):
        monkeypatch.setattr(module, "PurePosixPath", lambda text: made.append(text) or PurePosixPath(text))
    boxes = {f"{number:03d}.csv": table([("left", "top"), ("1", "2")]) for number in range(200)}
    laid_out({f"{number:03d}.png": b"" for number in range(200)} | boxes)
    assert len(made) < 200 * 20  # and not 200 · 200


def test_a_table_that_is_not_used_is_told_with_its_reason() -> None:
    files = {"a.png": b"", "b.png": b""}
    attributes = {"attributes.csv": table([("file", "smiling", "young"), ("a.png", "1", "0"), ("b.png", "0", "0")])}  # type: ignore[list-item]
    found = laid_out(files | attributes)
    assert found.classes == ()
    assert any("attributes.csv isn't used" in warning and "--label-column" in warning for warning in found.warnings)
    assert laid_out(files | attributes, label_column="Smiling").classes == ("0", "1")
    for name, content in {"x.csv": b"\xff\xfe", "metadata.jsonl": b"[1]", "dataset.json": b"[" * 100_000}.items():
        assert [item.file for item in laid_out(files | {name: content}).ignored] == [name]
    with pytest.raises(
        BadDataError, match=r"--layout csv: the source isn't laid out so: attributes\.csv has no column of labels"
    ):
        laid_out(files | attributes, layout="csv")
    with pytest.raises(BadDataError, match="--layout tfrecord: no such layout; use classes, chunks"):
        laid_out(files, layout="tfrecord")


def test_one_hot_labels_are_numbers() -> None:
    labels = [["a.png", [0, 1]], ["b.png", [1, 0]]]
    found = laid_out({"a.png": b"", "b.png": b"", "dataset.json": json.dumps({"labels": labels}).encode()})
    assert found.splits[""] == [("a.png", 1), ("b.png", 0)]


def test_imbalance_is_told() -> None:
    assert "90 images of 'b', 9 of 'a'" in imbalance(("a", "b"), (9, 90))[0]
    assert imbalance(("a", "b"), (10, 90)) == []


def test_a_source_without_images_says_what_it_holds() -> None:
    with pytest.raises(BadDataError, match=r"holds no images in 3 files: \.txt 2, \.mp4 1"):
        laid_out(["a.txt", "b/c.txt", "d.mp4"])
