"""The report's tables, as HTML. What comes from the user's data is escaped here, and nowhere trusted."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from .figures import whisker
from .findings import ClassFindings, FileFindings, Findings, Rate, confused_pairs
from .html import captioned, count_of, interval, name, percent, size, table

_MATRIX = 40  # a larger matrix is no longer read, only scrolled
_NAMED = 12  # classes up to which columns carry names, beyond numbers
_PAIRS = 20
_SHOWN = 50  # files and groups that are listed


def accuracy_table(findings: Findings) -> str:
    """Return a row a file, the float graph last."""

    def row(f: FileFindings) -> list[str]:
        a, r = f.accuracy, f.reliability
        cosine = "-" if f.embedding_cosine is None else f"{f.embedding_cosine:.4f}"
        return [
            escape(f.file),
            escape(f.scheme),
            size(f.bytes) if f.bytes else "-",
            f"{a.right} of {a.total}",
            f"<b>{percent(a.share)}</b>",
            interval(a),
            percent(f.agreement),
            cosine,
            "-" if r is None else f"{r.error:.3f}",
        ]

    head = ("model", "scheme", "size", "right", "accuracy", "95 % interval", "same answer as float")
    return table(
        "Accuracy on held-out images: validation and test, which trained nothing and set no range.",
        (*head, "embedding cosine", "calibration error"),
        [row(f) for f in (*findings.files, findings.reference)],
    )


def class_table(findings: Findings) -> str:
    """Return a row a class, the class that is found worst first."""

    def cells(r: Rate | None) -> list[str]:
        if r is None:
            return ["-", "-"]
        return [percent(r.share), f"{whisker(r.low, r.share, r.high)} {interval(r)}"]

    def worst_first(c: ClassFindings) -> tuple[float, str]:
        return (c.recall.share if c.recall else 1.0, c.label)

    rows = [
        [name(c.label), str(c.train), str(c.held_out), *cells(c.recall), *cells(c.precision)]
        for c in sorted(findings.classes, key=worst_first)
    ]
    return table(
        "Each class, the worst found first. Recall: how many of its images are found. Precision: how often the answer "
        "is right when it is given. With 95 % intervals.",
        ("class", "training", "held out", "recall", "", "precision", ""),
        rows,
    )


def confusion_table(findings: Findings) -> str:
    """Return the matrix, or for many classes the pairs that are confused most."""
    labels = findings.labels
    pairs = confused_pairs(findings)
    if len(labels) <= _MATRIX:
        return _matrix(findings)
    if not pairs:
        return "<p>No class is taken for another.</p>"
    rows = [[name(labels[i]), name(labels[j]), str(n)] for n, i, j in pairs[:_PAIRS]]
    more = f" {len(pairs) - _PAIRS} more pairs are in report.json." if len(pairs) > _PAIRS else ""
    return table(
        f"The pairs of classes that are confused most; a matrix of {len(labels)} classes would not be read.{more}",
        ("truth", "answer", "images"),
        rows,
    )


def _matrix(findings: Findings) -> str:
    labels, matrix = findings.labels, findings.confusion
    named = len(labels) <= _NAMED

    def column(i: int) -> str:
        if named:
            return f"<th scope=col class=tall>{name(labels[i])}</th>"
        return f'<th scope=col title="{escape(labels[i])}">{i + 1}</th>'

    def cell(i: int, j: int, total: int) -> str:
        count = int(matrix[i, j])
        if not count:
            return "<td class=zero>·</td>"
        tint = "var(--good)" if i == j else "var(--bad)"
        return f'<td style="background:rgba({tint},{0.15 + 0.55 * count / total:.2f})">{count}</td>'

    body = "".join(
        f"<tr><th scope=row>{'' if named else f'{i + 1} '}{name(label)}</th>"
        + "".join(cell(i, j, max(1, int(matrix[i].sum()))) for j in range(len(labels)))
        + "</tr>"
        for i, label in enumerate(labels)
    )
    return (
        captioned("A row a true class, a column an answer; right answers lie on the diagonal.")
        + "<table class=matrix><thead><tr><td></td>"
        + "".join(column(i) for i in range(len(labels)))
        + f"</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def size_table(findings: Findings) -> str:
    """Return sizes and the arithmetic of an image."""
    macs = findings.study.macs
    work = "not countable" if macs is None else f"{macs / 1e6:,.1f} million"
    rows = [[escape(f.file), escape(f.scheme), escape(f.engine), f"{f.bytes:,}", work] for f in findings.files]
    return table(
        "Each file, and the multiply-accumulates of its convolutions and dense layers for one image.",
        ("model", "scheme", "engine here", "bytes", "multiply-accumulates"),
        rows,
    )


def parity_table(findings: Findings) -> str:
    """Return every two files of the build, other targets' too, and the float graph, beside each other."""
    p = findings.parity
    rows = [
        [
            escape(pair.one),
            escape(pair.other),
            f"{pair.lowest_cosine:.4f}",
            f"{pair.mean_cosine:.4f}",
            "-" if pair.largest_difference is None else f"{pair.largest_difference:.3f}",
            "-" if pair.agreement is None else f"{100 * pair.agreement:.0f} %",
        ]
        for pair in p.pairs
    ]
    return table(
        f"Every two files of this build, those of other targets too, on the {p.images} golden images.",
        ("", "against", "lowest cosine", "mean cosine", "largest probability difference", "same answer"),
        rows,
    )


def choice_table(findings: Findings) -> str:
    """Return what was chosen and why."""
    rows = [[escape(c.what), escape(c.value), escape(c.why)] for c in findings.choices]
    return table("What was chosen, and why.", ("what", "chosen", "because"), rows, "text")


def settings_table(rows: Iterable[tuple[str, Any]]) -> str:
    """Return names and values as they are."""
    return table("", ("setting", "value"), [[escape(str(k)), escape(str(v))] for k, v in rows], "text")


def skipped_table(findings: Findings) -> str:
    """Return the files that could not be used; nothing where there are none."""
    if not findings.skipped:
        return ""
    rows = [[name(s.name), escape(s.reason)] for s in findings.skipped[:_SHOWN]]
    caption = f"{count_of(len(findings.skipped), 'file')} could not be used{_rest(len(findings.skipped))}."
    return table(caption, ("file", "reason"), rows, "text")


def duplicates_table(findings: Findings) -> str:
    """Return the images that show one picture; nothing where there are none."""
    groups = findings.duplicates
    if not groups:
        return ""
    rows = [
        [name(g.images[0]), ", ".join(map(name, g.images[1:6])), ", ".join(map(name, g.labels)), ", ".join(g.parts)]
        for g in groups[:_SHOWN]
    ]
    caption = (
        f"{sum(len(g.images) for g in groups)} images show only {count_of(len(groups), 'picture')}"
        f"{_rest(len(groups))}. "
        "Copies are kept on one side of the split where that can be done."
    )
    return table(caption, ("image", "the same picture", "classes", "parts"), rows, "text")


def _rest(count: int) -> str:
    return f"; the first {_SHOWN} are listed, all are in report.json" if count > _SHOWN else ""
