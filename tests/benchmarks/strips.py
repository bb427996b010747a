"""NEU many times over, made different: as many pictures as a benchmark wants."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def copy_made_different(
    source: Path, target: Path, *, copies: int, most: int = 10**9, every: int = 1
) -> int:
    """Copies NEU, or every so many of its pictures, each rolled by 40 to 150 pixels both ways."""
    rng = np.random.default_rng(0)
    count = 0
    for path in sorted(source.glob("*/images/*/*.jpg"))[::every]:
        split, label = path.parts[-4], path.parent.name
        xml = (source / split / "annotations" / f"{path.stem}.xml").read_bytes()
        pixels = np.array(Image.open(path))
        # Distances of a grid, so that no two copies are the same.
        for copy, place in enumerate(rng.choice(121, copies, replace=False)):
            if count == most:
                return count
            name = f"{path.stem}_{copy}"
            picture = target / split / "images" / label / f"{name}.jpg"
            annotation = target / split / "annotations" / f"{name}.xml"
            picture.parent.mkdir(parents=True, exist_ok=True)
            annotation.parent.mkdir(parents=True, exist_ok=True)
            rolled = np.roll(pixels, 40 + 11 * np.array(divmod(place, 11)), (0, 1))
            buffer = io.BytesIO()
            Image.fromarray(rolled).save(buffer, "JPEG", quality=90)
            picture.write_bytes(buffer.getvalue())
            annotation.write_bytes(xml)
            count += 1
    return count
