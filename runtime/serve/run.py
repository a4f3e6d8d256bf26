"""A server on its sockets, from its start to its end."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlc_edge.runtime.classifier import Classifier
from tlc_edge.runtime.engines.open import threads_for
from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.watch.frames import is_folder
from tlc_edge.runtime.watch.save_bounds import MOST, MOST_MEGABYTES

from .access import Access, is_address, is_loopback, make_access
from .app import App, make_app
from .authority import Trust, check_names, given_trust, own_trust
from .exchange import clear_leftovers
from .labelling import Unsorted
from .link import link_of, remember_address
from .live import EVERY, Live
from .served import Served, names_of
from .server import Server, make_config
from .tokens import Tokens

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
"""Of a host; browsers send one with other letters as `xn--…`."""


@dataclass(frozen=True)
class Options:
    """What `tlc serve` is asked for."""

    bundles: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 8000
    read_only: bool = False
    names: Sequence[str] = ()
    """Further host names."""
    prefix: str = ""
    trust_proxy: str | None = None
    """The address of a reverse proxy, whose word on who asks is taken."""
    token: bool = False
    """Ask for a token on loopback too."""
    camera: str | None = None
    """Whatever `tlc watch` takes."""
    every: float = EVERY
    """Seconds between two of its frames."""
    tls: bool = False
    """Speak TLS, by the device's own authority."""
    cert: str | None = None
    key: str | None = None
    """The same by a certificate and its key, files in PEM."""
    queue: str | None = None
    """A folder for pictures of what is unknown or unsure; None keeps none."""
    queue_most: int = MOST
    queue_megabytes: int = MOST_MEGABYTES
    gallery: str | None = None
    engine: str | None = None
    threads: int | None = None
    rate: float | None = None
    version: str = ""
    """Of tlc."""


@dataclass(frozen=True)
class Serving:
    """A server that is about to run."""

    app: App
    address: str
    """Of the page."""
    scheme: str
    port: int
    link: str | None
    """The same with the first token, where it was made just now: it is told this once."""
    trust: Trust | None
    """What it speaks TLS with."""
    tokens: Tokens | None
    run: Callable[[], None]
    """Serve until the end is asked for, by a signal or by `stop`."""
    stop: Callable[[], None]
    """Ask for the end, from any thread."""


@contextlib.contextmanager
def serving(options: Options, state: Path, say: Callable[[str], None]) -> Generator[Serving]:
    """Open bundles and the socket, and yield what runs until SIGINT or SIGTERM.

    Raises:
        UsageError, DeviceError: it cannot be served so.
        BundleError, EngineError, SelftestError, GalleryError: a bundle cannot be used.
    """
    check(options)
    tokens = Tokens(state) if needs_token(options) else None
    if tokens is not None:
        tokens.all()  # what is wrong with them is told now
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(contextlib.closing(listen(options.host, options.port)))
        port = listening.getsockname()[1]
        bundles = [stack.enter_context(contextlib.closing(one)) for one in open_bundles(options, say)]
        live = None if options.camera is None else Live(options.camera, options.every, bundles)
        if live is not None:
            say(f"watching {live.text}")
        access = make_access(tokens, port, options.names, options.read_only)
        most = max(threads_for(one.classifier.bundle, options.threads) for one in bundles)
        app = make_app(
            bundles, access, live=live, prefix=options.prefix, workers=most, version=options.version, complain=say
        )
        stack.callback(app.close)
        app.start()
        trust = make_trust(options, state, access)
        app.authority = None if trust is None else trust.authority
        config = make_config(app, options.trust_proxy, None if trust is None else trust.context)
        server = Server(config, app, trust, say)
        scheme = "http" if trust is None else "https"
        address = page_address(options, scheme, shown_host(options, access.names), port)
        if tokens is not None:
            remember_address(state, address)
        link = None
        if tokens is not None and not tokens.all():
            link = link_of(address, tokens.add("first")[1])
        yield Serving(app, address, scheme, port, link, trust, tokens, lambda: server.run([listening]), server.stop)


def check(options: Options) -> None:
    """Say before the work what cannot be.

    Raises:
        UsageError: it cannot.
    """
    if options.gallery is not None and len(options.bundles) != 1:
        raise UsageError("--gallery is for one bundle; each of several has its own beside it")
    if (options.cert is None) != (options.key is None):
        raise UsageError("--cert and --key go together; give the certificate and its key")
    if options.tls and options.cert is not None:
        raise UsageError("--tls makes a certificate, --cert brings one; choose")
    for name in options.names:
        if not (is_address(name) or _NAME.fullmatch(name)):
            raise UsageError(
                f"--host-name {name!r}: expected a name such as raspberrypi.local, without https:// and without a port"
            )
    if options.tls:
        check_names(options.names)
    if options.trust_proxy is not None and not is_address(options.trust_proxy):
        raise UsageError(f"--trust-proxy {options.trust_proxy}: expected its address in numbers, such as 127.0.0.1")
    camera, queue = options.camera, options.queue
    watched = Path(camera).resolve() if camera is not None and is_folder(camera) else None
    if queue is not None and watched is not None and Path(queue).resolve().is_relative_to(watched):
        raise UsageError(f"--queue {queue}: lies in the folder that is watched; choose another")
    if options.prefix and (
        not options.prefix.startswith("/") or options.prefix.endswith("/") or not _is_path(options.prefix)
    ):
        raise UsageError(f"--path-prefix {options.prefix!r}: expected a path such as /tlc, of letters, digits and ._~-")


def make_trust(options: Options, state: Path, access: Access) -> Trust | None:
    """Return what to speak TLS with; None where plain HTTP is asked for.

    Raises:
        DeviceError: a certificate cannot be used, or not be made.
    """
    if options.cert is not None and options.key is not None:
        return given_trust(options.cert, options.key)
    if not options.tls:
        return None
    return own_trust(state, [*access.names, *addresses_of(options.host)])


def addresses_of(host: str) -> list[str]:
    """Return the addresses in numbers under which this machine is reached."""
    if is_address(host) and not ipaddress.ip_address(host).is_unspecified:
        return [host]
    found = {"127.0.0.1", "::1"}
    with contextlib.suppress(OSError):
        found |= {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Nothing is sent: it only asks the system from which address it would.
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((far, 9))
            found.add(str(asking.getsockname()[0]).partition("%")[0])
    return sorted(found)


def needs_token(options: Options) -> bool:
    """Return whether who asks has to have a token: not where this machine alone can reach the server.

    A further name, or a path under which it is shown, means that a proxy brings others here.
    """
    return options.token or bool(options.names or options.prefix) or not is_loopback(options.host)


def open_bundles(options: Options, say: Callable[[str], None]) -> list[Served]:
    """Open the bundles; where one cannot be opened, none is.

    Raises:
        BundleError, EngineError, SelftestError, GalleryError: one cannot be used.
    """
    opened: list[Served] = []
    try:
        for name, bundle in zip(names_of(options.bundles), options.bundles, strict=True):
            classifier = Classifier.open(bundle, options.gallery, options.engine, options.threads, unknown=options.rate)
            opened.append(Served(name, classifier))
            if options.queue is not None:
                folder, most_bytes = Path(options.queue) / name, options.queue_megabytes * 1_000_000
                opened[-1].unsorted = Unsorted(folder, classifier, say, options.queue_most, most_bytes)
            clear_leftovers(classifier.gallery_path)
    except BaseException:
        for one in opened:
            one.close()
        raise
    return opened


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        DeviceError: the address cannot be had.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
    except OSError as e:
        raise DeviceError(f"--host {host}: {e.strerror or e}; give an address of this machine") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        made.bind(address)
        made.listen(512)
    except OSError as e:
        made.close()
        raise DeviceError(f"{host} port {port}: {e.strerror or e}; choose another --port or --host") from None
    return made


def shown_host(options: Options, names: Iterable[str]) -> str:
    """Return under which host the page is told: for all addresses, the name that others find it by."""
    if not options.names and options.host in ("0.0.0.0", "::"):
        local = sorted(name for name in names if name.endswith(".local"))
        return local[0] if local else socket.gethostname()
    host = options.names[0] if options.names else options.host
    return f"[{host}]" if ":" in host else host


def page_address(options: Options, scheme: str, host: str, port: int) -> str:
    """Return where the page is: behind a proxy not where the server listens, but where the proxy shows it."""
    where = f"https://{host}" if options.trust_proxy is not None and options.names else f"{scheme}://{host}:{port}"
    return f"{where}{options.prefix}/"


def _is_path(prefix: str) -> bool:
    return all(c.isascii() and (c.isalnum() or c in "/._~-") for c in prefix) and "//" not in prefix
