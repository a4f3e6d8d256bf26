"""The report: what it says follows from the findings, it is well-formed, and nothing in it is taken for code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from report_samples import make

from tlc_edge.compiler.data.duplicates import Group
from tlc_edge.compiler.data.records import Skipped
from tlc_edge.compiler.report.document import report_json
from tlc_edge.compiler.report.evidence import Pictures
from tlc_edge.compiler.report.figures import look
from tlc_edge.compiler.report.findings import Findings, confused_pairs, worst_class
from tlc_edge.compiler.report.page import report_html
from tlc_edge.compiler.report.sections.look import THUMBNAILS
from tlc_edge.compiler.study.learning_curve import Curve, CurvePoint
from tlc_edge.compiler.study.odd_labels import Odd
from tlc_edge.compiler.verify.layer_errors import LayerError
from tlc_edge.compiler.verify.parity import REFERENCE, Pair, Parity

Made = tuple[Findings, Pictures]
EMPTY = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = (
    "<script>alert('x')</script> & \"quoted\" 'too'",
    '"><img src=x onerror=alert(1)>',
    "]]></style></title></svg><b>",
    "{{ 7 * 7 }} {% raw %} {# #} ${x} %s {0}",
    "a\x00b\x07c\x1b[31md\x7fe\x85f\ng",
    "left \u202eright \u2066isolated \u200fmarked",
)
"""What a label or a file may be called."""
INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|(?<=f)\n(?=g)")


class Page(HTMLParser):
    """A page's tags, its text and its attributes; fails where tags are not closed in order."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self._text = ""
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(page.decode())
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        if tag not in EMPTY and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self._text += data

    @property
    def text(self) -> str:
        """The words, with white space as a browser shows it."""
        return " ".join(self._text.split())

    def images(self) -> list[str]:
        return [value for key, value in self.attributes if key == "src"]


def page(made: Made, thumbnails: bool = True) -> Page:
    return Page(report_html(made[0], made[1] if thumbnails else None, "photos.tlc"))


def data(made: Made) -> Any:
    return json.loads(report_json(made[0]))


def hostile(said: str, classes: int) -> bytes:
    """Return the page of a bundle that is called `said`, as is all else that anybody could name."""
    labels = [said, *(f"{said}{i}" for i in range(1, classes))]
    findings, pictures = make(
        labels,
        2 * classes,
        **{"train": 3, "wrong": (0, 1), "names": [said] * 2 * classes, "odd": [Odd(3, 1, 6)], "said": said},
        skipped=[Skipped(said, said)],
        duplicates=[Group((said, said), (said, said), ("train", "test"))],
        curve=Curve(said, (CurvePoint(10, 0.5, (0.3, 0.7), 1.0), CurvePoint(20, 0.8, (0.6, 0.9), 1.0))),
    )
    noisy = LayerError(said, said, 20.0, 0.99, 0.1, said)
    pair = Pair(said, said, 0.9, 0.95, None, None)
    return report_html(replace(findings, layers={said: (noisy,)}, parity=Parity(1, (pair,))), pictures, said)


@pytest.fixture(scope="module")
def three() -> Made:
    """Thirty images in three classes, two of `queen` wrong with a probability of 0.97."""
    return make(["king", "queen", "rook"], 30, wrong=(1, 4), sure=0.97)


class TestFigures:
    def test_accuracy_classes_and_confusion(self, three: Made) -> None:
        found = data(three)
        (file,) = found["files"]
        assert file["accuracy"] == {"right": 28, "total": 30, "share": 0.93333, "interval": [0.78676, 0.98152]}
        assert found["float"]["accuracy"] == file["accuracy"]
        king, queen, rook = found["classes"]
        assert queen["recall"] == {"right": 8, "total": 10, "share": 0.8, "interval": [0.49016, 0.94332]}
        assert queen["precision"]["share"] == 1.0
        # The two went to the next class: it loses precision, not recall.
        assert (rook["recall"]["share"], rook["precision"]["right"], rook["precision"]["total"]) == (1.0, 10, 12)
        assert (king["recall"]["share"], king["precision"]["share"]) == (1.0, 1.0)
        assert {"truth": "queen", "answer": "rook", "images": 2} in found["confusion"]
        assert sum(c["images"] for c in found["confusion"]) == 30
        worst = worst_class(three[0])
        assert worst is not None
        assert (worst.label, confused_pairs(three[0])) == ("queen", [(2, 1, 2)])

    def test_the_page_says_the_same(self, three: Made) -> None:
        text = page(three).text
        for said in (
            "93.3 %",
            "28 of 30",
            "78.7 to 98.2",
            "worst class: queen, 8 of 10 found",
            "4.0 MB",
            "384 million",
        ):
            assert said in text
        assert "all held-out images of every class were found" not in text

    def test_the_title_names_the_bundle_and_its_target(self, three: Made) -> None:
        source = report_html(*three, "photos.tlc").decode()
        assert "<title>photos.tlc for A board</title>" in source
        assert "<h1><bdi>photos.tlc</bdi> for <bdi>A board</bdi></h1>" in source

    def test_the_float_graph_has_the_name_that_the_console_prints(self, three: Made) -> None:
        assert three[0].reference.file == REFERENCE
        assert page(three).text.count(REFERENCE) >= 2
        assert "Keras" not in page(three).text
        assert data(three)["float"]["file"] == "Keras graph"  # a value of the format, which stays

    def test_nothing_wrong(self) -> None:
        made = make(["king", "queen"], 60)
        assert worst_class(made[0]) is None
        assert confused_pairs(made[0]) == []
        text = page(made).text
        assert "all held-out images of every class were found" in text
        assert "No held-out image was answered wrong." in text

    def test_a_class_that_is_never_answered_has_no_precision(self) -> None:
        made = make(["king", "queen"], 4, wrong=(1, 3))
        queen = data(made)["classes"][1]
        assert (queen["recall"]["share"], queen["precision"]) == (0.0, None)
        assert page(made).text.count("50.0 %") >= 1  # of king: half the answers are right

    def test_the_same_findings_give_the_same_bytes(self, three: Made) -> None:
        again = make(["king", "queen", "rook"], 30, wrong=(1, 4), sure=0.97)
        assert report_html(*three, "photos.tlc") == report_html(*again, "photos.tlc")
        assert report_json(three[0]) == report_json(again[0])
        other = make(["king", "queen", "rook"], 30, wrong=(1,), sure=0.97)
        assert report_json(three[0]) != report_json(other[0])


class TestPage:
    """One file that needs nothing from elsewhere and that a screen reader can read."""

    def test_it_fetches_nothing_and_runs_nothing(self, three: Made) -> None:
        html = page(three)
        assert "script" not in html.tags
        assert "link" not in html.tags
        assert all(src.startswith("data:image/jpeg;base64,") for src in html.images())
        assert not [key for key, _ in html.attributes if key.startswith("on")]
        targets = [v for k, v in html.attributes if k == "href"]
        assert targets
        assert {t.removeprefix("#") for t in targets} <= set(html.ids)
        assert not re.search(rb"url\(|@import|https?:", report_html(*three, "photos.tlc"))

    def test_figures_and_tables_are_told_in_words(self, three: Made) -> None:
        source = report_html(*three, "photos.tlc").decode()
        svgs = re.findall(r"<svg[^>]*>", source)
        assert svgs
        assert all('aria-label="' in svg or "aria-hidden" in svg for svg in svgs)
        assert source.count("<table") <= source.count("<figcaption>")
        assert all(re.search(r'alt="[^"]+"', img) for img in re.findall(r"<img[^>]*>", source))
        assert "prefers-color-scheme: dark" in source
        assert "@media print" in source
        assert len(page(three).ids) == len(set(page(three).ids))

    def test_wrong_answers_come_surest_first_with_names(self) -> None:
        made = make(["a", "b"], 8, wrong=(1, 2), names=[f"dir/im{i}.jpg" for i in range(8)])
        html = page(made)
        assert len(html.images()) == 2
        assert [m["image"] for m in data(made)["wrong"]] == ["dir/im1.jpg", "dir/im2.jpg"]
        assert data(made)["wrong"][0] == {
            **{"image": "dir/im1.jpg", "truth": "b", "answer": "a"},
            **{"probability": 0.9, "probability_of_truth": 0.1},
        }
        assert all(said in html.text for said in ("dir/im1.jpg", "dir/im2.jpg"))

    def test_training_images_amid_another_class(self) -> None:
        made = make(["a", "b"], 8, odd=[Odd(3, 1, 6)])
        html = page(made)
        assert "1 training image amid another class" in html.text
        assert "looks like blabel aa/t3.png" in html.text
        assert data(made)["odd"] == [{"image": "a/t3.png", "label": "a", "looks_like": "b", "votes": 6}]
        assert len(html.images()) == 9  # eight unsure ones and this
        assert page(made, thumbnails=False).images() == []
        assert "training image amid another class" not in page(make(["a", "b"], 8)).text

    def test_without_thumbnails_the_names_stay(self, three: Made) -> None:
        html = page(three, thumbnails=False)
        assert html.images() == []
        assert "img" not in html.tags
        assert "queen/1.png" in html.text

    def test_no_more_thumbnails_than_promised(self) -> None:
        made = make(["a", "b"], 90, wrong=range(80))
        assert len(page(made).images()) == THUMBNAILS
        assert f"the {THUMBNAILS} surest of 80" in page(made).text


class TestNames:
    """Labels and file names are the user's data."""

    @pytest.mark.parametrize("evil", HOSTILE, ids=[*"0123456789"][: len(HOSTILE)])
    @pytest.mark.parametrize("classes", [2, 13, 41])
    def test_nothing_of_what_users_wrote_gets_out(self, evil: str, classes: int) -> None:
        """As label, file name, reason, class of copies, words of the manifest, and the bundle's name."""
        plain = hostile("x" * len(evil), classes)
        html, without = Page(hostile(evil, classes)), Page(plain)
        assert html.tags == without.tags  # a hundred tags, and none that a name brought
        keys = [key for key, _ in html.attributes]
        assert keys == [key for key, _ in without.attributes]
        assert not INVISIBLE.search(hostile(evil, classes).decode())
        shown = INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), evil)
        assert html.text.count(" ".join(shown.split())) > 40
        for key in ("alt", *(["title"] if classes == 13 else [])):  # numbered columns carry their name there
            assert any(shown in value for k, value in html.attributes if k == key), key

    def test_report_json_has_them_as_they_are(self) -> None:
        for evil in HOSTILE:
            made = make([evil, "b"], 6, wrong=(0, 1), names=[evil] * 6, skipped=[Skipped(evil, evil)], said=evil)
            found = data(made)
            assert found["labels"] == [evil, "b"]
            assert found["skipped"] == [{"image": evil, "reason": evil}]
            assert found["target"]["title"] == evil

    def test_any_script_and_direction(self) -> None:
        labels = ["Läufer", "皇后", "רוק", "🐎"]
        made = make(labels, 8, wrong=(2,))
        assert all(label in page(made).text for label in labels)
        assert b"<bdi>\xd7\xa8\xd7\x95\xd7\xa7</bdi>" in report_html(*made, "photos.tlc")
        assert data(made)["labels"] == labels

    def test_a_file_name_that_is_no_text(self) -> None:
        name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
        made = make(["a", "b"], 2, wrong=(0,), names=[name, "x"], skipped=[Skipped(name, "short")])
        assert "caf\\udce9.png" in page(made).text
        assert data(made)["wrong"][0]["image"] == name  # JSON can say it

    def test_a_long_name_may_break(self) -> None:
        made = make(["l" * 300, "b"], 4, names=["n" * 300] * 4)
        assert "l" * 300 in page(made).text


class TestSizes:
    def test_two_classes_and_one_image(self) -> None:
        made = make(["yes", "no"], 1, train=3)
        found = data(made)
        assert found["held_out"] == 1
        assert found["classes"][1]["recall"] is None
        assert found["map"]["method"] == "PCA"
        assert "1 of 1" in page(made).text

    def test_a_hundred_classes(self) -> None:
        made = make([f"class {i}" for i in range(100)], 300, train=6, wrong=(5, 105, 205, 7))
        html = page(made)
        assert 'class="matrix"' not in report_html(*made, "photos.tlc").decode()
        assert "a matrix of 100 classes would not be read" in html.text
        assert data(made)["classes"][5]["recall"]["right"] == 0
        assert len({look(i) for i in range(36)}) == 36
        assert not [i for i in range(99) if set(zip(look(i), look(i + 1), strict=True)) & {(n, n) for n in range(6)}]
        assert "100 class 99" in html.text  # the legend numbers what the map has no room to name
        few = make(["a", "b"], 4)
        assert 'class="matrix"' in report_html(*few, "photos.tlc").decode()

    def test_without_a_head(self) -> None:
        made = make(["a", "b"], 8, wrong=(0,), headless=True)
        text = page(made).text
        assert "the nearest training image" in text
        assert "A bundle without a head gives no probabilities" in text
        assert "How honest" not in text
        found = data(made)
        assert found["files"][0]["reliability"] is None
        assert found["wrong"][0]["probability"] is None
        assert found["unsure"] == []
        assert "How honest" in page(make(["a", "b"], 8)).text

    def test_a_map_shows_part_of_many_images(self) -> None:
        found = data(make(["a", "b"], 400, train=300))
        parts = [p["part"] for p in found["map"]["points"]]
        assert (parts.count("train"), parts.count("held_out"), found["map"]["method"]) == (300, 300, "t-SNE")
        assert {p["label"] for p in found["map"]["points"]} == {"a", "b"}


class TestSections:
    def test_the_curve_or_why_there_is_none(self) -> None:
        points = (CurvePoint(10, 0.5, (0.3, 0.7), 1.0), CurvePoint(20, 0.8, (0.6, 0.9), 1.0))
        with_curve = page(make(["a", "b"], 10, curve=Curve("a linear head", points)))
        assert "Trained for the curve: a linear head" in with_curve.text
        without = page(make(["a", "b"], 10))
        assert "No learning curve: too little data: the smallest class has 3 training images" in without.text
        assert "Trained for the curve" not in without.text

    def test_skipped_files_and_copies(self) -> None:
        group = Group(("a/1.png", "b/2.png"), ("a", "b"), ("train",))
        told = page(make(["a", "b"], 6, skipped=[Skipped("a/x.png", "cut short")], duplicates=[group])).text
        for said in ("1 file could not be used.", "cut short", "2 images show only 1 picture."):
            assert said in told
        untold = page(make(["a", "b"], 6)).text
        assert "could not be used" not in untold
        assert "images show only" not in untold
