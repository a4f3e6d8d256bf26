"""A file for Avahi, by which browsers of the network find a server.

Source: avahi.service(5).
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from tlc_edge.runtime.errors import DeviceError
from tlc_edge.runtime.files import write_file

_MARK = "<!-- Written by tlc service serve; written anew it is replaced. -->"
_FILE = """<?xml version="1.0" standalone="no"?>
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
{mark}
<service-group>
  <name replace-wildcards="yes">tlc on %h</name>
  <service>
    <type>{kind}</type>
    <port>{port}</port>
    <txt-record>path={path}</txt-record>
  </service>
</service-group>
"""


def announcement(port: int, prefix: str, is_secure: bool) -> str:
    """Return the file for a server on a port, whose page is at `prefix` and `/`."""
    kind = "_https._tcp" if is_secure else "_http._tcp"
    return _FILE.format(mark=_MARK, kind=kind, port=port, path=escape(f"{prefix}/"))


def write_announcement(path: Path, text: str) -> Path:
    """Write the file; Avahi must be able to read it.

    Raises:
        DeviceError: it cannot be written, or something else stands there.
    """
    try:
        if path.exists() and _MARK not in path.read_text("utf-8"):
            raise DeviceError(f"{path}: is there, and tlc did not write it; give another --name, or remove it")
        write_file(path, text.encode())
        path.chmod(0o644)
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or "not text"
        raise DeviceError(f"{path}: {why}; install Avahi, run it with sudo, or do without it by --avahi -") from None
    return path
