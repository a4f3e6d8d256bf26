"""The device's face: every kind of image in, classes learnt and kept, whoever else uses the gallery."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlc_edge.runtime import (
    BundleError,
    Classifier,
    FingerprintError,
    Gallery,
    GalleryError,
    ImageError,
    Prediction,
    UsageError,
)
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.gallery.path import default_gallery
from tlc_edge.runtime.images.load import load_image

Digits = dict[str, list[np.ndarray]]


@pytest.fixture
def sevens(digits: Digits, tmp_path: Path) -> list[Path]:
    """Files of a digit that the bundle was not trained on."""
    folder = tmp_path / "sevens"
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(8)]
    for path, image in zip(paths, digits["7"], strict=False):
        Image.fromarray(image).save(path)
    return paths


def told(prediction: Prediction) -> dict[str, Any]:
    """All of a prediction but the time it took."""
    found = asdict(prediction)
    del found["milliseconds"]
    return found


def beside(bundle_path: Path) -> set[str]:
    return {p.name for p in bundle_path.parent.iterdir() if p.name.startswith(bundle_path.name)}


def enroll_elsewhere(bundle_path: Path, label: str, *images: Path) -> None:
    """Enroll in another process."""
    script = (
        "import sys\nfrom tlc_edge.runtime import Classifier\n"
        "with Classifier.open(sys.argv[1]) as c: c.enroll(sys.argv[2], sys.argv[3:])"
    )
    subprocess.run([sys.executable, "-c", script, str(bundle_path), label, *map(str, images)], check=True)


# --- predicting


def test_an_image_must_fit_the_device_that_the_bundle_is_for(bundle: Bundle, tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("L", (2000, 2000)).save(out, "PNG")
    small = replace(bundle, manifest=replace(bundle.manifest, target={"peak_memory_bytes": (128 << 20) + (3 << 20)}))
    told = r"3 MB to decode, more than the limit of 3 for the device that the bundle is built for"
    with Classifier.open(small, tmp_path / "a.gallery") as classifier:
        for use in (
            classifier.predict,
            classifier.embed,
            classifier.explain,
            lambda data: classifier.enroll("x", data),
            lambda data: next(classifier.predict_many([data])),
        ):
            with pytest.raises(ImageError, match=told):
                use(out.getvalue())
    with Classifier.open(bundle, tmp_path / "b.gallery") as classifier:
        classifier.predict(out.getvalue())


def test_a_prediction_says_what_and_why(bundle_path: Path, photos: Path) -> None:
    with Classifier.open(bundle_path) as classifier:
        p = classifier.predict(photos / "0" / "0.png")
    assert (p.label, p.source, p.unknown) == ("0", "head", False)
    assert [r.label for r in p.ranked] == sorted("0123", key=lambda c: -{r.label: r.score for r in p.ranked}[c])
    assert p.ranked[0].score == p.score
    assert sum(r.score for r in p.ranked) == pytest.approx(1, abs=1e-5)
    assert len(p.neighbours) == classifier.bundle.manifest.decision.k
    assert all(n.id == 0 and n.label in "0123" for n in p.neighbours)
    assert [n.similarity for n in p.neighbours] == sorted((n.similarity for n in p.neighbours), reverse=True)
    assert p.threshold < p.knownness < 1
    assert set(p.milliseconds) == {"decode", "resize", "inference", "search", "decision"}
    assert all(ms > 0 for ms in p.milliseconds.values())


def test_every_way_of_giving_the_same_image_gives_the_same(bundle_path: Path, photos: Path) -> None:
    path = photos / "1" / "2.png"
    picture = Image.open(path)
    picture.load()
    rgb = np.asarray(picture.convert("RGB"))
    ways: dict[str, Any] = {
        "text": str(path),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "file": io.BytesIO(path.read_bytes()),
        "PIL": picture,
        "grey": np.asarray(picture),
        "array": rgb,
    }
    with Classifier.open(bundle_path) as classifier:
        expected = told(classifier.predict(path))
        for way, image in ways.items():
            assert told(classifier.predict(image)) == expected, way
        assert told(classifier.predict(load_image(path, classifier.bundle.manifest.preprocessing))) == expected
        assert [told(p) for p in classifier.predict_many([path, str(path)])] == [expected, expected]


def test_bgr_is_turned_round_and_rgb_is_not(bundle_path: Path) -> None:
    rgb = np.zeros((40, 40, 3), np.uint8)
    rgb[:, :20, 0] = 255
    with Classifier.open(bundle_path) as classifier:
        expected = told(classifier.predict(rgb))
        assert told(classifier.predict(np.ascontiguousarray(rgb[..., ::-1]), order="BGR")) == expected
        assert told(classifier.predict(np.ascontiguousarray(rgb[..., ::-1]))) != expected
        assert np.array_equal(classifier.embed(rgb[..., ::-1], order="BGR"), classifier.embed(rgb))


def test_an_image_given_is_not_changed(bundle_path: Path, photos: Path) -> None:
    pixels = np.array(Image.open(photos / "0" / "0.png").convert("RGB").resize((224, 224)))
    before = pixels.copy()
    with Classifier.open(bundle_path) as classifier:
        classifier.predict(pixels)
        classifier.enroll("x", [pixels])
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("image", [b"", b"no image", np.zeros((3, 3), float), None, "missing.png"], ids=repr)
def test_what_is_no_image_is_an_error_and_the_next_one_works(bundle_path: Path, photos: Path, image: Any) -> None:
    with Classifier.open(bundle_path) as classifier:
        with pytest.raises(ImageError):
            classifier.predict(image)
        assert classifier.predict(photos / "0" / "0.png").label == "0"


def test_predicting_never_makes_a_file(bundle_path: Path, photos: Path) -> None:
    with Classifier.open(bundle_path) as classifier:
        classifier.predict(photos / "0" / "0.png")
        classifier.classes()
        with pytest.raises(UsageError, match="unknown enrolled class 'mug'"):
            classifier.forget("mug")
        with pytest.raises(UsageError, match="unknown enrolled class 'mug'"):
            classifier.rename("mug", "cup")
        with pytest.raises(GalleryError, match="nothing to undo"):
            classifier.undo()
        assert beside(bundle_path) == {"photos.tlc"}
    assert beside(bundle_path) == {"photos.tlc"}


def test_noise_is_unknown_and_a_training_image_is_not(bundle_path: Path, photos: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    with Classifier.open(bundle_path) as classifier:
        assert classifier.predict(noise).unknown
        assert not classifier.predict(photos / "2" / "0.png").unknown
    with Classifier.open(bundle_path, unknown=0.0) as classifier:
        assert not classifier.predict(noise).unknown


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(bundle_path: Path, rate: float) -> None:
    with pytest.raises(UsageError, match=rf"false-alarm rate is {rate}, expected 0 \(off\) up to, not including, 1"):
        Classifier.open(bundle_path, unknown=rate)


# --- learning


def test_an_enrolled_class_is_predicted_and_kept(bundle_path: Path, photos: Path, sevens: list[Path]) -> None:
    with Classifier.open(bundle_path) as classifier:
        before = told(classifier.predict(photos / "0" / "0.png"))
        assert "7" not in [r.label for r in classifier.predict(sevens[0]).ranked]
        change = classifier.enroll("7", sevens[:5])
        assert (change.label, change.added, change.skipped, change.classes) == ("7", 5, 0, {"7": 5})
        answers = [told(classifier.predict(path)) for path in sevens]
        assert [a["label"] for a in answers[:5]] == ["7"] * 5
        assert {a["source"] for a in answers[:5]} == {"gallery"}
        assert sum(a["label"] == "7" for a in answers[5:]) >= 2  # never seen
        assert answers[0]["neighbours"][0].id == 1
        assert answers[0]["knownness"] > max(a["knownness"] for a in answers[5:])  # it is one of the rows
        assert classifier.classes() == {"0": 0, "1": 0, "2": 0, "3": 0, "7": 5}
        after = told(classifier.predict(photos / "0" / "0.png"))
        assert after["label"] == before["label"]
    assert beside(bundle_path) == {"photos.tlc", "photos.tlc.gallery"}
    with Classifier.open(bundle_path) as classifier:
        assert [told(classifier.predict(path)) for path in sevens] == answers
        assert classifier.classes() == {"0": 0, "1": 0, "2": 0, "3": 0, "7": 5}


def test_a_base_class_can_get_more_examples(bundle_path: Path, sevens: list[Path]) -> None:
    with Classifier.open(bundle_path) as classifier:
        before = {r.label: r.score for r in classifier.predict(sevens[0]).ranked}
        classifier.enroll("3", sevens[:2])
        after = {r.label: r.score for r in classifier.predict(sevens[0]).ranked}
        assert set(after) == set(before)
        assert after["3"] > before["3"]
        assert classifier.classes() == {"0": 0, "1": 0, "2": 0, "3": 2}
        classifier.forget("3")
        assert {r.label: r.score for r in classifier.predict(sevens[0]).ranked} == before


def test_the_same_image_is_kept_once_a_class_however_it_comes(bundle_path: Path, sevens: list[Path]) -> None:
    data = sevens[0].read_bytes()
    pixels = np.asarray(Image.open(sevens[1]))
    with Classifier.open(bundle_path) as classifier:
        assert classifier.enroll("7", [sevens[0], data, str(sevens[0])]).skipped == 2
        again = classifier.enroll("7", [io.BytesIO(data)])
        assert (again.added, again.skipped) == (0, 1)
        assert classifier.enroll("7", [pixels, Image.fromarray(pixels)]).added == 1
        assert classifier.enroll("seven", [data]).added == 1  # another class may hold it too
        assert classifier.classes() == {"0": 0, "1": 0, "2": 0, "3": 0, "7": 2, "seven": 1}


def test_one_bad_image_and_nothing_is_added(bundle_path: Path, sevens: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(sevens[0].read_bytes()[:60])
    with Classifier.open(bundle_path) as classifier:
        for images in ([*sevens[:2], bad], [*sevens[:2], tmp_path / "missing.png"]):
            with pytest.raises(ImageError, match=r"bad|missing"):
                classifier.enroll("7", images)
            assert beside(bundle_path) == {"photos.tlc"}
        classifier.enroll("7", sevens[:1])
        with pytest.raises(ImageError):
            classifier.enroll("7", [sevens[1], bad])
        assert classifier.classes()["7"] == 1


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "x" * 201])
def test_a_name_that_is_none_is_refused_before_a_gallery_is_made(
    bundle_path: Path, sevens: list[Path], label: str
) -> None:
    with Classifier.open(bundle_path) as classifier:
        with pytest.raises(UsageError):
            classifier.enroll(label, sevens[:1])
        assert beside(bundle_path) == {"photos.tlc"}


def test_no_images_is_a_mistake(bundle_path: Path) -> None:
    with Classifier.open(bundle_path) as classifier:
        with pytest.raises(UsageError, match="no images to enroll as 'mug'; give at least one"):
            classifier.enroll("mug", [])
        assert beside(bundle_path) == {"photos.tlc"}


def test_forget_undo_and_rename_are_seen_at_once(bundle_path: Path, sevens: list[Path]) -> None:
    def answer() -> str:
        return classifier.predict(sevens[0]).label

    with Classifier.open(bundle_path) as classifier:
        base = answer()
        classifier.enroll("7", sevens[:3])
        assert answer() == "7"
        assert classifier.rename("7", "seven").label == "seven"
        assert answer() == "seven"
        assert classifier.forget("seven").removed == 3
        assert answer() == base
        assert "seven" not in [r.label for r in classifier.predict(sevens[0]).ranked]
        assert classifier.undo().undone == "forget"
        assert answer() == "seven"
        assert classifier.undo().undone == "rename"
        assert answer() == "7"
        assert classifier.undo().undone == "add"
        assert answer() == base
        with pytest.raises(GalleryError, match="nothing to undo"):
            classifier.undo()
        with pytest.raises(UsageError, match="unknown class '7'; known: none"):
            classifier.forget("7")


def test_thumbnails_are_kept_unless_switched_off(bundle_path: Path, sevens: list[Path]) -> None:
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("7", sevens[:1])
        classifier.enroll("8", sevens[1:2], thumbnails=False)
    with Gallery.open_any(default_gallery(bundle_path)) as gallery:
        first, second = gallery.examples()
        thumbnail = gallery.thumbnail(first.id)
        assert thumbnail is not None
        assert Image.open(io.BytesIO(thumbnail)).size == (224, 224)
        assert gallery.thumbnail(second.id) is None
        assert (first.source_name, second.source_name) == (str(sevens[0]), str(sevens[1]))


# --- the gallery, and others who use it


def test_another_process_enrols_and_the_next_prediction_knows(bundle_path: Path, sevens: list[Path]) -> None:
    with Classifier.open(bundle_path) as classifier:
        assert classifier.predict(sevens[0]).label != "7"
        enroll_elsewhere(bundle_path, "7", *sevens[:3])  # the gallery appears only now
        assert classifier.predict(sevens[0]).label == "7"
        enroll_elsewhere(bundle_path, "8", sevens[4])
        assert classifier.predict(sevens[4]).label == "8"
        assert classifier.classes()["8"] == 1
        classifier.enroll("7", sevens[5:6])  # a reader becomes a writer
        enroll_elsewhere(bundle_path, "9", sevens[6])
        assert classifier.predict(sevens[6]).label == "9"
        assert classifier.predict(sevens[5]).label == "7"
        assert classifier.classes() == {"0": 0, "1": 0, "2": 0, "3": 0, "7": 4, "8": 1, "9": 1}


@pytest.mark.parametrize("change", ["replaced", "truncated", "deleted"])
def test_a_bundle_that_changes_while_open_goes_on_as_it_was(
    bundle_path: Path, photos: Path, sevens: list[Path], change: str
) -> None:
    """As an update does it: what is open stays whole, and who opens anew gets the new one, or a clear error."""
    images = [photos / label / "0.png" for label in "0123"]
    with Classifier.open(bundle_path) as classifier:
        before = [told(classifier.predict(image)) for image in images]
        if change == "replaced":
            (bundle_path.parent / "new.tlc").write_bytes(b"another bundle")
            (bundle_path.parent / "new.tlc").replace(bundle_path)
        elif change == "truncated":
            os.truncate(bundle_path, bundle_path.stat().st_size // 2)
        else:
            bundle_path.unlink()
        assert [told(classifier.predict(image)) for image in images] == before
        assert list(map(told, classifier.predict_many(images))) == before
        classifier.enroll("7", sevens[:3])
        assert classifier.predict(sevens[0]).label == "7"
        with pytest.raises(BundleError):
            Classifier.open(bundle_path)


def test_a_gallery_that_is_replaced_while_open_is_followed(bundle_path: Path, sevens: list[Path]) -> None:
    """As who saves what is readable of a damaged one does it: recover to a new file, and move it into place."""
    path = default_gallery(bundle_path)
    enroll_elsewhere(bundle_path, "7", *sevens[:2])
    with Classifier.open(bundle_path) as reader:
        assert reader.predict(sevens[0]).label == "7"
        aside = bundle_path.parent / "new.gallery"
        with Classifier.open(bundle_path, gallery=aside) as other:
            other.enroll("9", sevens[:2])
        aside.replace(path)
        assert reader.predict(sevens[0]).label == "9"
        assert "7" not in reader.classes()
        enroll_elsewhere(bundle_path, "late", sevens[6])
        assert reader.predict(sevens[6]).label == "late"
        path.unlink()  # what was known stays known
        assert reader.predict(sevens[6]).label == "late"


def test_a_gallery_that_was_removed_while_open_is_begun_anew(bundle_path: Path, sevens: list[Path]) -> None:
    path = default_gallery(bundle_path)
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("7", sevens[:2])
        for name in ("", "-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        assert classifier.predict(sevens[0]).label == "7"  # what was known stays known until it is taught anew
        with pytest.raises(GalleryError, match="nothing was enrolled yet"):
            classifier.undo()
        assert not path.exists()
        assert classifier.enroll("late", sevens[6]).classes == {"late": 1}
        assert classifier.predict(sevens[6]).label == "late"
        assert "7" not in classifier.classes()


def test_a_damaged_gallery_that_was_moved_away_is_in_nobodys_way(bundle_path: Path, sevens: list[Path]) -> None:
    path = default_gallery(bundle_path)
    enroll_elsewhere(bundle_path, "7", *sevens[:2])
    with Classifier.open(bundle_path) as classifier:
        with path.open("r+b") as file:
            file.truncate(512)
            file.write(b"no gallery" * 100)
        enrolled = bundle_path.with_name("damaged.gallery")
        with pytest.raises(GalleryError, match="damaged"):
            classifier.enroll("9", sevens[2])
        path.rename(enrolled)
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        assert classifier.predict(sevens[0]).label != "9"
        assert classifier.enroll("9", sevens[2]).classes == {"9": 1}
        assert classifier.predict(sevens[2]).label == "9"


def test_a_gallery_whose_disk_is_gone_is_not_begun_anew(bundle_path: Path, tmp_path: Path, sevens: list[Path]) -> None:
    (tmp_path / "stick").mkdir()
    gallery = tmp_path / "stick" / "x.gallery"
    with Classifier.open(bundle_path, gallery) as classifier:
        classifier.enroll("7", sevens[:2])
        (tmp_path / "stick").rename(tmp_path / "unplugged")
        with pytest.raises(GalleryError, match="moved or replaced"):
            classifier.enroll("9", sevens[2])
        assert classifier.predict(sevens[0]).label == "7"
        (tmp_path / "unplugged").rename(tmp_path / "stick")
        assert classifier.enroll("9", sevens[2]).classes == {"7": 2, "9": 1}


def test_two_classifiers_in_one_process_see_each_other(bundle_path: Path, sevens: list[Path]) -> None:
    with Classifier.open(bundle_path) as one, Classifier.open(bundle_path) as two:
        one.enroll("7", sevens[:3])
        assert two.predict(sevens[0]).label == "7"
        two.forget("7")
        assert one.predict(sevens[0]).label != "7"
        one.undo()
        assert two.predict(sevens[0]).label == one.predict(sevens[0]).label == "7"


def test_a_gallery_of_another_model_is_refused_and_left_alone(
    bundle: Bundle, bundle_path: Path, photos: Path, sevens: list[Path]
) -> None:
    with Classifier.open(bundle_path) as classifier:
        classifier.enroll("7", sevens[:2])
    before = default_gallery(bundle_path).read_bytes()
    other = replace(bundle, path=bundle_path, manifest=replace(bundle.manifest, fingerprint="f" * 64))
    with pytest.raises(FingerprintError, match=r"belongs to the model \w{12}, the bundle is f{12}; .*`tlc gallery mig"):
        Classifier.open(other)
    assert default_gallery(bundle_path).read_bytes() == before
    with Classifier.open(other, gallery=bundle_path.parent / "other.gallery") as classifier:
        assert classifier.predict(photos / "0" / "0.png").label == "0"
    assert not (bundle_path.parent / "other.gallery").exists()


def test_a_gallery_of_another_model_that_appears_later_is_refused_too(
    bundle: Bundle, bundle_path: Path, photos: Path, sevens: list[Path]
) -> None:
    other = replace(bundle, path=bundle_path, manifest=replace(bundle.manifest, fingerprint="f" * 64))
    with Classifier.open(other) as classifier:
        assert classifier.predict(photos / "0" / "0.png").label == "0"
        with Classifier.open(bundle_path) as honest:
            honest.enroll("7", sevens[:2])
        for use in (lambda: classifier.predict(photos / "0" / "0.png"), lambda: classifier.enroll("8", sevens[:1])):
            with pytest.raises(FingerprintError):
                use()


def test_where_the_gallery_lies(bundle_path: Path, sevens: list[Path], tmp_path: Path) -> None:
    own = tmp_path / "elsewhere.db"
    with Classifier.open(bundle_path, gallery=own) as classifier:
        classifier.enroll("7", sevens[:1])
    assert own.exists()
    assert beside(bundle_path) == {"photos.tlc"}
    for text, expected in {"a/b.tlc": "a/b.tlc.gallery", "a/b/": "a/b.gallery", "/x.tlc": "/x.tlc.gallery"}.items():
        assert default_gallery(Path(text)) == Path(expected)


@pytest.mark.parametrize(("name", "inside"), [(".", "bundle"), ("..", "bundle/golden"), ("../bundle", "bundle")])
def test_a_bundle_named_from_inside_has_its_gallery_beside_it(
    bundle: Bundle, sevens: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, inside: str
) -> None:
    for file, data in bundle.files.items():
        (tmp_path / "bundle" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / file).write_bytes(data)
    monkeypatch.chdir(tmp_path / inside)
    with Classifier.open(name) as classifier:
        classifier.enroll("7", sevens[:1])
    assert (tmp_path / "bundle.gallery").is_file()


def test_a_folder_bundle_predicts_as_the_file_does(bundle: Bundle, bundle_path: Path, photos: Path) -> None:
    folder = bundle_path.with_suffix("")
    for file, data in bundle.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    with Classifier.open(folder) as one, Classifier.open(bundle_path) as two:
        assert told(one.predict(photos / "1" / "1.png")) == told(two.predict(photos / "1" / "1.png"))


def test_a_name_too_long_for_a_gallery_still_predicts(bundle_path: Path, photos: Path) -> None:
    long = bundle_path.with_name("x" * 250 + ".tlc")
    bundle_path.rename(long)
    with Classifier.open(long) as classifier:
        assert classifier.predict(photos / "0" / "0.png").label == "0"


def test_a_gallery_that_is_none_stops_at_once(bundle_path: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "notes.txt"
    wrong.write_text("not a gallery" * 100)
    with pytest.raises(GalleryError, match=r"notes\.txt: not a tlc gallery"):
        Classifier.open(bundle_path, gallery=wrong)
    with pytest.raises(GalleryError, match="not a file"):
        Classifier.open(bundle_path, gallery=tmp_path)


def test_a_classifier_that_failed_to_open_keeps_nothing_open(bundle_path: Path, tmp_path: Path) -> None:
    def held() -> list[str]:
        links = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
        return [target for target in (str(fd.readlink()) for fd in links) if str(tmp_path) in target]

    with Classifier.open(bundle_path):
        pass
    for bad in (tmp_path, tmp_path / "photos.tlc"):
        with pytest.raises((GalleryError, BundleError)):
            Classifier.open(bundle_path, gallery=bad)
    assert held() == []


@pytest.mark.parametrize("open_", [Classifier.open, Bundle.open], ids=["classifier", "bundle"])
def test_no_such_bundle(tmp_path: Path, open_: Callable[[Path], object]) -> None:
    with pytest.raises(BundleError, match=r"x\.tlc: no such bundle; make one with `tlc build`"):
        open_(tmp_path / "x.tlc")


def test_galleries_taught_the_same_answer_the_same_whatever_was_forgotten_between(
    bundle_path: Path, sevens: list[Path], photos: Path, tmp_path: Path
) -> None:
    def answers(gallery: str, detour: bool) -> list[tuple[str, float, bool]]:
        with Classifier.open(bundle_path, tmp_path / gallery) as classifier:
            if detour:
                classifier.enroll("away", sevens[2:4])
                classifier.forget("away")
            classifier.enroll("b", sevens[:2])
            classifier.enroll("a", sevens[:2])  # the very same images: the class that came first wins the tie
            found = [classifier.predict(image) for image in (sevens[0], sevens[4], photos / "1" / "1.png")]
        return [(p.label, p.score, p.unknown) for p in found]

    plain = answers("plain", detour=False)
    assert plain == answers("detour", detour=True)
    assert plain[0][0] == "b"
