"""Addresses with secrets in them: whatever becomes of one, the secrets are in no message and no data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlc_edge.compiler.data.forms.address import told
from tlc_edge.compiler.data.load import Origin, load_dataset
from tlc_edge.runtime.errors import TlcError


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://host/a/set.zip", "https://host/a/set.zip"),
        ("https://host:80/set.zip?token=SECRET#SECRET", "https://host:80/set.zip"),
        ("http://user:SECRET@host/set.zip", "http://host/set.zip"),
        ("http://user:SEC@RET@host/set.zip", "http://host/set.zip"),
        ("http://user:SEC/RET@host/set.zip", "http://…"),
        ("http://user:SECRET@[::1/set.zip", "http://…"),
        ("http://[::1", "http://…"),
        ("folder/of images", "folder/of images"),
    ],
)
def test_an_address_is_told_without_its_secrets(address: str, shown: str) -> None:
    assert told(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "http://u:SECRET@127.0.0.1:1/x.zip?token=SECRET",
        "http://u:SECRET@[::1/x.zip",
        "http://[SECRET",
        "ftp://u:SECRET@h/x.zip",
        "https://u:SECRET@h/x",
        "http://u:SECRET@/x.zip",
        "http://u:SECRET@127.0.0.1:99999/x.zip",
    ],
)
def test_no_message_has_a_secret(tmp_path: Path, address: str) -> None:
    with pytest.raises(TlcError) as error:
        load_dataset(Origin(address, cache=tmp_path))
    assert "SECRET" not in "".join([str(error.value), *getattr(error.value, "__notes__", [])])
