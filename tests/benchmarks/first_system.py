"""The first system's network, as a model of this project's: what `ablation` compares with.

Three convolutions of 16, 32 and 64 filters with pooling, dropout of one half, and all values of the
last feature map in one dense layer. It had a decoder that was never trained; here its other outputs
have a weight of 0 as well. Run with main.py's flags and the top level in PYTHONPATH.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from absl import app

import main
from models import registry


@dataclass(frozen=True)
class FirstSystem(registry.ModelSpec):
    """The spec of the autoencoder, but for what it builds."""

    def build(self, *, image_size: int, channels: int, classes: int, **own: Any) -> Any:
        """As `ModelSpec.build`."""
        import keras

        mean, variance = own["mean"], own["variance"]
        image = keras.Input([image_size, image_size, channels], name="image")
        x = keras.layers.Rescaling(variance**-0.5, -mean * variance**-0.5)(image)
        for filters in (16, 32, 64):
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Activation("linear", name=self.cam_layer)(x)
        flat = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
        evidence = keras.layers.Conv2D(own["box_classes"], 1, name="evidence")(x)
        decoded = keras.layers.UpSampling2D(8)(keras.layers.Conv2D(channels, 1)(x))
        return keras.Model(
            image,
            {
                "logits": keras.layers.Dense(classes, name="logits")(flat),
                "reconstruction": keras.layers.Activation("linear", name="reconstruction")(decoded),
                "evidence": evidence,
            },
        )


if __name__ == "__main__":
    own = {
        field.name: getattr(registry.MODELS["autoencoder"], field.name)
        for field in dataclasses.fields(registry.ModelSpec)
    }
    registry.MODELS["autoencoder"] = FirstSystem(**own)
    app.run(main.main, flags_parser=main.parse_flags)
