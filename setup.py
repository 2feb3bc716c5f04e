"""Installs smallwm_tf. README.md has the commands."""

import pathlib
import re
import runpy

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).resolve().parent
PACKAGE = ROOT / "smallwm_tf"
URL = ""  # the repository's address; `python colab/address.py` carries it into notebooks and badges
VERSION = re.search(r'^__version__ = "(.+)"$', (PACKAGE / "__init__.py").read_text(), re.M)
# rliable 1.2 needs arch below 8, and arch 7.2 cannot be imported with pandas 3.
REPORT = ["rliable>=1.2", "pandas<3", "jinja2>=3.1"]
# TF-Agents 0.19 holds typing-extensions at 4.5 on Python 3.11, which wandb 0.20 cannot use.
WANDB = [
    'wandb>=0.19.11,<0.20; python_version < "3.12"',
    'wandb>=0.19.11; python_version >= "3.12"',
]

setup(
    name="smallwm_tf",
    version=VERSION.group(1),
    description="Discrete world models for Atari in TensorFlow, and policies learned inside them",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    url=URL or None,
    python_requires=">=3.11",
    packages=[*find_packages(include=["smallwm_tf", "smallwm_tf.*"]), "smallwm_tf.configs"],
    package_dir={"smallwm_tf.configs": "configs"},  # presets: seen at the top, installed within
    package_data={
        "smallwm_tf.data": ["*.csv", "*.md", "keras/*.json"],
        "smallwm_tf.reporting": ["*.html"],
        "smallwm_tf.viewing": ["*.html"],
    },
    entry_points={"console_scripts": ["smallwm_tf = smallwm_tf.__main__:main"]},
    # Read by path: importing the package would check an environment that is still being made.
    install_requires=runpy.run_path(str(PACKAGE / "_requirements.py"))["install_requires"](),
    extras_require={
        "docs": ["pdoc>=15"],
        "play": ["flask>=3.0"],
        "report": REPORT,
        "sweep": ["ray>=2.40"],
        "wandb": WANDB,
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.7",
            "hypothesis>=6.100",
            "packaging",
            "ruff>=0.17,<0.18",
            "flask>=3.0",
            *REPORT,
            "ray>=2.40",
            "nbclient>=0.8",
            "ipykernel>=6.20",
            # TF-Agents 0.19 holds typing-extensions at 4.5, which later versions cannot use.
            "ipython>=8.10,<8.23",
            "selenium>=4.8,<4.17",
            "pdoc>=15",
        ],
    },
)
