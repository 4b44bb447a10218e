"""Keeps ONNX Runtime from reporting its use to its maker."""

import os

__all__ = ["keep_onnxruntime_quiet"]

_VARIABLE = "ORT_DISABLE_TELEMETRY"


def keep_onnxruntime_quiet() -> None:
    """Sets `ORT_DISABLE_TELEMETRY=1` unless it is set; to be called before onnxruntime is first imported.

    Official packages of ONNX Runtime (seen with 1.32 on Linux) start a thread that sends events to Microsoft
    and keep an id of the machine in the user's cache folder, if nobody tells them not to. Whoever wants that
    sets the variable to 0. Where a program has imported onnxruntime before, it stays as it is there.

    Source: Privacy.md in the package, "Disabling Telemetry".
    """
    os.environ.setdefault(_VARIABLE, "1")
