"""What a client meets: signatures as the server reads them, any picture, any batch, JSON, gRPC.

The models are small enough that their answers are known in closed form: of a picture of one grey
value, each logit is a line in that value.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (  # type: ignore[import-untyped]
    predict_pb2,
    prediction_service_pb2_grpc,
)

from models.monitoring import fit_feature_space, list_statistics
from models.serving import ServingFacts, write_saved_model
from pipeline.serving.server_files import write_server_files

SIDE = 24
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TWO = ServingFacts(("io", "nio"), ("nio",), "nio", 0.5, "features", "letterbox")
THREE = ServingFacts(("a", "b", "io"), ("a", "b"), "", 0.0, "features", "stretch")
SIGNATURES = ("serving_default", "explain", "predict_tensor", "monitor")


def _build(channels: int, slopes: list[float], *, reconstructs: bool) -> keras.Model:
    """Logits are `slopes` times the mean grey value less 100; reconstructions are 5 too high."""
    image = keras.Input([SIDE, SIDE, channels], name="image")
    grey = keras.layers.Conv2D(1, 1, activation="relu", name="features")
    pooled = keras.layers.GlobalAveragePooling2D()(grey(image))
    head = keras.layers.Dense(len(slopes), name="logits")
    outputs = {"logits": head(pooled)}
    grey.set_weights([np.full([1, 1, channels, 1], 1 / channels), np.zeros(1)])
    head.set_weights([np.array([slopes]), -100 * np.array(slopes)])
    if not reconstructs:
        return keras.Model(image, outputs["logits"])
    decode = keras.layers.Conv2D(channels, 1, name="reconstruction")
    outputs["reconstruction"] = decode(image)
    decode.set_weights([np.eye(channels)[np.newaxis, np.newaxis], np.full(channels, 5.0)])
    return keras.Model(image, outputs)


@dataclass(frozen=True)
class Served:
    """A SavedModel in a plain Session.

    Attributes:
        session: With the graph.
        signatures: As the server reads them.
        slopes: Of its logits.
        channels: Of its input.
    """

    session: Any
    signatures: Any
    slopes: tuple[float, ...]
    channels: int

    def ask(self, signature: str, values: Any) -> dict[str, np.ndarray]:
        """Feeds the one input of a signature and fetches all outputs."""
        found = self.signatures[signature]
        (fed,) = found.inputs.values()
        return self.session.run({k: v.name for k, v in found.outputs.items()}, {fed.name: values})

    def expect(self, grey: float) -> np.ndarray:
        """Probabilities of a picture of one grey value."""
        odds = np.exp(np.array(self.slopes) * (grey - 100))
        return odds / odds.sum()


@pytest.fixture(scope="module", params=["two classes, grey, decoder", "three classes, colour"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    is_first = request.param.startswith("two")
    slopes, channels = ((-0.01, 0.01), 1) if is_first else ((-0.02, 0.0, 0.01), 3)
    model = _build(channels, list(slopes), reconstructs=is_first)
    folder = tmp_path_factory.mktemp("saved") / "1"
    # Of the one feature, the mean grey value.
    space = fit_feature_space(np.array([[99.0], [101.0]]), np.zeros(2, int), classes=len(slopes))
    write_saved_model(folder, model, TWO if is_first else THREE, space=space)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        yield Served(session, graph.signature_def, slopes, channels)


def _encode(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _plain_pictures(grey: int) -> dict[str, bytes]:
    """One grey value in every form that is decoded, each of another size."""

    def fill(*shape: int, dtype: Any = np.uint8, scale: int = 1) -> np.ndarray:
        return np.full(shape, grey * scale, dtype)

    exact = {"quality": 100, "subsampling": 0}
    palette = Image.fromarray(fill(9, 31, 3)).quantize(2)
    file = io.BytesIO()
    palette.save(file, "PNG")
    return {
        "PNG grey": _encode(fill(24, 24)),
        "PNG colour": _encode(fill(1, 1, 3)),
        "PNG palette": file.getvalue(),
        "PNG transparent": _encode(np.concatenate([fill(8, 8, 3), fill(8, 8, 1) // 2], axis=2)),
        "PNG 16 bit": _encode(fill(301, 40, dtype=np.uint16, scale=257)),
        "JPEG grey": _encode(fill(17, 90), "JPEG", **exact),
        "JPEG colour": _encode(fill(40, 33, 3), "JPEG", **exact),
        "JPEG progressive": _encode(fill(50, 50, 3), "JPEG", progressive=True, **exact),
        "JPEG halved colour": _encode(fill(25, 63, 3), "JPEG", quality=100, subsampling=2),
        "BMP grey": _encode(fill(5, 6), "BMP"),
        "BMP colour": _encode(fill(64, 3, 3), "BMP"),
    }


def _draw_pictures(count: int) -> list[bytes]:
    """Noise of many sizes, formats and depths."""
    rng = np.random.default_rng(0)
    encoded = []
    for number in range(count):
        shape = tuple(rng.integers(1, 70, 2))
        if number % 4 == 0:
            encoded.append(_encode(rng.integers(0, 65536, shape, np.uint16)))
        else:
            shape += (3,) if number % 2 else ()
            kind = ("PNG", "JPEG", "BMP")[number % 3]
            encoded.append(_encode(rng.integers(0, 256, shape, np.uint8), kind))
    return encoded


def test_the_signatures_are_those_of_the_design(served: Served) -> None:
    is_first = served.channels == 1
    classes = len(served.slopes)
    answers = {
        "label": (tf.string, [-1]),
        "label_index": (tf.int64, [-1]),
        "probabilities": (tf.float32, [-1, classes]),
        "classes": (tf.string, [-1, classes]),
        "decision": (tf.string, [-1]),
    }
    if is_first:
        alone = ("score", "threshold", "reconstruction_error")
        answers |= dict.fromkeys(alone, (tf.float32, [-1]))
    heatmap = {"heatmap": (tf.float32, [-1, SIDE, SIDE])}
    statistics = len(list_statistics(reconstructs=is_first))
    encoded = {"image_bytes": (tf.string, [-1])}
    pixels = {"images": (tf.uint8, [-1, SIDE, SIDE, served.channels])}

    def describe(infos: Any) -> dict[str, Any]:
        return {
            name: (tf.as_dtype(info.dtype), [side.size for side in info.tensor_shape.dim])
            for name, info in infos.items()
        }

    found = {
        name: (describe(signature.inputs), describe(signature.outputs))
        for name, signature in served.signatures.items()
        if signature.method_name == "tensorflow/serving/predict"
    }
    assert found == {
        "serving_default": (encoded, answers),
        "explain": (encoded, answers | heatmap),
        "predict_tensor": (pixels, answers),
        "monitor": (encoded, answers | {"statistics": (tf.float32, [-1, statistics])}),
    }
    assert served.signatures.keys() - found.keys() <= {"__saved_model_init_op"}


@pytest.mark.parametrize("grey", [0, 60, 255])
def test_every_form_of_picture_shares_a_batch_and_means_the_same(served: Served, grey: int) -> None:
    pictures = _plain_pictures(grey)
    for signature in ("serving_default", "explain", "monitor"):
        answers = served.ask(signature, list(pictures.values()))
        for name, found in zip(pictures, answers["probabilities"], strict=True):
            np.testing.assert_allclose(found, served.expect(grey), atol=1e-6, err_msg=name)
        if "reconstruction_error" in answers:
            np.testing.assert_allclose(answers["reconstruction_error"], 5.0, rtol=1e-4)
        _require_json(answers)
    pixels = np.full([3, SIDE, SIDE, served.channels], grey, np.uint8)
    by_tensor = served.ask("predict_tensor", pixels)
    np.testing.assert_allclose(by_tensor["probabilities"], [served.expect(grey)] * 3, atol=1e-6)
    _require_json(by_tensor)


def test_one_picture_alone_gets_what_it_gets_among_64(served: Served) -> None:
    pictures = _draw_pictures(64)
    pixels = np.random.default_rng(1).integers(0, 256, [64, SIDE, SIDE, served.channels], np.uint8)
    for signature in SIGNATURES:
        values = pixels if signature == "predict_tensor" else pictures
        together = served.ask(signature, values)
        for row in range(64):
            alone = served.ask(signature, values[row : row + 1])
            for name, answer in alone.items():
                assert len(answer) == 1
                if answer.dtype == object or name == "label_index":
                    assert answer.tolist() == together[name][row : row + 1].tolist()
                else:
                    # Errors are in grey values: of some hundred, float32 knows five digits more.
                    atol = 1e-4 if name in ("reconstruction_error", "statistics") else 1e-6
                    np.testing.assert_allclose(answer[0], together[name][row], rtol=0, atol=atol)


def _require_json(answers: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rows of the server's reply: one first dimension, and nothing that JSON does not know.

    What is called `..._bytes` would come back in base64.
    """
    (count,) = {len(value) for value in answers.values()}
    assert not [name for name in answers if name.endswith("_bytes")]

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        return value.decode() if isinstance(value, bytes) else value

    columns = {name: plain(value.tolist()) for name, value in answers.items()}
    rows = [{name: column[row] for name, column in columns.items()} for row in range(count)]
    return json.loads(json.dumps({"predictions": rows}, allow_nan=False))["predictions"]


def _find_block(language: str, word: str) -> str:
    """The one block of the README's section on serving that holds a word."""
    section = README.split("\n## Serving\n")[1].split("\n## ")[0]
    blocks = [part.split("```")[0] for part in section.split(f"```{language}\n")[1:]]
    (found,) = [block for block in blocks if word in block]
    return found


def test_the_curl_line_of_the_readme_asks_what_the_server_reads(
    served: Served, tmp_path: Path
) -> None:
    # Larger than what a command line may hold.
    picture = _encode(np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8), "BMP")
    (tmp_path / "picture.jpg").write_bytes(picture)
    spy = 'curl() { printf "%s\\n" "$@" > asked; cat > body; }\n'
    subprocess.run(["bash", "-c", spy + _find_block("sh", "curl")], cwd=tmp_path, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["-d", "@-", "http://localhost:8501/v1/models/autoencoder:predict"]
    body = json.loads((tmp_path / "body").read_text())
    assert body.keys() == {"instances"}
    decoded = [base64.b64decode(one["b64"], validate=True) for one in body["instances"]]
    assert decoded == [picture]
    (row,) = _require_json(served.ask("serving_default", decoded))
    assert row["label"] in row["classes"]
    assert row["decision"] in ("pass", "fail")
    assert len(row["probabilities"]) == len(served.slopes)


class _Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers as the server does, by a Session; holds what it was asked."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.asked: list[Any] = []

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's own name
        self.asked.append(request)
        (values,) = (tf.make_ndarray(tensor) for tensor in request.inputs.values())
        reply = predict_pb2.PredictResponse()
        for name, value in self.served.ask(request.model_spec.signature_name, values).items():
            reply.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return reply


def test_the_grpc_client_of_the_readme_gets_an_answer(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = _plain_pictures(60)["JPEG colour"]
    (tmp_path / "picture.jpg").write_bytes(picture)
    monkeypatch.chdir(tmp_path)
    service = _Server(served)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        lines = _find_block("py", "grpc")
        assert lines.count("localhost:8500") == 1
        found: dict[str, Any] = {}
        exec(lines.replace("localhost:8500", f"127.0.0.1:{port}"), found)
    finally:
        server.stop(None)
    (request,) = service.asked
    assert request.model_spec.name == "autoencoder"
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.inputs) == ["image_bytes"]
    assert tf.make_ndarray(request.inputs["image_bytes"]).tolist() == [picture]
    np.testing.assert_allclose(found["probabilities"], [served.expect(60)], atol=1e-6)
    assert found["labels"] == ["io" if served.channels == 1 else "a"]


def test_the_docker_lines_of_the_readme_fit_the_files_of_an_export(tmp_path: Path) -> None:
    write_server_files(tmp_path, model_name="autoencoder")
    compose = (tmp_path / "compose.yaml").read_text()
    words = _find_block("sh", "docker run").replace("\\\n", " ").split()
    assert f"image: {words[-1]}\n" in compose
    assert "MODEL_NAME=autoencoder" in words
    for flag in ("-p", "-v"):
        given = [words[i + 1].strip('"') for i, word in enumerate(words) if word == flag]
        for value in given:
            assert f'- "{value.replace("$PWD", ".")}"\n' in compose
