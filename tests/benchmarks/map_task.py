"""Networks with pictures and classes to explain, for the benchmarks of maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.utils.scores import CategoricalScore

from models.backbone import calibrate_batch_norm
from models.registry import MODELS
from tests.benchmarks.map_rules import Floats, Measured, enlarge
from tests.benchmarks.peers import write_network

INNER = "trunk.17.body.0"  # what Keras calls block13_sepconv1_act


class Task:
    """A network with pictures and classes to explain; `layers` from the names of the peers."""

    def __init__(self, network: str, *, pictures: int) -> None:
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        self.network, self.layers = network, {"features": "features", "last": "last"}
        if network == "xception":  # calibrated, so that no features vanish
            self.layers = {INNER: MODELS[network].cam_layer, "last": "block14_sepconv2_act"}
            self.model = MODELS[network].build(image_size=200, channels=1, classes=6)
            self.images = enlarge(rng.uniform(0, 255, (16, 25, 25)), 200)[..., np.newaxis]
            calibrate_batch_norm(self.model, [tf.constant(self.images)])
            self.images = self.images[:pictures]
        else:
            self.model = build_small(network)
            self.images = rng.uniform(0, 1, (pictures, 32, 32, 2)).astype(np.float32)
        self.classes = [number % 3 for number in range(pictures)]

    def write(self, path: Path) -> str:
        arrays = {"images": self.images, "classes": np.array(self.classes)}
        return str(write_network(path, self.network, self.model, **arrays))

    def measure(self, layer: str, images: Floats) -> Measured:
        """Activations and gradients, in float64 for the powers."""
        outputs = [self.model.get_layer(self.layers[layer]).output, self.model.output]
        with tf.GradientTape() as tape:
            tape.watch(seen := tf.constant(images))
            activations, logits = keras.Model(self.model.input, outputs)(seen, training=False)
            scores = tf.gather(logits, self.classes, axis=1, batch_dims=1)
        found = activations, tape.gradient(scores, activations)
        return found[0].numpy().astype(np.float64), found[1].numpy().astype(np.float64)

    def visualize(self, layer: str, **options: bool) -> Callable[[Floats, list[int]], Floats]:
        """Grad-CAM++ of tf-keras-vis."""
        cam = GradcamPlusPlus(self.model)
        options |= {"seek_penultimate_conv_layer": False}
        return lambda images, classes: cam(
            CategoricalScore(classes), images, penultimate_layer=self.layers[layer], **options
        )


def build_small(head: str) -> keras.Model:
    """Three convolutions, and a head whose gradients are short of the pole of `alpha`."""
    own = {"bias_initializer": "random_normal", "padding": "same", "activation": "relu"}
    image = keras.Input([32, 32, 2])
    x = keras.layers.Conv2D(8, 3, **own)(image)
    x = keras.layers.Conv2D(16, 3, name="features", **own)(x)
    x = keras.layers.Conv2D(16, 3, name="last", **own)(keras.layers.MaxPooling2D()(x))
    pools = head == "gap"
    x = (keras.layers.GlobalAveragePooling2D() if pools else keras.layers.Flatten())(x)
    kernel = keras.initializers.RandomNormal(stddev=0.3 if pools else 0.002)
    logits = keras.layers.Dense(3, kernel_initializer=kernel, bias_initializer="random_normal")
    return keras.Model(image, logits(x))
