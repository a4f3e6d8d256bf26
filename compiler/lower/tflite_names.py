"""What the names in a TFLite file tell."""

from __future__ import annotations


def layer_name(tensor: str) -> str:
    """Return the layer that a TFLite tensor's name tells of: converters join the names of what they merged.

    >>> layer_name("trunk_1/block1a_project_conv_1/convolution;trunk_1/block1a_project_conv_1/Squeeze")
    'block1a_project_conv'
    """
    parts = tensor.split(";")[0].split("/")
    name = parts[-2] if len(parts) > 2 else parts[-1]
    return name.removesuffix("_1") if len(parts) > 2 and parts[0].endswith("_1") else name
