"""`tlc serve` behind a reverse proxy at a path of its own, by the files of examples/serve."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import ROOT
from serving import Running, picture, running

from tlc_edge.cli.commands.serve import serve
from tlc_edge.runtime.client import Client
from tlc_edge.runtime.serve.run import Options, page_address

EXAMPLES = ROOT / "examples" / "serve"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def server(bundle_path: Path, tmp_path: Path) -> Iterator[Running]:
    options = {"prefix": "/tlc", "names": ["example.org"], "trust_proxy": "127.0.0.1"}
    with running(bundle_path, state=tmp_path / "state", **options) as server:
        yield server


@contextlib.contextmanager
def nginx(server: Running, folder: Path) -> Iterator[str]:
    """nginx with the example's locations; the address that it listens on."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    own = (EXAMPLES / "nginx.conf").read_text().replace("http://127.0.0.1:8000", server.url.rstrip("/"))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:{port};\n{own}\n}}\n}}\n"
    )
    with subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert process.poll() is None, process.stderr and process.stderr.read()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_behind_nginx_at_a_path(server: Running, tmp_path: Path) -> None:
    with nginx(server, tmp_path) as address, httpx.Client(base_url=f"{address}/tlc/", timeout=60) as client:
        assert httpx.get(f"{address}/tlc", headers={"host": "example.org"}).status_code == 308
        page = client.get("", headers={"host": "example.org"})
        assert "page/start.js" in page.text
        assert client.get("page/start.js").status_code == 200
        assert client.get("", headers={"host": "evil.example"}).status_code == 421
        assert client.get("api/v1/bundles").status_code == 401
        entered = client.post(
            "api/v1/session",
            json={"token": server.token},
            headers={"host": "example.org", "origin": "https://example.org"},
        )
        assert (entered.status_code, "Path=/tlc/" in entered.headers["set-cookie"]) == (200, True)
        refused = client.post(
            "api/v1/session", json={"token": server.token}, headers={"origin": "https://evil.example"}
        )
        assert refused.status_code == 403
        with Client(f"{address}/tlc/#token={server.token}") as own:
            events = own.events()
            assert next(events)[0] == "hello"  # nginx keeps nothing back
            own.enroll("blot", [picture(i) for i in range(3)])
            assert next(events)[0] == "change"
            assert own.predict(picture(1)).label == "blot"


def test_who_asks_is_who_the_proxy_says_and_only_the_proxy_may_say_so(server: Running, bundle_path: Path) -> None:
    headers = {"authorization": "Bearer wrong", "x-forwarded-for": "10.9.9.9"}
    with server.client() as client:
        assert [client.get("classes", headers=headers).status_code for _ in range(11)][-1] == 429
        other = {**headers, "x-forwarded-for": "10.9.9.8"}
        assert client.get("classes", headers=other).status_code == 401
        secure = client.post(
            f"{server.url}api/v1/session", json={"token": server.token}, headers={"x-forwarded-proto": "https"}
        )
        assert "Secure" in secure.headers["set-cookie"]


def test_nobody_else_is_believed(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state", token=True) as server, server.client() as client:
        found = [
            client.get("classes", headers={"authorization": "Bearer x", "x-forwarded-for": f"10.0.0.{i}"}).status_code
            for i in range(11)
        ]
        assert found[-1] == 429
        plain = client.post(
            f"{server.url}api/v1/session", json={"token": server.token}, headers={"x-forwarded-proto": "https"}
        )
        assert "Secure" not in plain.headers["set-cookie"]


def test_the_link_leads_through_the_proxy() -> None:
    given = {"bundles": ["a.tlc"], "prefix": "/tlc", "names": ["example.org"]}
    assert page_address(Options(**given, trust_proxy="127.0.0.1"), "http", "example.org", 8000) == (
        "https://example.org/tlc/"
    )
    assert page_address(Options(**given), "http", "example.org", 8000) == "http://example.org:8000/tlc/"


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile", "compose.yaml"])
def test_the_commands_of_the_examples_can_be_read(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    if name == "compose.yaml":
        (block,) = text.split("command:\n")[1].split("    ports:")[:1]
        words = [line.strip().removeprefix("- ") for line in block.splitlines()]
        assert words[0] == "serve"
    else:
        (line,) = (line for line in text.splitlines() if line.startswith("#   tlc "))
        words = line.split()[2:]
    given = serve.make_context("tlc serve", words[1:]).params
    assert given["bundles"] == ("photos.tlc",)
    assert given["names"]
