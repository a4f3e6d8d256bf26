"""The images of a request: its body as it is, or the files of a form."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tlc_edge.runtime.errors import UsageError

MOST_IMAGES = 100
"""In one request."""
_LONGEST_NAME = 200
_FORM = "multipart/form-data"


class Upload(io.BytesIO):
    """An image that came with a request; `name` is what its sender calls it."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def read_uploads(body: bytes, content_type: str, name: str | None = None) -> list[Upload]:
    """Return the images of a request's body; `name` stands for one that has none of its own.

    Raises:
        UsageError: there is none, there are too many, or it is no form though it says so.
    """
    kind, options = parse_options_header(content_type)
    found = [Upload(body, _plain(name))] if kind.decode("latin-1") != _FORM else _files(body, options.get(b"boundary"))
    if not found or not any(one.getbuffer().nbytes for one in found):
        raise UsageError("no image in the request; send one as its body, or files as multipart/form-data")
    return found


def _files(body: bytes, boundary: bytes | None) -> list[Upload]:
    if not boundary:
        raise UsageError("multipart/form-data without a boundary; let the program that sends it set Content-Type")
    form = _Form()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header_field,
                "on_header_value": form.header_value,
                "on_header_end": form.header_end,
                "on_part_data": form.data,
                "on_part_end": form.end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as e:
        raise UsageError(f"the form cannot be read ({e}); send files as multipart/form-data") from None
    if not form.whole:
        raise UsageError("the form ends in the middle of a file; send it again")
    return form.files


@dataclass
class _Form:
    """Takes a form's files, in the order they come; other fields are passed over."""

    files: list[Upload] = field(default_factory=list[Upload])
    whole: bool = True
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _name: str | None = None
    _parts: list[bytes] = field(default_factory=list[bytes])

    def begin(self) -> None:
        self.whole, self._name, self._parts = False, None, []
        self._clear()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def header_end(self) -> None:
        named, value = self._header
        if bytes(named).lower() == b"content-disposition":
            given = parse_options_header(bytes(value))[1].get(b"filename")
            self._name = None if given is None else given.decode("utf-8", "replace")
        self._clear()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._parts.append(data[start:end])

    def end(self) -> None:
        self.whole = True
        if self._name is None:
            return
        if len(self.files) >= MOST_IMAGES:
            raise UsageError(f"more than {MOST_IMAGES} images in one request; send the rest in another")
        self.files.append(Upload(b"".join(self._parts), _plain(self._name)))

    def _clear(self) -> None:
        for part in self._header:
            part.clear()


def _plain(name: str | None) -> str:
    """Return a name as it is kept: that of a file, without where it lay on somebody's machine."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(c for c in last if c.isprintable()).strip()[:_LONGEST_NAME]
    return kept or "upload"
