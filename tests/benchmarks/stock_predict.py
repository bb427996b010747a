"""One model of Keras, loaded, and the pictures below a folder judged; or one picture.

python stock_predict.py MODEL.keras PICTURES
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras


def main(model: str, pictures: str) -> None:
    loaded, place = keras.saving.load_model(model, compile=False), Path(pictures)
    size = loaded.input_shape[1:3]
    if place.is_dir():
        images = keras.utils.image_dataset_from_directory(
            place, image_size=size, color_mode="grayscale", labels=None, verbose=False
        )
    else:
        picture = keras.utils.load_img(place, color_mode="grayscale", target_size=size)
        images = keras.utils.img_to_array(picture)[None]
    loaded.predict(images, verbose=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
