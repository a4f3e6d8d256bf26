"""`tlc serve`: who may, and what is refused however it comes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_runs import apart, here, without
from serving import Running, picture, running
from test_json_shapes import hold
from test_serve import holds

from tlc_edge.runtime.errors import DeviceError, UsageError
from tlc_edge.runtime.serve.access import host_name, is_loopback, make_access
from tlc_edge.runtime.serve.authority import check_names, own_trust
from tlc_edge.runtime.serve.guard import MOST_BODY
from tlc_edge.runtime.serve.link import qr_lines
from tlc_edge.runtime.serve.patient import Patient
from tlc_edge.runtime.serve.rates import Rates
from tlc_edge.runtime.serve.run import Options, check, needs_token
from tlc_edge.runtime.serve.tokens import Tokens


@pytest.fixture
def guarded(bundle_path: Path, tmp_path: Path) -> Iterator[Running]:
    with running(bundle_path, state=tmp_path / "state", token=True) as server:
        yield server


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# --- tokens


def test_who_asks_from_beyond_needs_a_token_and_who_asks_from_here_none() -> None:
    for host, names, prefix, token, needed in (
        ("127.0.0.1", (), "", False, False),
        ("::1", (), "", False, False),
        ("localhost", (), "", False, False),
        ("0.0.0.0", (), "", False, True),
        ("192.168.1.5", (), "", False, True),
        ("127.0.0.1", ("tlc.example.org",), "", False, True),  # a proxy brings others here
        ("127.0.0.1", (), "/tlc", False, True),
        ("127.0.0.1", (), "", True, True),
    ):
        assert needs_token(Options(["a.tlc"], host=host, names=names, prefix=prefix, token=token)) is needed


@pytest.mark.parametrize("header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"])
def test_who_comes_through_a_proxy_to_a_server_that_asks_for_no_token_is_refused(
    bundle_path: Path, tmp_path: Path, header: str
) -> None:
    with running(bundle_path, state=tmp_path / "state") as server, server.client() as client:
        brought = client.get("classes", headers={header: "192.0.2.7"})
        assert brought.status_code == 403
        assert "--host-name" in brought.text
        assert client.get("classes").status_code == 200


def test_without_a_token_nothing_is_told(guarded: Running) -> None:
    with guarded.client() as client:
        for method, path in (("GET", "classes"), ("POST", "predict"), ("GET", "thumbnails/1"), ("GET", "events")):
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="tlc"')
        assert client.get(f"{guarded.url}metrics").status_code == 401
        assert client.get(f"{guarded.url}healthz").status_code == 200
        assert client.get(guarded.url).status_code == 200  # the page, which asks for one
        site = holds("Site", client.get(f"{guarded.url}site.json").json())
        assert (site["needs_token"], site["may_read"], site["bundles"]) == (True, False, [])


def test_a_token_opens_and_so_does_the_cookie_it_is_given_for(guarded: Running) -> None:
    with guarded.client() as client:
        assert client.get("classes", headers=bearer(guarded.token)).status_code == 200
        assert client.get("classes").status_code == 401
        entered = client.post(f"{guarded.url}api/v1/session", json={"token": guarded.token})
        assert entered.json() == {"may_change": True}
        cookie = entered.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
        assert client.get("classes").status_code == 200
        assert client.get(f"{guarded.url}site.json").json()["bundles"] == ["photos"]
        client.delete(f"{guarded.url}api/v1/session")
        assert client.get("classes").status_code == 401


def test_a_token_that_may_read_may_not_change(guarded: Running, tmp_path: Path) -> None:
    _, secret = Tokens(tmp_path / "state").add("guest", read_only=True)
    with guarded.client(headers=bearer(secret)) as client:
        assert client.post("predict", content=picture()).status_code == 200
        refused = client.post("enroll?label=a", content=picture())
        assert (refused.status_code, holds("Error", refused.json())["error"]["kind"]) == (403, "Refused")
        assert client.post("undo").status_code == 403
        assert client.get(f"{guarded.url}site.json").json()["may_change"] is False


def test_a_server_for_reading_only_changes_nothing(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state", read_only=True) as server, server.client() as client:
        assert client.post("predict", content=picture()).status_code == 200
        assert client.post("enroll?label=a", content=picture()).status_code == 403
    assert not bundle_path.with_name("photos.tlc.gallery").exists()


def test_what_is_revoked_opens_nothing_any_more(guarded: Running, tmp_path: Path) -> None:
    with guarded.client(headers=bearer(guarded.token)) as client:
        assert client.get("classes").status_code == 200
        Tokens(tmp_path / "state").revoke("first")
        assert client.get("classes").status_code == 401


def test_wrong_tokens_are_soon_not_even_looked_at_and_right_ones_are(guarded: Running) -> None:
    with guarded.client() as client:
        found = [client.get("classes", headers=bearer(f"wrong{i}")).status_code for i in range(15)]
        assert (found[:10], found[-1]) == ([401] * 10, 429)
        assert client.get("classes", headers=bearer(guarded.token)).status_code == 200


def test_tokens_are_kept_as_hashes_for_their_owner_alone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "s")
    token, secret = tokens.add("phone")
    file = tmp_path / "s" / "tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert secret not in file.read_text()
    assert Tokens(tmp_path / "s").find(secret) == token
    assert tokens.find(secret[:-1]) is None
    with pytest.raises(UsageError, match="already"):
        tokens.add("phone")
    file.chmod(0o666)
    with pytest.raises(DeviceError, match="others may write"):
        Tokens(tmp_path / "s").all()
    file.chmod(0o600)
    for text in ("{", "[]", '{"tokens": [1]}', '{"tokens": [{"name": "a"}]}', "null"):
        file.write_text(text)
        with pytest.raises(DeviceError, match="damaged"):
            Tokens(tmp_path / "s").find("x")


def test_tokens_that_are_added_and_revoked_at_once_are_all_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: Tokens(tmp_path / "s").add()[0].name, range(24)))
        assert sorted(added) == sorted(token.name for token in Tokens(tmp_path / "s").all())
        assert len({*added}) == 24
        list(pool.map(lambda name: Tokens(tmp_path / "s").revoke(name), added[:20]))
    assert {token.name for token in Tokens(tmp_path / "s").all()} == {*added[20:]}


def test_the_commands_add_list_and_revoke(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    state = tmp_path / "s"
    added = here(capfd, "token", "add", "--state", state, "--address", "http://pi.local:8000/", "--json").json()
    assert added["link"] == f"http://pi.local:8000/#token={added['token']}"
    shown = here(capfd, "token", "add", "--state", state, "--name", "guest", "--read-only", "--address", "http://a/")
    assert "█" in shown.out
    assert "http://a/#token=" in shown.out
    hold("token-add", added)
    found = here(capfd, "token", "list", "--state", state, "--json").json()
    hold("token-list", found)
    listed = found["tokens"]
    assert [(t["name"], t["read_only"]) for t in listed] == [("token-1", False), ("guest", True)]
    assert here(capfd, "token", "revoke", "--state", state, "guest").out == "guest: revoked\n"
    hold("token-revoke", here(capfd, "token", "revoke", "--state", state, "token-1", "--json").json())
    assert "known: none" in here(capfd, "token", "revoke", "--state", state, "guest").failed(2)


def test_a_qr_code_can_be_read_back() -> None:
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    lines = qr_lines("https://raspberrypi.local:8000/#token=" + "x" * 43)
    rows = [[c in "█▀" for c in line] if half == 0 else [c in "█▄" for c in line] for line in lines for half in (0, 1)]
    image = np.kron(np.array(rows, np.uint8) * 255, np.ones((8, 8), np.uint8))
    assert cv2.QRCodeDetector().detectAndDecode(image)[0] == "https://raspberrypi.local:8000/#token=" + "x" * 43


def test_without_the_extra_it_is_one_sentence_and_tokens_can_be_kept(tmp_path: Path, bundle_path: Path) -> None:
    for library in ("starlette", "uvicorn", "python_multipart", "prometheus_client", "segno"):
        said = apart("serve", bundle_path, **without(tmp_path, library)).failed()
        assert f"`tlc serve` needs {library}, which is not installed; run: pip install" in said
        assert "[serve]" in said
    assert apart("token", "list", "--state", tmp_path / "s", **without(tmp_path, "starlette", "uvicorn")).code == 0
    add = ("token", "add", "--state", tmp_path / "s", "--address", "http://a/")
    assert "segno" in apart(*add, **without(tmp_path, "segno")).failed()
    assert apart("token", "list", "--state", tmp_path / "s", "--json").json() == {"tokens": []}


# --- whose page asks, and under which name


def test_another_name_than_its_own_is_refused(guarded: Running) -> None:
    with guarded.client(headers=bearer(guarded.token)) as client:
        for host in ("evil.example", "localhost.evil.example", "evil.example:8000", "", "a@localhost", "localhost/x"):
            assert client.get("classes", headers={"host": host}).status_code == 421, host
            assert client.get(guarded.url, headers={"host": host}).status_code == 421
        for host in (
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1",
            "[::1]:8000",
            "192.168.0.7",
            f"{socket.gethostname()}.local",
        ):
            assert client.get("classes", headers={"host": host}).status_code == 200, host


def test_a_page_of_another_site_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state") as server, server.client() as client:
        own = server.url.rstrip("/")
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://127.0.0.1:1"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": own, "sec-fetch-site": "cross-site"},
        ):
            refused = client.post("enroll?label=a", content=picture(), headers=headers)
            assert refused.status_code == 403, headers
            assert "access-control-allow-origin" not in refused.headers
            assert client.get("classes", headers=headers).status_code == 403
        for headers in ({"origin": own}, {"sec-fetch-site": "same-origin", "origin": own}, {"sec-fetch-site": "none"}):
            assert client.post("undo", headers=headers).status_code == 409  # nothing to undo: it was let in
        assert client.options("classes", headers={"origin": "https://evil.example"}).status_code in (403, 405)
        assert not bundle_path.with_name("photos.tlc.gallery").exists()


def test_names_in_headers() -> None:
    for host, name in (("a:1", "a"), ("A.", "a"), ("[::1]:8000", "::1"), ("a:x", None), ("a:99999", None), ("", None)):
        assert host_name(host) == name, host
    assert is_loopback("127.0.0.5")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")
    assert "raspberry.local" in make_access(None, 1, ["Raspberry.local."]).names


# --- how much, how slowly, how often


def test_what_is_too_large_is_refused_before_it_is_read(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw(guarded) as connection:
        head = f"POST /api/v1/bundles/photos/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {1 << 40}\r\n\r\n"
        connection.sendall(head.encode())
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"connection: close" in answer.lower()

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with guarded.client(headers=bearer(guarded.token)) as client:
        with monkeypatch.context() as brief, contextlib.suppress(httpx.TransportError):
            brief.setattr("tlc_edge.runtime.serve.guard._LINGER", 0.2)
            assert client.post("predict", content=endless()).status_code == 413
        # Who brings a little too much, and reads when all is sent, learns why.
        refused = client.post("predict", content=bytes(MOST_BODY + 1))
        assert refused.json()["error"]["what"] == "the request is larger than the limit of 64 MB"
        unknown = client.post("predict", content=bytes(MOST_BODY), headers=bearer("wrong"))
        assert unknown.json()["error"]["what"] == "the token is wrong, or was revoked; ask for another link"
        assert client.get("classes").status_code == 200
    assert guarded.app.guard.bodies.held == 0


def test_nobody_brings_much_without_a_token(guarded: Running) -> None:
    with guarded.client() as client:
        assert client.post(f"{guarded.url}api/v1/session", json={"token": "x" * 5000}).status_code == 413


def test_too_many_images_and_forms_that_are_none(guarded: Running) -> None:
    with guarded.client(headers=bearer(guarded.token)) as client:
        many = [("images", (f"{i}.jpg", b"x")) for i in range(101)]
        assert "more than 100" in client.post("enroll?label=a", files=many).json()["error"]["what"]
        two = [("images", (f"{i}.jpg", picture())) for i in range(2)]
        assert client.post("predict", files=two).status_code == 400
        for kind, body in (
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=a", b"--a\r\nx"),
            ("multipart/form-data; boundary=a", b'--a\r\nContent-Disposition: form-data; filename="x"\r\n\r\nhalf'),
            ("multipart/form-data; boundary=a", b"\x00" * 100),
        ):
            assert client.post("predict", content=body, headers={"content-type": kind}).status_code == 400, body


def raw(server: Running) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", int(server.url.rstrip("/").rpartition(":")[2])), timeout=30)
    found.settimeout(30)
    return found


def test_half_an_upload_changes_nothing(guarded: Running, bundle_path: Path) -> None:
    with raw(guarded) as connection:
        head = "POST /api/v1/bundles/photos/enroll?label=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        connection.sendall(f"{head}Authorization: Bearer {guarded.token}\r\n\r\n".encode() + picture())
    with guarded.client(headers=bearer(guarded.token)) as client:
        assert client.get("examples").json() == {"examples": []}
    assert not bundle_path.with_name("photos.tlc.gallery").exists()
    assert guarded.said == []


def test_who_sends_too_slowly_is_let_go(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlc_edge.runtime.serve.patient._PATIENCE", 0.3)
    monkeypatch.setattr("tlc_edge.runtime.serve.guard._PATIENCE", 0.3)
    with raw(guarded) as connection:  # no request at all
        assert connection.recv(100) == b""
    with raw(guarded) as connection:  # a head that never ends
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.05)
            ended = False
        except OSError:
            ended = True
        assert ended
    with raw(guarded) as connection:  # a second request's head that never ends
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(4096)
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        while connection.recv(4096):
            pass
    with raw(guarded) as connection:  # a body that never comes
        head = "POST /api/v1/bundles/photos/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        connection.sendall(f"{head}Authorization: Bearer {guarded.token}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_who_takes_nothing_is_let_go(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlc_edge.runtime.serve.patient._DEAF", 0.3)
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400  # 25 MB that nobody reads
    with raw(guarded) as connection:
        lost = threading.Event()
        monkeypatch.setattr(Patient, "connection_lost", _and_tell(Patient.connection_lost, lost))
        connection.sendall(asked)
        assert lost.wait(30)


def _and_tell(method: Callable[..., None], told: threading.Event) -> Callable[..., None]:
    def both(*given: Any) -> None:
        method(*given)
        told.set()

    return both


def test_changes_have_a_rate() -> None:
    now = [0.0]
    rates = Rates(2, 3, lambda: now[0])
    assert [rates.take("a") for _ in range(4)] == [True, True, True, False]
    assert rates.take("b")
    now[0] = 0.5
    assert [rates.take("a") for _ in range(2)] == [True, False]


def test_nothing_of_a_request_is_said(guarded: Running, capfd: pytest.CaptureFixture[str]) -> None:
    with guarded.client(headers=bearer(guarded.token)) as client:
        client.post("enroll?label=secret-label", content=picture())
        client.post("predict?name=secret-name.jpg", content=b"secret-picture")
        client.get("examples?label=secret-label")
        figures = client.get(f"{guarded.url}metrics").text
    out, err = capfd.readouterr()
    assert "secret" not in out + err + figures + json.dumps(guarded.said)


# --- TLS


def test_https_by_the_devices_own_authority(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state", tls=True, token=True) as server:
        assert server.url.startswith("https://")
        trusting = ssl.create_default_context(cadata=str(server.authority and server.authority.decode()))
        with httpx.Client(verify=trusting) as client:
            assert client.get(f"{server.url}ca.crt").content == server.authority
            entered = client.post(f"{server.url}api/v1/session", json={"token": server.token})
            assert "secure" in entered.headers["set-cookie"].lower()
            port = server.url.rstrip("/").rpartition(":")[2]
            assert client.get(f"https://localhost:{port}/healthz").status_code == 200
        with httpx.Client() as client, pytest.raises(httpx.ConnectError):
            client.get(server.url)


def test_who_does_not_greet_back_is_let_go(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlc_edge.runtime.serve.patient._PATIENCE", 0.3)
    with running(bundle_path, state=tmp_path / "state", tls=True) as server, raw(server) as connection:
        assert connection.recv(100) == b""


def test_a_certificate_that_soon_ends_is_renewed_while_it_serves(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlc_edge.runtime.serve.authority._SERVER_DAYS", 10)
    monkeypatch.setattr("tlc_edge.runtime.serve.server._DAY", 0.1)
    with running(bundle_path, state=tmp_path / "state", tls=True) as server:
        trusting = ssl.create_default_context(cadata=str(server.authority and server.authority.decode()))
        port = int(server.url.rstrip("/").rpartition(":")[2])
        shown: set[bytes] = set()
        for _ in range(600):
            plain = socket.create_connection(("127.0.0.1", port))
            with trusting.wrap_socket(plain, server_hostname="localhost") as secure:
                shown.add(secure.getpeercert(binary_form=True) or b"")
            if len(shown) > 1:
                break
        assert len(shown) > 1


def test_the_authority_is_kept_and_signs_for_a_home_alone(tmp_path: Path) -> None:
    from cryptography import x509

    first = own_trust(tmp_path, ["localhost", "pi.local", "192.168.0.9", "evil.example", "8.8.8.8"])
    server = tmp_path / "server.pem"
    for name in ("server.pem", "authority.key", "authority.crt"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    found: Any = x509.load_pem_x509_certificate(server.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(str(n.value) for n in names) == ["192.168.0.9", "localhost", "pi.local"]
    before = server.read_bytes()
    again = own_trust(tmp_path, ["pi.local", "localhost", "192.168.0.9"])
    assert (again.authority, again.fingerprint, server.read_bytes()) == (first.authority, first.fingerprint, before)
    assert own_trust(tmp_path, ["pi.local"]).authority == first.authority
    assert server.read_bytes() != before  # other names, another certificate
    (tmp_path / "authority.key").write_text("no key")
    with pytest.raises(DeviceError, match="damaged"):
        own_trust(tmp_path, ["pi.local"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cert": "a"}, "--key"),
        ({"cert": "a", "key": "b", "tls": True}, "choose"),
        ({"tls": True, "names": ["tlc.example.org"]}, "not of a home"),
        ({"prefix": "tlc"}, "--path-prefix"),
        ({"prefix": "/tlc/"}, "--path-prefix"),
        ({"prefix": "/a;b"}, "--path-prefix"),
        ({"trust_proxy": "proxy"}, "--trust-proxy"),
        ({"gallery": "g", "bundles": ["a", "b"]}, "--gallery"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check(Options(**{"bundles": ["a.tlc"], **options}))
    check_names(["pi.local", "10.0.0.1"])


def test_a_prefix_of_a_proxy_is_taken_off(bundle_path: Path, tmp_path: Path) -> None:
    with running(bundle_path, state=tmp_path / "state", prefix="/tlc", token=True) as server:
        assert "/tlc/#token=" in str(server.link)
        for root in (server.url, f"{server.url}tlc/"):
            entered = httpx.post(f"{root}api/v1/session", json={"token": server.token})
            assert "Path=/tlc/" in entered.headers["set-cookie"]
            assert httpx.get(f"{root}page/app.js").status_code == 200
