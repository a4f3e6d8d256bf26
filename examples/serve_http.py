"""Answer a POSTed image with JSON, on this machine: `curl --data-binary @rook.jpg http://127.0.0.1:8000/`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tlc_edge.runtime import Classifier, ImageError

LIMIT = 20_000_000  # bytes

classifier = Classifier.open(sys.argv[1])  # one for all threads


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if not 0 < size <= LIMIT:
            self.send_error(413 if size else 411)
            return
        try:
            answer = classifier.predict(self.rfile.read(size))
            status, told = 200, {"label": answer.label, "score": answer.score, "unknown": answer.unknown}
        except ImageError as error:
            status, told = 415, {"error": str(error)}
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(sys.argv[2]) if len(sys.argv) > 2 else 8000
with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
