"""Packs the installed int8 model into a wheel of its own, so that a release can publish it.

    python packaging/model-wheel/build.py [--folder MODEL_FOLDER] [--out dist]

A machine that has the wheel installed needs neither download nor conversion: `LocalEmbedder` finds the model
in it. The wheel is data: equal models give equal wheels, if zlib is the same.
"""

import argparse
import base64
import hashlib
import zipfile
from pathlib import Path

from binary_semantic_cache.embedders.model_folder import (
    DATA_PACKAGE,
    MANIFEST_FILE,
    default_model_folder,
    read_manifest,
    read_verified,
)

VERSION = "1.0.0"
INFO = f"{DATA_PACKAGE}-{VERSION}.dist-info"

METADATA = f"""\
Metadata-Version: 2.4
Name: {DATA_PACKAGE.replace("_", "-")}
Version: {VERSION}
Summary: all-MiniLM-L6-v2 as quantized ONNX, for binary-semantic-cache
License-Expression: Apache-2.0
License-File: LICENSE
License-File: NOTICE
Requires-Python: >=3.11
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: binary-semantic-cache
Root-Is-Purelib: true
Tag: py3-none-any
"""


def build_wheel(model_folder: Path, out: Path) -> Path:
    """Writes the wheel into `out` and gives its path; every file is verified on the way."""
    manifest = read_manifest(model_folder)
    if manifest.precision != "int8":
        raise SystemExit(f"expected the int8 model in {model_folder}, got {manifest.precision}")
    if "LICENSE" not in manifest.files:
        raise SystemExit(
            f"{model_folder} holds no LICENSE of the weights: install the model from a source with one"
        )
    model = {name: read_verified(model_folder, name, manifest) for name in manifest.files}
    files = {
        f"{DATA_PACKAGE}/__init__.py": b'"""all-MiniLM-L6-v2 as quantized ONNX, in the folder `model`."""\n'
    }
    files |= {f"{DATA_PACKAGE}/model/{name}": content for name, content in model.items()}
    files[f"{DATA_PACKAGE}/model/{MANIFEST_FILE}"] = (model_folder / MANIFEST_FILE).read_bytes()
    files |= {f"{INFO}/licenses/{name}": model[name] for name in ("LICENSE", "NOTICE")}
    files |= {f"{INFO}/METADATA": METADATA.encode(), f"{INFO}/WHEEL": WHEEL.encode()}
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{INFO}/RECORD"] = f"{record}{INFO}/RECORD,,\n".encode()

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{DATA_PACKAGE}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


def _digest(content: bytes) -> str:
    """As RECORD wants it: urlsafe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main() -> None:
    """Parses the command line and prints the path of the wheel."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=default_model_folder(), help="the int8 model")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="where the wheel goes")
    namespace = parser.parse_args()
    print(build_wheel(namespace.folder, namespace.out))


if __name__ == "__main__":
    main()
