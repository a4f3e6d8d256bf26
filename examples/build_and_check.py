"""Build a bundle, say how good it is, and fail where it is not good enough: what a release script does."""

import sys

import tlc_edge
from tlc_edge.runtime.errors import TlcError

photos = sys.argv[1] if len(sys.argv) > 1 else "sample:digits"

try:
    result = tlc_edge.build(
        photos,
        "desktop",
        "example.tlc",
        limit=300,
        min_accuracy=0.5,
        sure=True,  # by the lower end of the interval, not by what was counted
        force=True,
    )
except TlcError as error:
    sys.exit(f"no bundle: {error}")

print(result.recognised)
for file in result.bundles[0].findings.files:
    share = file.accuracy
    print(f"{file.file}: {100 * share.share:.0f} % right, {100 * share.low:.0f} to {100 * share.high:.0f} %")

# The same files once more, as a device would meet them later.
for score in tlc_edge.verify("example.tlc", photos, limit=100).found.scores:
    print(f"{score.file} with {score.engine}: {score.accuracy}")
