"""Keras graphs, losses, class activation maps and the graph of the SavedModel."""
