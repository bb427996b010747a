"""Grad-CAM++ as peers have it, and how maps are compared.

Compared are maps with ReLU, before any normalisation of the peer's, enlarged to the picture
bilinearly and divided by their maximum; at the layer `features` of the small networks the map has
the picture's size, and nothing is enlarged.

Equal are Grad-CAM, XGrad-CAM and LayerCAM of all, and Grad-CAM++ of tf-keras-vis. The others differ
for reasons that were read in their sources, torch-cam 0.5.0 and pytorch-grad-cam 1.5.7. Each is a
field of `Rule`. With those that `EXPLAINED` names it gives the peer's map, with none ours:

* torch-cam's Grad-CAM++ divides the copy that indexing with a mask makes, so that `alpha` stays
  `g^2`, and the weight is `sum_ij ReLU(g_ij)^3`.
* torch-cam's Smooth Grad-CAM++ takes `ReLU` of the last noisy picture's gradient, not the mean's;
  weighs that picture's activations, which its hooks hold by then, not the plain one's; has
  `sum_ab A_ab g_ab^3` for `(sum_ab A_ab) g_ij^3`; and does not divide `alpha` by its sum.
* pytorch-grad-cam's Grad-CAM++ does not divide `alpha` by its sum, and adds 1e-6 to the
  denominator, which is not small beside the square of a gradient of 1e-3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Floats = npt.NDArray[np.floating]
Measured = tuple[Floats, Floats]


@dataclass(frozen=True)
class Rule:
    """Grad-CAM++ of several samples, with what peers do otherwise; `A` and `g` as in our rules."""

    last_gradient: bool = False  # in ReLU, instead of the mean
    last_activations: bool = False  # are weighed, instead of the plain picture's
    sum_of_products: bool = False  # sum(A g^3) instead of sum(A) g^3
    undivided: bool = False  # alpha is g^2
    unscaled: bool = False  # alpha is not divided by its sum
    epsilon: float = 0.0

    def draw(self, plain: Measured, noisy: list[Measured], size: int) -> Floats:
        """The map of a layer, from its activations and gradients."""
        activations, gradients = plain[0], np.stack([part[1] for part in noisy])
        first = gradients[-1] if self.last_gradient else gradients.mean(axis=0)
        second, third = (gradients**2).mean(axis=0), (gradients**3).mean(axis=0)
        product = total(activations * third) if self.sum_of_products else total(activations) * third
        alpha = second if self.undivided else divide(second, 2 * second + product + self.epsilon)
        alpha = alpha if self.unscaled else divide(alpha, total(np.abs(alpha)))
        weights = total(alpha * np.maximum(first, 0))
        weighed = noisy[-1][0] if self.last_activations else activations
        return enlarge(np.maximum((weighed * weights).sum(axis=-1), 0), size)


EQUAL = {
    "gradcam++": ["tf-keras-vis GradcamPlusPlus"],
    "gradcam": ["torch-cam GradCAM", "pytorch-grad-cam GradCAM"],
    "xgradcam": ["torch-cam XGradCAM", "pytorch-grad-cam XGradCAM"],
    "layercam": ["torch-cam LayerCAM", "pytorch-grad-cam LayerCAM"],
}
EXPLAINED = {
    "torch-cam GradCAMpp": Rule(undivided=True, unscaled=True),
    "torch-cam SmoothGradCAMpp": Rule(True, True, True, unscaled=True, epsilon=1e-8),
    "pytorch-grad-cam GradCAMPlusPlus": Rule(unscaled=True, epsilon=1e-6),
}


def total(values: Floats) -> Floats:
    return values.sum(axis=(1, 2), keepdims=True)


def divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def enlarge(maps: npt.ArrayLike, size: int) -> Floats:
    return tf.image.resize(np.asarray(maps)[..., np.newaxis], [size, size])[..., 0].numpy()


def difference(first: Floats, second: Floats) -> float:
    """The largest in any pixel, of maps divided by their maxima."""
    shares = [divide(maps, maps.max(axis=(1, 2), keepdims=True)) for maps in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())
