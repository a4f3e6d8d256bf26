"""Print what a camera sees whenever it changes, until Ctrl-C, SIGTERM or the end of the video.

The answer is smoothed: a label is told when it has more than two thirds of the latest frames, and
stays until another one has. A camera that goes away is waited for. A folder is watched for new images, and
the folders in it. An address may give a stream, or one photo per request.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlc_edge.cli.numbers import Finite
from tlc_edge.cli.options import bundle_argument, device_options, unknown_option
from tlc_edge.cli.output import put, put_json_line, say
from tlc_edge.cli.terminate import sigterm_as_interrupt
from tlc_edge.runtime.errors import UsageError
from tlc_edge.runtime.watch.save_bounds import MOST, MOST_MEGABYTES
from tlc_edge.runtime.watch.steady import usual_window

if TYPE_CHECKING:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.knn.prediction import Prediction
    from tlc_edge.runtime.watch.frames import Frame
    from tlc_edge.runtime.watch.unsure import Unsure
    from tlc_edge.runtime.watch.watch import Event


@click.command(help=__doc__)
@bundle_argument
@click.option(
    "--source",
    "--camera",
    "camera",
    required=True,
    metavar="WHERE",
    help="A camera's number (0), an address (rtsp://…, http://…), a video file, or a folder that gets new images.",
)
@click.option(
    "--smooth",
    type=click.IntRange(min=1),
    metavar="FRAMES",
    help="A label must have more than two thirds of this many frames.  "
    f"[default: {usual_window()}; for a folder {usual_window(folder=True)}]",
)
@click.option(
    "--every",
    type=Finite(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Look at a live camera this often.  [default: every frame; photos of an address each second]",
)
@click.option("--webhook", metavar="URL", help="POST each change there as JSON.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE|@FILE",
    help="Send it along with --webhook; of a file each line. Repeatable.",
)
@click.option(
    "--mqtt",
    metavar="[mqtts://]HOST[:PORT]/TOPIC",
    help="Publish each change there as JSON; TLC_MQTT_USER and TLC_MQTT_PASSWORD log in.",
)
@click.option("--ca", metavar="FILE", help="Trust the certificates in it (PEM), for https:// and mqtts://.")
@click.option("--home-assistant", is_flag=True, help="Have Home Assistant find it over --mqtt, as a device.")
@click.option("--save-unknown", metavar="DIR", help="Keep pictures of what is unknown or unsure, for `tlc label`.")
@click.option(
    "--save-most",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Pictures kept there; then the oldest give way.  [default: {MOST}]",
)
@click.option(
    "--save-megabytes",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"The same of what they take.  [default: {MOST_MEGABYTES}]",
)
@unknown_option("rate")
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
def watch(
    bundle: str,
    camera: str,
    smooth: int | None,
    every: float,
    webhook: str | None,
    headers: tuple[str, ...],
    mqtt: str | None,
    ca: str | None,
    home_assistant: bool,
    save_unknown: str | None,
    save_most: int | None,
    save_megabytes: int | None,
    rate: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    from tlc_edge.runtime.classifier import Classifier
    from tlc_edge.runtime.watch.alive import Alive
    from tlc_edge.runtime.watch.frames import is_folder, open_frames
    from tlc_edge.runtime.watch.home_assistant import HomeAssistant
    from tlc_edge.runtime.watch.mqtt import Mqtt
    from tlc_edge.runtime.watch.outbox import Outbox, Receiver
    from tlc_edge.runtime.watch.receivers import Webhook
    from tlc_edge.runtime.watch.steady import Steady
    from tlc_edge.runtime.watch.trust import trusted
    from tlc_edge.runtime.watch.watch import watch as run

    _check(webhook, headers, mqtt, ca, home_assistant)
    if save_unknown is None and (save_most, save_megabytes) != (None, None):
        raise UsageError("--save-most and --save-megabytes go with --save-unknown; give a folder")

    with sigterm_as_interrupt(), ExitStack() as stack:
        classifier = stack.enter_context(Classifier.open(bundle, unknown=rate, **options))
        trust = None if ca is None else trusted(ca)
        broker = Mqtt(mqtt, say, trust) if mqtt else None
        receivers: list[Receiver] = [Webhook(webhook, headers, trust)] if webhook else []
        alive = Alive()
        watched = open_frames(camera, every, alive.beat)
        frames = stack.enter_context(closing(watched.frames))
        steady = Steady(smooth or usual_window(is_folder(camera)))
        device = HomeAssistant(broker, classifier.classes()) if home_assistant and broker else None
        if broker is not None:
            receivers.append(broker)
            broker.start()
        outboxes = [stack.enter_context(Outbox(r, say)) for r in receivers]
        kept = _keeper(classifier, camera, save_unknown, save_most or MOST, save_megabytes or MOST_MEGABYTES)

        def looked(frame: Frame, prediction: Prediction) -> None:
            alive.beat()
            if device is not None:
                device.follow(classifier.classes())
            if kept is not None:
                kept.see(frame, prediction)

        say(f"watching {watched.text}")
        stack.callback(alive.ending)  # before what is on its way is waited for
        alive.ready()
        for event in run(classifier, frames, steady, say, looked):
            document = event.document()
            for outbox in outboxes:  # first: what was printed before an end is then on its way, or said to be lost
                outbox.put(json.dumps(document, ensure_ascii=True).encode())
            if device is not None and event.seen is not None:
                device.picture(event.seen, classifier.bundle.manifest.preprocessing)
            if as_json:
                put_json_line(document)
            else:
                put(_line(event))


def _check(
    webhook: str | None, headers: tuple[str, ...], mqtt: str | None, ca: str | None, home_assistant: bool
) -> None:
    """Raise UsageError where an option has nothing to work on."""
    if home_assistant and not mqtt:
        raise UsageError("--home-assistant goes over --mqtt; give the broker and a topic, such as localhost/kitchen")
    if headers and not webhook:
        raise UsageError("--header goes with --webhook; give its address")
    if ca and not ((webhook or "").startswith("https:") or (mqtt or "").startswith("mqtts:")):
        raise UsageError("--ca is for --webhook https://… and --mqtt mqtts://…; give one of them")


def _keeper(classifier: Classifier, camera: str, folder: str | None, most: int, megabytes: int) -> Unsure | None:
    """Return what keeps pictures, None where nothing is to be kept.

    Raises:
        UsageError: the folder lies in the one that is watched, which would then watch what it made itself.
        DeviceError: the folder cannot be written to.
    """
    from tlc_edge.runtime.watch.frames import is_folder
    from tlc_edge.runtime.watch.unsure import Unsure

    if folder is None:
        return None
    if is_folder(camera) and Path(folder).resolve().is_relative_to(Path(camera).resolve()):
        raise UsageError(f"--save-unknown {folder}: lies in the folder that is watched; choose another")
    return Unsure(Path(folder), classifier, say, most=most, most_bytes=megabytes * 1_000_000)


def _line(event: Event) -> str:
    p = event.prediction
    label = f"unknown (nearest: {p.label} {p.score:.2f})" if p.unknown else f"{p.label} {p.score:.2f}"
    when = event.time if event.seconds is None else _in_video(event.seconds)
    parts = [when, event.name, label, f"(was: {event.was})" if event.was is not None else None]
    return "  ".join(part for part in parts if part)


def _in_video(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:06.3f}"
