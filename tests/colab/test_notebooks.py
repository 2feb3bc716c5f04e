"""The notebooks run from top to bottom, at a size of seconds, in kernels of their own.

As in Colab: outside of any checkout, with the package out of a wheel, and `SOURCE` for the rest.
"""

import base64
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil
import subprocess

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
TINY = {
    "collection.num_iterations": 1,
    "collection.first_iteration_steps": 60,
    "vqvae.warmup_epochs": 1,
    "vqvae.batch_size": 5,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",  # less to compile
    "dynamics.epochs": "(1,)",
    "dynamics.windows_per_batch": 2,
    "dream.num_dreams": 4,
    "dream.horizon": 3,
    "ppo.num_updates": "(1,)",
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 1,
    "game.max_episode_steps": 60,
    "inspection.held_out_steps": 20,
    "inspection.num_starts": 3,
    "inspection.horizon": 5,
}
FLAGS = " ".join(f"--config.{key}={value}" for key, value in TINY.items())
PARAMETERS = {
    "1_train": f"CATCH_FLAGS = {FLAGS!r}\nGAME_FLAGS = {'--config=smoke ' + FLAGS!r}",
    "2_look_inside": "NUM_STEPS, NUM_STARTS, HORIZON = 30, 3, 4",
    "3_play_exported": "NUM_STEPS = 10",
}


def test_every_notebook_is_run():
    assert [path.stem for path in NOTEBOOKS] == sorted(PARAMETERS)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A repository to clone: the examples, without what takes long to copy."""
    path = tmp_path_factory.mktemp("address") / "repository"
    path.mkdir()
    for name in ("smallwm_tf", "configs"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (path / "examples").mkdir()
    shutil.copytree(ROOT / "examples" / "UpNDown", path / "examples" / "UpNDown")
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=path, check=True)
    return path.as_uri()


def run(path, folder, address, unpacked, monkeypatch):
    """Executes a notebook in a folder; returns its outputs."""
    packages = [str(unpacked), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, packages)))
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    first = next(cell for cell in cells if cell.cell_type == "code")
    given = f"SOURCE = {address!r}"
    first.source, count = re.subn(r'^SOURCE = ".*"$', given, first.source, flags=re.MULTILINE)
    assert count == 1
    (place,) = (n for n, c in enumerate(cells) if "parameters" in c.metadata.get("tags", ()))
    cells.insert(place + 1, nbformat.v4.new_code_cell(PARAMETERS[path.stem]))
    wheel = "import importlib.util as u\nprint('from', u.find_spec('smallwm_tf').origin)"
    cells.append(nbformat.v4.new_code_cell(wheel))
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, resources=place).execute()
    assert notebook.cells[-1].outputs[0].text == f"from {unpacked / 'smallwm_tf' / '__init__.py'}\n"
    return [output for cell in cells for output in cell.get("outputs", ())]


def pictures(outputs) -> list[bytes]:
    found = [output.get("data", {}) for output in outputs]
    return [base64.b64decode(data[kind]) for data in found
            for kind in ("image/png", "image/gif") if kind in data]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("1_train", 5, marks=pytest.mark.slow),  # trains twice
        ("2_look_inside", 5),
        ("3_play_exported", 1),
    ],
)
def test_a_notebook_runs_outside_of_a_checkout(
    name, count, tmp_path, address, unpacked, monkeypatch
):
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    assert len(pictures(run(path, tmp_path, address, unpacked, monkeypatch))) == count


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_show_something_and_stay_small(path):
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert pictures(outputs) and path.stat().st_size < 900_000
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not [output for output in outputs if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in outputs)
    assert text and not re.search(r"/(root|home|tmp|work)/", text)
    for picture in pictures(outputs):
        with Image.open(io.BytesIO(picture)) as image:
            assert len(image.convert("L").resize((32, 32)).getcolors(1024)) > 3  # not blank


# --- the repository's address ----------------------------------------------------------------


def load_address():
    spec = importlib.util.spec_from_file_location("address", ROOT / "colab" / "address.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(folder, url=None):
    """What the address is carried into, perhaps with another one in setup.py."""
    (folder / "colab").mkdir()
    for path in (ROOT / "setup.py", ROOT / "README.md", ROOT / "colab" / "README.md", *NOTEBOOKS):
        shutil.copy(path, folder / path.relative_to(ROOT))
    if url is not None:
        text = (folder / "setup.py").read_text("utf-8")
        text, count = re.subn(r'^URL = ".*"', f'URL = "{url}"', text, flags=re.MULTILINE)
        assert count == 1
        (folder / "setup.py").write_text(text, "utf-8")
    return folder


def texts(folder):
    return {path.name if path.parent == folder else f"colab/{path.name}": path.read_bytes()
            for path in [*folder.glob("*.md"), *folder.glob("colab/*")]}  # fmt: skip


def test_every_place_has_the_address_of_setup_py(tmp_path):
    folder = copied(tmp_path)
    before = texts(folder)
    load_address().carry(folder)
    assert texts(folder) == before, "run: python colab/address.py"


@pytest.mark.parametrize("suffix", ["", ".git", "/"])
def test_an_address_reaches_first_cells_and_badges_and_can_change(tmp_path, suffix):
    url = f"https://github.com/somebody/some-models{suffix}"
    folder = copied(tmp_path, url)
    (tmp_path / "without").mkdir()
    copied(tmp_path / "without", "")
    address = load_address()
    address.carry(folder)
    for path in NOTEBOOKS:
        title, first, *_ = json.loads((folder / "colab" / path.name).read_text("utf-8"))["cells"]
        assert f'SOURCE = "{url}"\n' in first["source"]
        opened = f"github/somebody/some-models/blob/main/colab/{path.name})"
        assert opened in "".join(title["source"])
        for page in ("README.md", "colab/README.md"):
            assert opened in (folder / page).read_text("utf-8")
    once = texts(folder)
    address.carry(folder)
    assert texts(folder) == once
    (folder / "setup.py").write_text('URL = ""\n')
    address.carry(folder)
    address.carry(tmp_path / "without")
    assert texts(folder) == texts(tmp_path / "without")
