"""What `tlc build` prints when it is done, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .output import size, unknown_figures
from .parity_table import print_parity
from .screen import Screen
from .shards import WORKERS, told_workers, workers_document, workers_rows

if TYPE_CHECKING:
    from tlc_edge.compiler.limits.check import DeviceFit
    from tlc_edge.compiler.records import Correction, Score
    from tlc_edge.compiler.report.findings import FileFindings, Findings
    from tlc_edge.compiler.result import Built, Result


def _models(built: Built) -> list[dict[str, Any]]:
    return [
        {
            **asdict(score),
            "interval": [round(found.accuracy.low, 5), round(found.accuracy.high, 5)],
            "calibration_error": None if found.reliability is None else round(found.reliability.error, 5),
            "milliseconds": round(milliseconds, 3),  # on this machine
            "bias_correction": _correction(built.findings.corrections.get(score.file)),
        }
        for score, found, milliseconds in zip(built.scores, built.findings.files, built.milliseconds, strict=True)
    ]


def _correction(found: Correction | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {**asdict(found), "before": round(found.before, 5), "after": round(found.after, 5)}


def _worst(findings: Findings) -> dict[str, Any] | None:
    from tlc_edge.compiler.report.findings import worst_class

    worst = worst_class(findings)
    if worst is None:
        return None
    return {
        "label": worst.label,
        "held_out": worst.held_out,
        "found": worst.recall.right if worst.recall else 0,
    }


def document(result: Result) -> dict[str, Any]:
    """Return what `--json` prints."""
    from tlc_edge.compiler.report.warnings import find_warnings

    accuracy: dict[str, float] = {"float": result.float_accuracy}
    for bundle in result.bundles:
        # One target: the files' own names; several: a file of the same name may differ.
        prefix = f"{bundle.target}/" if len(result.bundles) > 1 else ""
        accuracy.update({f"{prefix}{s.file}": s.accuracy for s in bundle.scores})
    return {
        "bundles": [
            {
                "path": str(b.path),
                "site": None if b.site is None else str(b.site),
                "target": b.target,
                "scheme": b.scheme,
                "bytes": b.bytes,
                "models": _models(b),
                "worst_class": _worst(b.findings),
                "warnings": [asdict(w) for w in find_warnings(b.findings)],
                "unknown": b.unknown,
                "limits": [asdict(fit) for fit in b.fits],
                "notes": list(b.notes),
            }
            for b in result.bundles
        ],
        "accuracy": accuracy,
        "seconds": {name: round(s, 3) for name, s in result.seconds.items()},
        "labels": list(result.labels),
        "images": dict(result.images),
        "held_out": result.held_out,
        "restored": [asdict(r) for r in result.restored],
        "skipped": [{"file": s.name, "reason": s.reason} for s in result.skipped],
        "duplicates": [asdict(group) for group in result.duplicates],
        "cached": result.cached,
        "notes": list(result.notes),
        "recognised": result.recognised,
        "costs": {"read": result.costs.read, "workers": workers_document(result.costs.workers)},
        "parity": [asdict(pair) for pair in result.parity.pairs],
        "ladder": [{**asdict(r), "interval": [round(end, 5) for end in r.interval]} for r in result.rungs],
    }


def sentence(result: Result) -> str:
    """Return how good the file is that the first device prefers, in words."""
    found = result.bundles[0].findings.first.accuracy
    low, high = 100 * found.low, 100 * found.high
    return f"{100 * found.share:.0f} % right on {found.total} photos it never saw ({low:.0f} to {high:.0f} %)"


def print_summary(result: Result, verbose: bool = False) -> None:
    """Print what a person wants to know at once; with `verbose` all that was measured.

    First what the data were taken for, then how good it is, then what to do next; behind these the figures, and last
    what is to be known of them.
    """
    screen = Screen()
    first, site = result.bundles[0].path, result.bundles[0].site
    screen.line(result.recognised)
    screen.line(sentence(result), "bold green")
    screen.pairs(
        [
            *([("Next, in a browser:", f"python3 -m http.server --directory {site} 8000")] if site else []),
            ("Next, on the device:", f"tlc predict {first} IMAGE"),
            ("The whole report:", f"tlc inspect {first} --report"),
        ]
    )
    screen.line()
    screen.line(
        f"{len(result.labels)} classes; {result.images['train']} training images, {result.held_out} held out; "
        f"accuracy of the float graph {result.float_accuracy:.3f}; {sum(result.seconds.values()):.0f} s"
    )
    _print_costs(result, screen, verbose)
    _print_ladder(result, screen)
    said: set[str] = set()
    for b in result.bundles:
        screen.line()
        screen.line(f"{b.path}  for {b.target}, {size(b.bytes)}", "bold")
        shown = [name for name in _COLUMNS if verbose or name in _SHORT]
        told = [_row(*of_file) for of_file in zip(b.scores, b.findings.files, b.milliseconds, strict=True)]
        screen.table([[row[name] for name in shown] for row in told], shown)
        for line in map(_needs, b.fits) if verbose else ():
            if line:
                screen.line(line)
        for file, correction in b.findings.corrections.items() if verbose else ():
            screen.line(f"biases: {file}, {_brought(correction)}")
        worst = _worst(b.findings)
        if worst:
            screen.line(f"worst class: {worst['label']}, {worst['found']} of {worst['held_out']} found")
        screen.line(f"unknown: {unknown_figures(b.unknown)}")
        said |= _warn(b.findings, said, screen)
        for note in b.notes:
            screen.marked("-", note, "")
    if verbose and len(result.parity.pairs) > 1:  # of one file, the line above tells as much
        print_parity(result.parity, f"each file beside the others, on the {result.parity.images} golden images:")
    _print_notes(result, screen)
    if not verbose:
        screen.line()
        screen.line("All that was measured: -v, or the report", "dim")


def _print_costs(result: Result, screen: Screen, verbose: bool) -> None:
    """Print what the features took where others made them, and what came from elsewhere."""
    workers, read = result.costs.workers, result.costs.read
    if workers:
        screen.line(f"features: {told_workers(workers)}")
    if read:
        screen.line(f"read from elsewhere by this build: {size(read)}")
    if workers and verbose:
        screen.table(workers_rows(workers), WORKERS)


def _print_notes(result: Result, screen: Screen) -> None:
    """Print what was assumed, what was there already and what was left out."""
    for note in result.notes:
        screen.note(note)
    if result.cached:
        seen = (
            "1 image was seen before: its" if result.cached == 1 else f"{result.cached} images were seen before: their"
        )
        screen.note(f"{seen} features come from the cache")
    for skipped in result.skipped[:10]:
        screen.note(f"skipped {skipped.name}: {skipped.reason}")
    if len(result.skipped) > 10:
        screen.note(f"… and {len(result.skipped) - 10} more; all are in report.html")
    _print_duplicates(result, screen)


def _print_ladder(result: Result, screen: Screen) -> None:
    """Print what was tried for files that lost too much as asked."""
    if not result.rungs:
        return
    rows = [
        (
            r.file,
            r.described(),
            f"{r.accuracy:.3f}" if r.refused is None else "",
            f"{r.interval[0]:.3f} to {r.interval[1]:.3f}" if r.refused is None else "",
            f"{r.float_accuracy:.3f}" if r.refused is None else "",
            size(r.bytes),
            f"refused: {r.refused}"
            if r.refused is not None
            else f"embedding zero for {r.blind} images"
            if r.blind
            else "taken"
            if r.taken
            else "loses too much",
        )
        for r in result.rungs
    ]
    screen.line()
    screen.line("not good enough as asked; what was tried:")
    screen.table(rows, ("model", "made as", "accuracy", "95 % interval", "float graph", "size", ""))


_SHORT = ("model", "scheme", "size", "accuracy", "95 % interval", "ms here")
_COLUMNS = (*_SHORT[:-1], "calibration error", "same answer as float", "embedding cosine", "ms here")


def _row(score: Score, found: FileFindings, milliseconds: float) -> dict[str, str]:
    """Return what is told of a file, by `_COLUMNS`."""
    cells = (
        score.file,
        score.scheme,
        size(score.bytes),
        f"{score.accuracy:.3f}",
        f"{found.accuracy.low:.3f} to {found.accuracy.high:.3f}",
        "-" if found.reliability is None else f"{found.reliability.error:.3f}",
        f"{score.agreement:.3f}",
        f"{score.embedding_cosine:.4f}",
        f"{milliseconds:.1f}",
    )
    return dict(zip(_COLUMNS, cells, strict=True))


def _needs(fit: DeviceFit) -> str | None:
    """Return what a file needs beside what its device has; None where there is no limit."""
    parts: list[str] = []
    if fit.bytes_limit:
        parts.append(f"{size(fit.bytes)} of {size(fit.bytes_limit)}")
    if fit.memory is not None and fit.arena is not None:
        parts.append(f"an arena of {fit.arena:,} of {fit.memory_limit:,} bytes")
    elif fit.memory is not None:
        what = f"{size(fit.memory.bytes)} of {size(fit.memory_limit)} of memory"
        parts.append(f"{what} in a process with {fit.memory.engine}, measured on this machine")
    return f"limits: {fit.file} takes {' and '.join(parts)}" if parts else None


def _brought(c: Correction) -> str:
    what = "corrected" if c.taken else "as they were trained, corrected ones being no nearer to float"
    return (
        f"{what}; the features' cosine to float {c.before:.4f} without the correction, {c.after:.4f} with it "
        f"(simulated, {c.images} training images)"
    )


def _warn(findings: Findings, said: set[str], screen: Screen) -> set[str]:
    """Print and return the warnings that were not printed yet; copies and skipped files have lines of their own."""
    from tlc_edge.compiler.report.warnings import find_warnings

    elsewhere = ("copies-in-classes", "copies-in-parts", "skipped")
    new = [w.text for w in find_warnings(findings) if w.kind not in elsewhere and w.text not in said]
    for text in new:
        screen.marked("!", text)
    return set(new)


def _print_duplicates(result: Result, screen: Screen) -> None:
    if not result.duplicates:
        return
    images = sum(len(group.images) for group in result.duplicates)
    screen.note(
        f"near-duplicates: {images} images show {len(result.duplicates)} pictures; each kept on one side of the split"
    )
    doubtful = [g for g in result.duplicates if len(g.labels) > 1 or len(g.parts) > 1]
    for group in doubtful[:5]:
        shown = ", ".join(group.images[:4]) + (", …" if len(group.images) > 4 else "")
        if len(group.labels) > 1:
            screen.note(f"  {shown}: one picture in the classes {' and '.join(group.labels)}; a label is wrong")
        else:
            screen.note(f"  {shown}: could not be kept together ({', '.join(group.parts)}); the accuracy flatters")
    if len(doubtful) > 5:
        screen.note(f"  … and {len(doubtful) - 5} more like these; --json lists all")
