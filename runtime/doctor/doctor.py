"""What of tlc works on this device, and what to install next.

Every engine is tried in a process of its own: one that is built for another processor, or for another
numpy, takes down the process that loads it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, features

from tlc_edge.runtime.apart import last_line, run_apart
from tlc_edge.runtime.bundle.bundle import Bundle
from tlc_edge.runtime.engines.open import KINDS, EngineKind
from tlc_edge.runtime.errors import TlcError
from tlc_edge.runtime.install import pip_line
from tlc_edge.runtime.optional import hides_the_system
from tlc_edge.runtime.signing.policy import allowed

_PATIENCE = 120.0
_TRY = "tlc_edge.runtime.doctor.try_engine"
_TRY_LIBRARY = "tlc_edge.runtime.doctor.try_library"
_LEAST = {"numpy": (1, 23), "Pillow": (9, 4), "opencv-python-headless": (4, 6), "paho-mqtt": (2, 0)}
_CODECS = ("webp", "avif", "jpg_2000", "libtiff")
_EXTRAS = (
    ("cameras and videos", "cv2", ("opencv-python-headless", "opencv-python"), "pip install opencv-python-headless"),
    ("a Raspberry Pi's own camera", "picamera2", ("picamera2",), "sudo apt install python3-picamera2"),
    ("HEIC photos", "pillow_heif", ("pillow-heif",), "pip install pillow-heif"),
    ("MQTT", "paho.mqtt", ("paho-mqtt",), "pip install paho-mqtt"),
    ("signed bundles", "cryptography", ("cryptography",), "pip install cryptography"),
)


@dataclass(frozen=True)
class Part:
    """A library that tlc uses."""

    name: str
    version: str | None
    """None where it is not installed."""
    works: bool
    detail: str
    install: str = ""
    """The line that installs it, for what is not needed but of use."""
    trouble: str = ""
    """Why it cannot be used, where it is installed: of what is not needed but of use."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found."""

    tlc: str | None
    python: str
    machine: str
    cores: int
    libraries: tuple[Part, ...]
    engines: tuple[Part, ...]
    extras: tuple[Part, ...]
    bundle: str | None
    """Why the bundle cannot be used, or None."""
    next: tuple[str, ...]
    """What to run to have it work; empty where it does."""

    @property
    def works(self) -> bool:
        """Whether the device can predict: with the bundle where one was given, else at all."""
        return self.bundle is None and all(p.works for p in self.libraries) and any(p.works for p in self.engines)


def diagnose(bundle: str | os.PathLike[str] | None = None) -> Diagnosis:
    """Look at everything; with a bundle every engine also runs its golden samples. Raises nothing."""
    formats, problem = {k.format for k in KINDS}, None
    if bundle is not None:
        try:
            formats = {m.format for m in Bundle.open(bundle).manifest.models}
        except TlcError as e:
            problem, bundle = str(e), None
    engines = tuple(_engine(kind, None if bundle is None else os.fspath(bundle), formats) for kind in KINDS)
    libraries = (_numpy(), _pillow(), Part("SQLite", sqlite3.sqlite_version, True, "the gallery"))
    return Diagnosis(
        tlc=_version("tlc-edge"),
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        libraries=libraries,
        engines=engines,
        extras=(
            *(_extra(*extra) for extra in _EXTRAS),
            _extra("tlc serve", "starlette", ("starlette",), pip_line("serve")),
            _extra("tlc build", "tensorflow", ("tensorflow",), pip_line("compiler")),
        ),
        bundle=problem,
        next=() if any(e.works for e in engines) else advice(engines, formats, np.__version__),
    )


def advice(
    engines: Sequence[Part],
    formats: set[str],
    numpy: str,
    machine: str = platform.machine(),
    system: str = sys.platform,
    python: tuple[int, int] = sys.version_info[:2],
) -> tuple[str, ...]:
    """Return the line to run where no engine works, for this machine and the formats of the bundle."""
    here = {e.name for e in engines if e.version is not None}
    arm32 = machine in ("armv7l", "armv6l")
    old = {k.name for k in KINDS if k.old_numpy and k.format in formats}
    if old & here and int(numpy.split(".")[0]) >= 2:
        return ("pip install 'numpy<2'",)
    if "tflite" in formats and arm32:
        if python < (3, 12):
            return ("pip install tflite-runtime 'numpy<2'",)
        return ("install Python 3.11 and tlc in it: no engine has a wheel for newer ones on a 32-bit ARM",)
    name = "ai-edge-litert" if "tflite" in formats and system != "win32" else "onnxruntime"
    return (f"pip install {'--force-reinstall ' if name in here else ''}{name}",)


def _numpy() -> Part:
    return Part("numpy", np.__version__, _at_least("numpy", np.__version__), _wanted("numpy"))


def _pillow() -> Part:
    version = str(getattr(Image, "__version__", ""))
    turbo = features.version_feature("libjpeg_turbo") if features.check_feature("libjpeg_turbo") else None
    jpeg = f"libjpeg-turbo {turbo}" if turbo else "no libjpeg-turbo: photos decode slowly"
    known = [c for c in _CODECS if c in features.get_supported()]
    return Part("Pillow", version, _at_least("Pillow", version), ", ".join([_wanted("Pillow"), jpeg, *known]))


def _at_least(name: str, version: str) -> bool:
    try:
        major, minor = (int(n) for n in version.split(".")[:2])
    except ValueError:
        return True  # a version of its own kind; what does not work will say so itself
    return (major, minor) >= _LEAST[name]


def _wanted(name: str) -> str:
    return f"{'.'.join(map(str, _LEAST[name]))} or later"


def _extra(purpose: str, module: str, packages: tuple[str, ...], install: str) -> Part:
    name = packages[0]
    version = next(filter(None, map(_version, packages)), None)
    there = _found(module)
    if install.startswith("sudo apt") and hides_the_system():
        install += "; this venv hides what apt installs, so make it with: python3 -m venv --system-site-packages"
    # TensorFlow takes seconds to load, and a build says itself what is wrong with it.
    trouble = _trouble(module) if there and module != "tensorflow" else ""
    if not trouble and version is not None and name in _LEAST and not _at_least(name, version):
        trouble = f"is too old, {_wanted(name)} is needed; run: {install.replace(name, f'{name} --upgrade')}"
    return Part(name, version or ("?" if there else None), there and not trouble, purpose, install, trouble)


def _trouble(module: str) -> str:
    """Return what is wrong with a library that is there; it is loaded in a process of its own."""
    try:
        done = run_apart(_TRY_LIBRARY, module, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"gave no answer in {_PATIENCE:.0f} s"
    try:
        return str(json.loads(done.stdout) or "")  # what it prints itself is kept from there
    except ValueError:
        return _crash(done.returncode, done.stderr)


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _engine(kind: EngineKind, bundle: str | None, formats: set[str]) -> Part:
    version = _version(kind.name) or ("?" if kind.installed else None)
    if not kind.installed:
        return Part(kind.name, version, False, "not installed" if version is None else "its files are not there")
    if kind.format not in formats:
        return Part(kind.name, version, False, f"the bundle has no {kind.format} model for it")
    works, detail = _try_apart(kind.name, bundle)
    return Part(kind.name, version, works, detail)


def _try_apart(name: str, bundle: str | None) -> tuple[bool, str]:
    try:
        words = [] if bundle is None else [bundle, *(["allowed"] if allowed() else [])]
        done = run_apart(_TRY, name, *words, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return False, f"gave no answer in {_PATIENCE:.0f} s"
    try:
        works, detail = json.loads(done.stdout)
    except ValueError:
        return False, _crash(done.returncode, done.stderr)
    return bool(works), str(detail)


def _crash(code: int, said: bytes) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        return f"crashes ({name}); its wheel may be for another processor"
    return f"does not load ({last_line(said, f'exit code {code}')})"
