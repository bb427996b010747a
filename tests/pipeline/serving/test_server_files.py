"""What TensorFlow Serving reads besides the graph, held against its own messages and a Session."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml  # type: ignore[import-untyped]
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from PIL import Image
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    prediction_log_pb2,
)
from tensorflow_serving.config import model_server_config_pb2  # type: ignore[import-untyped]

from models.monitoring import fit_feature_space
from models.serving import ServingFacts, write_saved_model
from pipeline.serving.server_files import (
    LABELS_NAME,
    SERVER_FILES,
    WARMUP_BATCHES,
    WARMUP_NAME,
    write_server_files,
    write_version_extras,
)
from records.pictures import PictureError
from records.tfrecord import read_frames

REPOSITORY = Path(__file__).resolve().parents[3]
SIDE = 32
SIGNATURES = ("serving_default", "explain", "monitor", "predict_tensor")
_Kind = descriptor_pb2.FieldDescriptorProto


def _encode(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _draw(*shape: int, depth: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(shape)
    return rng.integers(0, np.iinfo(depth).max, shape, depth, endpoint=True)


PICTURES = [
    _encode(_draw(SIDE, SIDE), "PNG"),
    _encode(_draw(20, 64), "JPEG"),
    _encode(_draw(9, 7, 3), "PNG"),
    _encode(_draw(50, 40, depth=np.uint16), "PNG"),
    _encode(_draw(31, 33, 3), "BMP"),
]


def _write_extras(candidate: Path, pictures: list[bytes] | None = None, channels: int = 1) -> Path:
    write_version_extras(
        candidate,
        PICTURES if pictures is None else pictures,
        classes=("io", "nio"),
        image_size=SIDE,
        channels=channels,
    )
    return candidate / "assets.extra"


def _read_requests(extra: Path) -> list[Any]:
    """Every `PredictRequest` of the warm-up file, as the server reads it."""
    requests = []
    for record in tf.compat.v1.io.tf_record_iterator(str(extra / WARMUP_NAME)):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        requests.append(log.predict_log.request)
    return requests


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], dict[str, Any]]]:
    """Answers a `PredictRequest` by a plain Session, refusing what the server would refuse."""
    image = keras.Input([SIDE, SIDE, 1], name="image")
    features = keras.layers.Conv2D(2, 3, activation="relu", name="features")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(pooled))
    folder = tmp_path_factory.mktemp("saved") / "1"
    facts = ServingFacts(("io", "nio"), ("nio",), "nio", 0.25, "features", "letterbox")
    space = fit_feature_space(np.eye(2), np.arange(2), classes=2)
    write_saved_model(folder, model, facts, space=space)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))

        def answer(request: Any) -> dict[str, Any]:
            signature = graph.signature_def[request.model_spec.signature_name]
            assert request.inputs.keys() == signature.inputs.keys()
            fed = {}
            for name, tensor in request.inputs.items():
                assert tensor.dtype == signature.inputs[name].dtype
                asked = [side.size for side in signature.inputs[name].tensor_shape.dim]
                given = [side.size for side in tensor.tensor_shape.dim]
                assert len(asked) == len(given)
                assert all(one in (-1, other) for one, other in zip(asked, given, strict=True))
                fed[signature.inputs[name].name] = tf.make_ndarray(tensor)
            return session.run({k: v.name for k, v in signature.outputs.items()}, fed)

        yield answer


def test_every_request_is_answered_by_the_model(
    tmp_path: Path, ask: Callable[[Any], dict[str, Any]]
) -> None:
    requests = _read_requests(_write_extras(tmp_path))
    sizes: Counter[tuple[str, int]] = Counter()
    for request in requests:
        answers = ask(request)
        (count,) = {len(value) for value in answers.values()}
        sizes[request.model_spec.signature_name, count] += 1
        for value in answers.values():
            assert value.dtype.kind in "OiS" or np.isfinite(value).all()
    assert sizes == dict.fromkeys(itertools.product(SIGNATURES, WARMUP_BATCHES), 1)
    assert len(requests) <= 1000


def test_requests_hold_the_pictures_themselves(tmp_path: Path) -> None:
    requests = _read_requests(_write_extras(tmp_path))
    for request in requests:
        (name,) = request.inputs
        values = tf.make_ndarray(request.inputs[name])
        if request.model_spec.signature_name == "predict_tensor":
            assert (name, values.dtype, values.shape[1:]) == ("images", np.uint8, (SIDE, SIDE, 1))
            # The first has the model's own size already.
            np.testing.assert_array_equal(values[0, ..., 0], _draw(SIDE, SIDE))
        else:
            assert name == "image_bytes"
            repeated = itertools.islice(itertools.cycle(PICTURES), len(values))
            assert values.tolist() == list(repeated)


def test_the_records_are_those_of_the_server_s_own_messages(tmp_path: Path) -> None:
    extra = _write_extras(tmp_path, PICTURES[:1])
    found = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in read_frames(extra / WARMUP_NAME)
    ]
    pixels = _draw(SIDE, SIDE)[..., np.newaxis]
    for size, signature in itertools.product(WARMUP_BATCHES, SIGNATURES):
        log = prediction_log_pb2.PredictionLog()
        request = log.predict_log.request
        request.model_spec.signature_name = signature
        if signature == "predict_tensor":
            tensor = tf.make_tensor_proto(np.stack([pixels] * size))
            request.inputs["images"].CopyFrom(tensor)
        else:
            tensor = tf.make_tensor_proto(PICTURES[:1] * size, shape=[size])
            request.inputs["image_bytes"].CopyFrom(tensor)
        assert found.count(log) == 1, (size, signature)
    assert len(found) == len(SIGNATURES) * len(WARMUP_BATCHES)


def test_colour_models_are_warmed_with_three_channels(tmp_path: Path) -> None:
    requests = _read_requests(_write_extras(tmp_path, PICTURES[:1], channels=3))
    images = tf.make_ndarray(requests[SIGNATURES.index("predict_tensor")].inputs["images"])
    np.testing.assert_array_equal(images, np.stack([_draw(SIDE, SIDE)] * 3, axis=-1)[np.newaxis])


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (
        (_write_extras(tmp_path / name) / WARMUP_NAME).read_bytes() for name in ("a", "b")
    )
    assert first == second


@pytest.mark.parametrize(
    ("pictures", "error"), [([], ValueError), ([PICTURES[0], b"no picture"], PictureError)]
)
def test_what_cannot_be_a_request_leaves_no_requests(
    tmp_path: Path, pictures: list[bytes], error: type[Exception]
) -> None:
    with pytest.raises(error):
        _write_extras(tmp_path, pictures)
    assert not (tmp_path / "assets.extra" / WARMUP_NAME).exists()
    assert not list(tmp_path.rglob(".draft-*"))


def test_a_line_of_the_labels_is_the_class_of_that_index(tmp_path: Path) -> None:
    classes = ("nio", "Kratzer tief", "a\nb", "ß")
    write_version_extras(tmp_path, PICTURES[:1], classes=classes, image_size=8, channels=1)
    lines = (tmp_path / "assets.extra" / LABELS_NAME).read_text(encoding="utf-8").split("\n")
    assert lines == ["nio", "Kratzer tief", "a b", "ß", ""]


def test_it_needs_neither_tensorflow_nor_the_server_s_package() -> None:
    code = (
        "import sys, pipeline.serving.server_files, pipeline.serving.model_card\n"
        "sys.exit(any(m.split('.')[0] in ('tensorflow', 'tensorflow_serving', 'keras')"
        " for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


# The settings of the server.


def _describe(name: str, package: str, **messages: list[tuple[str, int, int | str]]) -> Any:
    """Messages that the server has and its Python package leaves out."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message, fields in messages.items():
        description = file.message_type.add(name=message)
        for field, number, kind in fields:
            entry = description.field.add(name=field, number=number, label=_Kind.LABEL_OPTIONAL)
            if isinstance(kind, str):
                entry.type, entry.type_name = _Kind.TYPE_MESSAGE, kind
            else:
                entry.type = kind
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{package}.{list(messages)[-1]}")
    )


_INT64 = ".google.protobuf.Int64Value"
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto; `allowed_batch_sizes` (6),
# which is repeated, is not among them because the file must not have it.
BatchingParameters = _describe(
    "session_bundle_config.proto",
    "tensorflow.serving",
    BatchingParameters=[
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("pad_variable_length_inputs", 7, _Kind.TYPE_BOOL),
        ("enable_large_batch_splitting", 8, ".google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, _INT64),
    ],
)
# tensorflow_serving/config/monitoring_config.proto
MonitoringConfig = _describe(
    "monitoring_config.proto",
    "tensorflow.serving",
    PrometheusConfig=[("enable", 1, _Kind.TYPE_BOOL), ("path", 2, _Kind.TYPE_STRING)],
    MonitoringConfig=[("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")],
)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "1").mkdir()
    write_server_files(tmp_path, model_name="solder")
    return tmp_path


def test_models_config_serves_the_two_newest_versions(export: Path) -> None:
    text = (export / "models.config").read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (config,) = parsed.model_config_list.config
    assert (config.name, config.base_path) == ("solder", "/models/solder")
    assert config.model_platform == "tensorflow"
    assert config.model_version_policy.latest.num_versions == 2
    assert not config.version_labels


def test_what_models_config_proposes_is_right_too(export: Path) -> None:
    text = (export / "models.config").read_text()
    lines = [line for line in text.splitlines() if "latest" not in line]
    proposed = [re.sub(r"# (?=(version_labels|model_version_policy) \{)", "", x) for x in lines]
    parsed = text_format.Parse("\n".join(proposed), model_server_config_pb2.ModelServerConfig())
    (config,) = parsed.model_config_list.config
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}
    assert config.model_version_policy.specific.versions == [1, 2]


def test_batching_takes_every_warm_up_request(export: Path) -> None:
    parsed = text_format.Parse((export / "batching.config").read_text(), BatchingParameters())
    set_fields = {field.name: getattr(parsed, field.name).value for field, _ in parsed.ListFields()}
    assert set_fields == {
        "max_batch_size": 64,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 100,
        "num_batch_threads": 4,
    }
    assert max(WARMUP_BATCHES) <= set_fields["max_batch_size"]


def test_monitoring_is_on(export: Path) -> None:
    parsed = text_format.Parse((export / "monitoring.config").read_text(), MonitoringConfig())
    assert parsed.prometheus_config.enable
    assert parsed.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_a_word_that_the_server_does_not_know_would_be_found() -> None:
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batch_sise { value: 1 }", BatchingParameters())
    with pytest.raises(text_format.ParseError):
        text_format.Parse("prometheus_config { on: true }", MonitoringConfig())


def test_compose_gives_the_server_the_files_beside_it(export: Path) -> None:
    (service,) = yaml.safe_load((export / "compose.yaml").read_text())["services"].values()
    assert re.fullmatch(r"tensorflow/serving:2\.\d+\.\d+", service["image"])
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    (volume,) = service["volumes"]
    here, folder, mode = volume.split(":")
    assert (here, folder, mode) == (".", "/models/solder", "ro")
    flags = dict(flag.removeprefix("--").split("=") for flag in service["command"])
    assert flags.pop("enable_batching") == "true"
    assert flags.keys() == {
        "model_config_file", "batching_parameters_file", "monitoring_config_file",
    }  # fmt: skip
    for path in flags.values():
        assert path.startswith(f"{folder}/")
        assert (export / path.removeprefix(f"{folder}/")).is_file()


@pytest.mark.parametrize("name", SERVER_FILES)
def test_every_setting_is_explained(export: Path, name: str) -> None:
    lines = [line.strip() for line in (export / name).read_text().splitlines() if line.strip()]
    structure = re.compile(r"[}\s]*|\w+ \{|[\w.]+:")
    for above, line in itertools.pairwise(lines):
        if not line.startswith("#") and not structure.fullmatch(line):
            assert above.startswith("#") or above.startswith('- "127'), line


def test_no_file_beside_the_versions_is_taken_for_one(export: Path) -> None:
    assert {path.name for path in export.iterdir()} == {"1", *SERVER_FILES}
    for name in SERVER_FILES:
        with pytest.raises(ValueError, match="invalid literal"):
            int(name)


def test_a_second_export_touches_nothing(export: Path) -> None:
    before = {name: (export / name).stat() for name in SERVER_FILES}
    write_server_files(export, model_name="solder")
    for name, stat in before.items():
        assert (export / name).stat().st_ino == stat.st_ino
        assert (export / name).stat().st_mtime_ns == stat.st_mtime_ns


@pytest.mark.parametrize("name", SERVER_FILES)
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text + "# mine\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text[:-1],
        lambda text: text.split("\n", 1)[1],
        lambda text: "",
        lambda text: "\n" + text,
    ],
)
def test_an_edited_file_stays_as_it_is(export: Path, name: str, edit: Callable[[str], str]) -> None:
    edited = edit((export / name).read_text()).encode()
    (export / name).write_bytes(edited)
    write_server_files(export, model_name="wafer")
    assert (export / name).read_bytes() == edited
    others = [(export / other).read_text() for other in SERVER_FILES if other != name]
    assert "/models/wafer" in "".join(others)
    assert "/models/solder" not in "".join(others)


def test_what_is_no_text_or_no_file_stays_too(export: Path) -> None:
    (export / "models.config").write_bytes(b"\xff\x00")
    (export / "compose.yaml").unlink()
    (export / "compose.yaml").mkdir()
    write_server_files(export, model_name="wafer")
    assert (export / "models.config").read_bytes() == b"\xff\x00"
    assert (export / "compose.yaml").is_dir()


def test_a_missing_file_comes_back(export: Path) -> None:
    whole = (export / "batching.config").read_bytes()
    (export / "batching.config").unlink()
    write_server_files(export, model_name="solder")
    assert (export / "batching.config").read_bytes() == whole


@pytest.mark.parametrize("name", ["", "a b", '"', "a/b", "../a", "-x", "a\n", "ä"])
def test_a_name_that_would_break_the_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="model_name"):
        write_server_files(tmp_path, model_name=name)
    assert not list(tmp_path.iterdir())
