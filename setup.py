"""What pyproject.toml can't say: the version is Cargo's, and the wheel holds a program besides the extension."""

import re
from pathlib import Path

from setuptools import setup
from setuptools_rust import Binding, RustBin, RustExtension

version = re.search(r'^version = "(.*)"$', Path("Cargo.toml").read_text(), re.M)
assert version

setup(
    version=version[1],
    rust_extensions=[
        RustExtension(
            "rgunicorn._rgunicorn",
            path="crates/worker/Cargo.toml",
            binding=Binding.PyO3,
            py_limited_api=True,
            debug=False,
        ),
        RustBin("rgunicorn", path="Cargo.toml", debug=False),
    ],
    scripts=["conf/rgunicornctl"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
