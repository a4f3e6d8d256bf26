"""What people type from habit or by mistake, and what they meant: one table, asked where a command has failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

OPTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--quantize", "--quantization", "--quant", "--precision", "--int8", "--half"), ("--scheme",)),
    **dict.fromkeys(
        ("--imgsz", "--img-size", "--image-size", "--size", "--resolution", "--input-shape"), ("--input-size",)
    ),
    **dict.fromkeys(
        ("--model", "--arch", "--architecture", "--network", "--base-model", "--pretrained"), ("--backbone",)
    ),
    **dict.fromkeys(("--dataset", "--data-dir", "--images", "--input", "--source", "--train"), ("--data", "--camera")),
    **dict.fromkeys(("--out", "--output-dir", "--out-dir", "--save", "--name", "--project"), ("--output",)),
    **dict.fromkeys(("--device", "--platform", "--board"), ("--target",)),
    **dict.fromkeys(("--lr", "--learningrate", "--lr0"), ("--learning-rate",)),
    **dict.fromkeys(("--conf", "--threshold", "--confidence"), ("--unknown",)),
    **dict.fromkeys(("--topk", "--top-k", "-k"), ("--top",)),
    **dict.fromkeys(("--workers", "--jobs", "-j"), ("--threads",)),
    **dict.fromkeys(("--backend", "--runtime", "--delegate"), ("--engine",)),
    **dict.fromkeys(("--overwrite", "--exist-ok", "-f"), ("--force",)),
    **dict.fromkeys(("--finetune", "--unfreeze"), ("--fine-tune",)),
    **dict.fromkeys(("--augmentation", "--aug"), ("--augment",)),
    **dict.fromkeys(("--video", "--webcam", "--stream", "--url"), ("--camera", "--source")),
    **dict.fromkeys(("--db", "--database"), ("--gallery",)),
}
"""Options of other tools, and ours that do the same; the first that a command has is named."""

COMMANDS: dict[str, str] = {
    **dict.fromkeys(("list", "ls", "classes", "labels"), "tlc gallery list BUNDLE shows what is enrolled"),
    **dict.fromkeys(("rename", "mv"), "tlc gallery rename BUNDLE OLD NEW"),
    **dict.fromkeys(("import", "merge", "migrate", "recover", "compact"), "tlc gallery has it: see tlc gallery --help"),
    **dict.fromkeys(("export", "convert", "deploy"), "the files that tlc build makes are in the bundle, a zip; what is "
                    "enrolled: tlc gallery export BUNDLE -o FILE"),
    **dict.fromkeys(("api", "server", "http", "web", "ui"), "tlc serve BUNDLE gives a page and an HTTP API; "
                    "tlc watch BUNDLE posts each change to a --webhook"),
    **dict.fromkeys(("train", "fit", "compile", "make", "quantize"), "tlc build --data SRC --target NAME"),
    **dict.fromkeys(("classify", "infer", "inference", "run", "detect"), "tlc predict BUNDLE IMAGE…"),
    **dict.fromkeys(("test", "val", "validate", "eval", "evaluate", "check"),
                    "tlc verify BUNDLE --data SRC; on a device: tlc selftest BUNDLE"),
    **dict.fromkeys(("benchmark", "time", "profile"), "tlc bench BUNDLE IMAGE"),
    **dict.fromkeys(("learn", "teach", "add"), "tlc enroll BUNDLE LABEL IMAGE…"),
    **dict.fromkeys(("delete", "remove", "rm", "unlearn"), "tlc forget BUNDLE LABEL"),
    **dict.fromkeys(("info", "show", "describe", "report"), "tlc inspect BUNDLE"),
    **dict.fromkeys(("models", "networks", "zoo"), "tlc backbones"),
    **dict.fromkeys(("devices", "boards", "platforms"), "tlc targets"),
    **dict.fromkeys(("camera", "stream", "webcam", "live"), "tlc watch BUNDLE --camera WHERE"),
}  # fmt: skip
"""Commands of other tools, and what does the same here; none of them is a command of ours."""

_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mjpeg")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".heic", ".tif", ".tiff")


def suggest(words: Sequence[str], error: Exception) -> str | None:
    """Return what was meant, a sentence for people; None where nothing is known."""
    if isinstance(error, click.NoSuchOption):
        return _of_option(error)
    if isinstance(error, click.UsageError):
        return _of_command(error) or _of_argument(words, error)
    return _of_files(words, error)


def _of_option(error: click.NoSuchOption) -> str | None:
    has = _options(error.ctx)
    meant = next((name for name in OPTIONS.get(error.option_name, ()) if name in has), None)
    return None if meant is None else f"here it is {meant}"


def _of_command(error: click.UsageError) -> str | None:
    found = re.match(r"No such command '([^']*)'", error.format_message())
    meant = COMMANDS.get(found[1].casefold()) if found else None
    return f"perhaps {meant}" if meant else None


def _of_argument(words: Sequence[str], error: click.UsageError) -> str | None:
    """Return what is to be said of an argument in the place of an option, or of an option that is missing."""
    message, has, extra = error.format_message(), _options(error.ctx), _extra(words, error.ctx)
    if extra and "--data" in has and "--data" not in words:
        return f"labelled images are given as --data {extra[0]}"
    if extra and "--target" in has and "--target" not in words:
        return f"a device is given as --target {extra[0]}"
    if "Missing option '--target'" in message:
        return "tlc targets lists them; rpi is a Raspberry Pi, desktop this machine"
    return None


def _extra(words: Sequence[str], context: click.Context | None) -> list[str]:
    """Return the arguments that a command has no place for."""
    if context is None:
        return []
    parser = context.command.make_parser(click.Context(context.command))
    try:
        return list(parser.parse_args(list(words[len(context.command_path.split()) - 1 :]))[1])
    except click.UsageError:
        return []


def _of_files(words: Sequence[str], error: Exception) -> str | None:
    """Return what is to be said of a bundle, an image or a video in the place of another."""
    command, files = (words[0], [word for word in words[1:] if not word.startswith("-")]) if words else ("", [])
    if command in ("predict", "enroll", "bench", "selftest", "watch", "verify") and files:
        bundle = next((name for name in files[1:] if name.endswith(".tlc")), None)
        if bundle is not None and not files[0].endswith(".tlc") and files[0].lower().endswith(_IMAGES):
            return f"the bundle comes first: tlc {command} {bundle} …"
    if command == "forget" and len(files) > 1 and files[1] in _built_classes(Path(files[0])) and files[1] in str(error):
        return f"{files[1]} is one of the classes that were built in; a tlc build without its images lacks it"
    return None


def of_video(bundle: str, images: Sequence[str]) -> str | None:
    """Return what is to be said of a video among images that could not be read; None without one."""
    video = next((name for name in images if name.lower().endswith(_VIDEOS)), None)
    return None if video is None else f"a video is watched: tlc watch {bundle} --camera {video}"


def _built_classes(bundle: Path) -> tuple[str, ...]:
    from tlc_edge.runtime.bundle.bundle import Bundle
    from tlc_edge.runtime.errors import TlcError

    try:
        return tuple(Bundle.open(bundle).manifest.labels)
    except TlcError:
        return ()


def _options(context: click.Context | None) -> set[str]:
    return {name for parameter in context.command.params for name in parameter.opts} if context else set()
