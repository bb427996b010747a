"""What README.md says is so: every command runs, the tables agree, the messages are said.

The commands run in their order, in one folder of the test, in this process. What is put in a
command's place stands in `PLACES`, `SMALLER` and the functions of `KINDS`; a command of no kind
known is an error.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import fcntl
import io
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement

import pipeline.stages.sample
from pipeline.config import STAGES, Settings
from pipeline.flag_checks import FOR_SOME_STAGES
from records.sample import draw_data_set
from records.types import Split
from tests.clusters import scheduling, started
from tests.in_process import answer
from tests.readme import REPOSITORY, TEXT, find_blocks, find_table, format_default, split_commands

# All commands are run before the first test: a minute, on a busy machine many.
pytestmark = pytest.mark.timeout(3600)

# Names of the reader's own, and what is there instead; all else is taken as it is written.
PLACES = {
    "/shared/pictures": "solder",
    "/shared/run": "shared-run",
    "/line/today": "solder/test/images",
    "NEU-DET": "solder",
    "PICTURES": "solder",
    "runs/line": "runs/solder",
    "runs/tiles": ".demo/run",
}
# So many that nothing is remarked on: README shows a run without remarks.
COUNTS: Mapping[Split, int] = {"train": 24, "validation": 8, "test": 8}
SMALLER = {
    "train": ["--image_size=32", "--batch_size=8", "--epochs=1", "--pretrain_epochs=1"],
    "explain": ["--cam_methods=layercam"],
}
SMALL_WINDOWS = ("window(160)", "window(32)")
# Blocks that tests of other files run: they need a stand-in for the server, or a large network.
ELSEWHERE = {
    "docker run": "models/test_signatures.py::"
    "test_the_docker_lines_of_the_readme_fit_the_files_of_an_export",
    "curl -d": "models/test_signatures.py::"
    "test_the_curl_line_of_the_readme_asks_what_the_server_reads",
    "import grpc": "models/test_signatures.py::test_the_grpc_client_of_the_readme_gets_an_answer",
    "make_cam": "models/test_cam.py::test_the_lines_of_the_readme_explain_a_model_of_keras",
}


@dataclasses.dataclass
class Reader:
    """Somebody who types what README says.

    Attributes:
        home: Folder that all is done in.
        patch: Undone after the test.
        printed: All that the commands printed, one after another.
        drawn: Pictures of each class in each split, once there are some.
        places: `PLACES`, and the address of the scheduler when there is one.
        cluster: Dask's processes.
    """

    home: Path
    patch: pytest.MonkeyPatch
    printed: str = ""
    drawn: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    places: dict[str, str] = dataclasses.field(default_factory=PLACES.copy)
    cluster: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    def draw(self, folder: Path, *, seed: int) -> dict[str, dict[str, int]]:
        """Few pictures; README has them drawn twice by one seed, which gives the same."""
        if not self.drawn:
            self.drawn = draw_data_set(folder, seed=seed, counts=COUNTS, nio_share=1 / 2)
        else:
            shutil.copytree(self.home / ".demo/pictures", folder)
        return self.drawn

    def nioscope(self, command: str) -> None:
        """Runs `main.py` in this process."""
        for name, place in self.places.items():
            command = command.replace(name, place)
        words = shlex.split(command.replace(*SMALL_WINDOWS))
        flags = words[words.index("main.py") + 1 :]
        if "--stage=all" in flags:
            flags = self._check_chain(flags)
        stage = re.search(r"--stage=(\w+)", command)
        assert stage, command
        status, said = answer(*flags, *SMALLER.get(stage[1], []))
        self.printed += said
        assert status == 0, f"{command}\n{said}"

    def _check_chain(self, flags: list[str]) -> list[str]:
        """The stages are run one by one where README does so; of the chain only the first is."""
        values = dict(flag.lstrip("-").split("=", 1) for flag in flags)
        numbers = {name: int(values.pop(name)) for name in ("epochs", "pretrain_epochs")
                   if name in values}  # fmt: skip
        rate = float(values.pop("learning_rate", 0))
        paths = {name: Path(values.pop(name)) for name in ("data_dir", "work_dir")}
        chain = Settings(**paths, **numbers, learning_rate=rate, **values)  # type: ignore[arg-type]
        assert chain.for_stage("train").stage == "train"
        return ["--stage=records", *(flag for flag in flags if flag != "--stage=all")]


def run_make(reader: Reader, command: str) -> None:
    subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=REPOSITORY, check=True,
                   capture_output=True)  # fmt: skip


def run_venv(reader: Reader, command: str) -> None:
    words = command.replace("python3.11", sys.executable).split()
    subprocess.run([*words, "--without-pip"], cwd=reader.home, check=True)
    assert (reader.home / ".venv" / "bin" / "python").exists()


def run_pip(reader: Reader, command: str) -> None:
    """What is to be installed can be read as requirements; nothing is installed."""
    lines = (REPOSITORY / command.split()[-1]).read_text().splitlines()
    lines = [line.split("#")[0].strip() for line in lines]
    assert [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def run_pytest(reader: Reader, command: str) -> None:
    """Its options are known: one file is collected, nothing is run."""
    words = command.replace("-n auto", "-n 0").split()[1:]
    subprocess.run([sys.executable, *words, "--collect-only", "-q", "tests/test_house.py"],
                   cwd=REPOSITORY, check=True, capture_output=True)  # fmt: skip


def run_nioscope(reader: Reader, command: str) -> None:
    reader.nioscope(command)


def run_list(reader: Reader, command: str) -> None:
    """`find ... | python main.py ... --images=-`."""
    before, after = command.split(" | ")
    words = shlex.split(before.replace("/line/today", PLACES["/line/today"]))
    listed = subprocess.run(words, cwd=reader.home, check=True, capture_output=True).stdout
    assert listed.count(b"\0") == COUNTS["test"]
    with reader.patch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
        reader.nioscope(after)


def run_cd(reader: Reader, command: str) -> None:
    folder = reader.home / command.split()[1]
    assert (folder / "1" / "saved_model.pb").is_file()
    reader.patch.chdir(folder)


def run_compose(reader: Reader, command: str) -> None:
    """The file that docker reads is there, and every file that it mounts."""
    (service,) = yaml.safe_load(Path("compose.yaml").read_text())["services"].values()
    assert service["image"].startswith("tensorflow/serving:")
    reader.patch.chdir(reader.home)


def run_scheduler(reader: Reader, command: str) -> None:
    """Asks for the program's flags; `run_worker` starts it."""
    dask = Path(sys.executable).with_name("dask")
    subprocess.run([dask, command.split()[1], "--help"], check=True, capture_output=True)


def run_worker(reader: Reader, command: str) -> None:
    """A scheduler, and one worker of it by these flags, until all commands have run."""
    words = shlex.split(command)
    assert words[:4] == ["PYTHONPATH=/shared/nioscope", "dask", "worker", "tcp://host:8786"]
    flags = ["--nworkers=1" if word.startswith("--nworkers=") else word for word in words[4:]]
    address, _ = reader.cluster.enter_context(scheduling(reader.home))
    reader.cluster.enter_context(
        started("worker", address, *flags, code=REPOSITORY, folder=reader.home)
    )
    reader.places["tcp://host:8786"] = address


def run_multiworker(reader: Reader, command: str) -> None:
    """Comes as far as the question whether these few pictures suffice for two machines.

    `tests/pipeline/stages/test_distributed_training.py` trains on two.
    """
    words = shlex.split(command.replace("--work_dir=run", "--work_dir=runs/solder"))
    with reader.patch.context() as patch:
        patch.setenv(*words[0].split("=", 1))
        status, said = answer(*words[words.index("main.py") + 1 :])
    assert status == 2
    assert "training pictures in 1 files, too few for 2 parts" in said


# The first pattern that is found in a command says how it is run.
KINDS: dict[str, Callable[[Reader, str], None]] = {
    r"^make \w+$": run_make,
    r"^python3\.11 -m venv .venv$": run_venv,
    r"^\.venv/bin/pip install --requirement \S+$": run_pip,
    r"^\.venv/bin/python -m pytest ": run_pytest,
    r"^dask scheduler$": run_scheduler,
    r"^PYTHONPATH=\S+ dask worker ": run_worker,
    r"^TF_CONFIG=.* python main\.py ": run_multiworker,
    r"^find .* \| python main\.py ": run_list,
    r"^(\.venv/bin/)?python main\.py ": run_nioscope,
    r"^cd \S+/export$": run_cd,
    r"^docker compose up --detach$": run_compose,
}


def find_kind(command: str) -> Callable[[Reader, str], None]:
    for pattern, run in KINDS.items():
        if re.search(pattern, command):
            return run
    raise AssertionError(f"no test knows how to run this line of README.md: {command}")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has typed all of README."""
    with pytest.MonkeyPatch.context() as patch:
        reader = Reader(tmp_path_factory.mktemp("readme"), patch)
        patch.delenv("TF_CONFIG", raising=False)
        patch.chdir(reader.home)
        patch.setattr(pipeline.stages.sample, "draw_data_set", reader.draw)
        with reader.cluster:
            _type_all(reader)
        yield reader


def _type_all(reader: Reader) -> None:
    for block in find_blocks():
        if block.language == "text" or any(word in block.text for word in ELSEWHERE):
            continue
        assert block.language == "sh", block
        for command in split_commands(block.text):
            start = time.monotonic()
            find_kind(command)(reader, command)
            print(f"{time.monotonic() - start:6.1f} s  {command}")


def test_every_command_runs(reader: Reader) -> None:
    assert (reader.home / "runs/solder/autoencoder/report.html").is_file()
    copies = list((reader.home / "sorted").glob("*/*.png"))
    assert len(copies) == COUNTS["test"]


def test_a_line_of_no_known_kind_is_found() -> None:
    with pytest.raises(AssertionError, match="rm -rf"):
        find_kind("rm -rf /")
    assert split_commands("a --b \\\n    c  # why\n\n# d\ne |\n  f\n") == ["a --b c", "e | f"]
    with pytest.raises(ValueError, match="without a language"):
        find_blocks("## Here\n```\nls\n```\n")


@pytest.mark.parametrize("word", ELSEWHERE)
def test_what_is_run_elsewhere_is_run_there(word: str) -> None:
    assert sum(word in block.text for block in find_blocks()) == 1
    path, name = ELSEWHERE[word].split("::")
    text = (REPOSITORY / "tests" / path).read_text()
    assert "README.md" in text
    assert name in {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def mask(line: str) -> str:
    """A line of the screen without its figures, and without how many of them there are."""
    line = re.sub(r"runs/\w+|solder|NEU-DET", "PLACE", line)
    line = re.sub("^Each of them is in", "The audit is", line)  # Where there is a remark.
    return re.sub(r"[\s#]+", " ", re.sub(r"\d[\d.,:e+-]*", "#", line)).strip()


def test_the_screen_shows_what_is_shown(reader: Reader) -> None:
    printed = {mask(line) for line in reader.printed.splitlines()}
    shown = [
        line
        for block in find_blocks()
        if block.language == "text" and "Steel" not in block.heading
        for line in block.text.splitlines()
    ]
    assert shown
    for line in shown:
        start = mask(line.split("…")[0])
        assert any(said.startswith(start) for said in printed), line


FLAGS = find_table("| flag | for | default | meaning |")


def test_the_table_of_flags_has_every_flag_once() -> None:
    names = [name.strip("`").removeprefix("--") for name, *_ in FLAGS]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Settings))


@pytest.mark.parametrize("row", FLAGS, ids=lambda row: row[0])
def test_the_table_of_flags_agrees_with_the_program(row: list[str]) -> None:
    name, stages, default, meaning = row
    name = name.strip("`-")
    assert default == format_default(name)
    assert meaning
    named = STAGES if stages == "all" else tuple(re.findall(r"`(\w+)`", stages))
    assert set(named) <= set(STAGES)
    (field,) = [field for field in dataclasses.fields(Settings) if field.name == name]
    if name in FOR_SOME_STAGES:
        assert named == FOR_SOME_STAGES[name]
    if said := re.match(r"For ([a-z and]+)[,:]", field.metadata["help"]):
        assert set(said[1].split(" and ")) <= set(named)


def test_help_begins_with_what_a_stranger_needs() -> None:
    done = subprocess.run([sys.executable, "main.py", "--help"], cwd=REPOSITORY, check=False,
                          capture_output=True, text=True)  # fmt: skip
    first = done.stdout.split("flags:")[0]
    assert "python main.py --stage=all --data_dir=PICTURES --work_dir=run" in first
    for word in (*STAGES, "README.md"):
        assert word in first


MESSAGES = find_table("| what is said | what it means | what to do |")


class Trouble:
    """Runs into what README tells of, one message after another."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.run = f"--work_dir={home / 'runs/solder'}"
        self.data = f"--data_dir={home / 'solder'}"
        self.new = f"--work_dir={folder / 'new'}"

    def records(self, *flags: str) -> tuple[str, ...]:
        return ("--stage=records", self.new, *flags)

    def pictures(self, *names: str) -> str:
        """A folder of good pictures, in the places named; `broken` where the name says so."""
        good = sorted((self.home / "solder/train/images").glob("*/*.png"))
        for picture, name in zip(good, names, strict=False):
            target = self.folder / "data" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"broken" if "broken" in name else picture.read_bytes())
        return f"--data_dir={self.folder / 'data'}"

    def copy_run(self, *folders: str) -> str:
        for name in folders:
            shutil.copytree(self.home / "runs/solder" / name, self.folder / "run" / name)
        return f"--work_dir={self.folder / 'run'}"

    def changed_records(self) -> tuple[str, ...]:
        run = self.copy_run("records", "autoencoder")
        status, said = answer("--stage=records", self.data, run, "--seed=7")
        assert status == 0, said
        return ("--stage=eval", run)

    def changed_version(self) -> tuple[str, ...]:
        run = self.copy_run("autoencoder/export")
        labels = "run/autoencoder/export/1/assets.extra/labels.txt"
        (self.folder / labels).write_text("nio\nio\n")
        return ("--stage=predict", run, f"--images={self.home / 'solder/test'}")

    def predict(self, *flags: str) -> tuple[str, ...]:
        return ("--stage=predict", self.run, *flags)

    def held(self, lock: str, *flags: str) -> tuple[str, ...]:
        """Another process holds a lock until this one has asked for it."""
        path = self.folder / "new" / "settings" / lock
        path.parent.mkdir(parents=True)
        self.holder = path.open("a")
        fcntl.flock(self.holder, fcntl.LOCK_EX)
        return (*flags, self.new)


def _empty_run(trouble: Trouble) -> str:
    (trouble.folder / "new").mkdir()
    return f"--baseline={trouble.folder / 'new'}"


def _occupied(trouble: Trouble) -> str:
    (trouble.folder / "mine").mkdir()
    (trouble.folder / "mine" / "thesis.txt").write_text("mine")
    return f"--output_dir={trouble.folder / 'mine'}"


def _without_version(trouble: Trouble) -> tuple[str, ...]:
    (trouble.folder / "new/autoencoder/export").mkdir(parents=True)
    return ("--stage=predict", trouble.new, "--images=x.png")


def _file(trouble: Trouble) -> str:
    (trouble.folder / "file").write_text("")
    return f"--work_dir={trouble.folder / 'file'}"


def _broken(trouble: Trouble) -> str:
    trouble.pictures("broken.png")
    return f"--images={trouble.folder / 'data'}"


IO = [f"io/{number}.png" for number in range(6)]
NIO = [f"nio/{number}.png" for number in range(6)]
# The command that is answered so, by the beginning of what README says of the answer.
TROUBLES: dict[str, Callable[[Trouble], tuple[str, ...]]] = {
    "… is no flag": lambda t: ("--stage=eval", "epochs"),
    "--… is for --stage=…": lambda t: ("--stage=train", "--watch"),
    "--data_dir=… is no folder": lambda t: t.records(f"--data_dir={t.folder / 'none'}"),
    "--work_dir=… lies in": lambda t: ("--stage=records", t.data, f"{t.run}/../../solder/x"),
    "The run directory …": lambda t: ("--stage=records", t.data, _file(t)),
    "… is missing: the stage": lambda t: ("--stage=train", t.new),
    "No pictures were found": lambda t: t.records(t.pictures("deep/deeper/deepest/1.png")),
    "The data folder … could": lambda t: t.records(
        t.pictures("1.png", "1.xml", "old/1.png")
    ),
    "… of … pictures cannot": lambda t: t.records(
        t.pictures("io/broken1.png", "io/broken2.png", "nio/broken3.png", "nio/4.png", "io/5.png")
    ),
    "All … usable pictures": lambda t: t.records(t.pictures(*IO)),
    "The class … has too few": lambda t: t.records(t.pictures(*IO, "nio/1.png")),
    "--strict, and there is": lambda t: t.records(
        t.pictures(*IO, *NIO, "io/broken.png"), "--strict"
    ),
    "--group_regex=… is found": lambda t: t.records(t.data, r"--group_regex=plate(\d+)"),
    "… is in use by …": lambda t: t.held("records.lock", "--stage=records", t.data),
    "--augment=…": lambda t: ("--stage=train", t.run, "--augment=flip|twirl(3)"),
    "--image_size=… is": lambda t: ("--stage=train", t.run, "--image_size=16"),
    "--positive_class=…": lambda t: ("--stage=train", t.run, "--positive_class=bad"),
    "--backbone_weights=…": lambda t: ("--stage=train", t.run, "--backbone_weights=xception.h5"),
    "… has changed since": Trouble.changed_records,
    "--baseline=… holds": lambda t: ("--stage=eval", t.run, _empty_run(t)),
    "--gate compares": lambda t: ("--stage=eval", t.run, "--gate"),
    "… holds no SavedModel": _without_version,
    "The SavedModel … is not": Trouble.changed_version,
    "--images=… names": lambda t: t.predict(f"--images={t.folder}/*.tif"),
    "None of the … pictures": lambda t: t.predict(_broken(t)),
    "The output folder …": lambda t: t.predict(
        f"--images={t.home}/solder/test", f"--output_dir={t.home}/solder/test/sorted"
    ),
    "… is not written to": lambda t: t.predict(f"--images={t.home}/solder/test", _occupied(t)),
    "--scheduler=…": lambda t: t.records(t.data, "--scheduler=tcp://127.0.0.1:1"),
    "--distribute=multiworker": lambda t: ("--stage=train", t.run, "--distribute=multiworker"),
    "… holds its training": lambda t: (
        "--stage=train", t.run, "--parts=2", "--batch_size=8", "--image_size=32"
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row[0])
def test_what_is_said_is_said(row: list[str], reader: Reader, tmp_path: Path) -> None:
    message = row[0].strip("`")
    (provoke,) = [run for start, run in TROUBLES.items() if message.startswith(start)]
    trouble = Trouble(reader.home, tmp_path)
    status, said = answer(*provoke(trouble))
    assert status == 2, said
    assert re.search(".*".join(map(re.escape, message.split("…"))), said), said
    assert "Remedy: " in said
    assert all(row)


def test_every_trouble_is_told_of() -> None:
    assert len(MESSAGES) == len(TROUBLES)


def test_links_lead_somewhere() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
                for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)}  # fmt: skip
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings
        elif "://" not in target:
            assert (REPOSITORY / target).is_file(), target
    assert (REPOSITORY / "pipeline/pages/report.png").stat().st_size <= 200_000
