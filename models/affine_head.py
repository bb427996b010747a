"""Whether what lies above a layer is affine: its gradient is then the same for every picture."""

from __future__ import annotations

import keras

# In inference mode, where dropout passes everything and batch normalisation has fixed statistics.
_AFFINE = (
    keras.layers.Add,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Concatenate,
    keras.layers.Cropping2D,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Rescaling,
    keras.layers.Reshape,
    keras.layers.SpatialDropout2D,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding2D,
)
_AFFINE_UNLESS_ACTIVATED = (
    keras.layers.Activation,
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def is_affine_above(model: keras.Model, layer_name: str) -> bool:
    """Whether the model's first output is an affine function of what a layer gives.

    Args:
        model: One flat functional graph.
        layer_name: One of its layers.

    Returns:
        True only if every layer between the two is known to be affine; what goes round the layer,
        such as a shortcut added behind it, may be anything.
    """
    layer = model.get_layer(layer_name)
    depending = {id(layer.output)}
    for operation in model.operations:  # in the order of the graph
        for node in operation._inbound_nodes:
            depends = any(id(tensor) in depending for tensor in node.input_tensors)
            if depends and not _is_affine(operation):
                return False
            if depends:
                depending.update(map(id, node.output_tensors))
    return True


def _is_affine(operation: keras.Operation) -> bool:
    if isinstance(operation, _AFFINE_UNLESS_ACTIVATED):
        return operation.activation is keras.activations.linear
    return isinstance(operation, _AFFINE)
