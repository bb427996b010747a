"""The SavedModel: checked, published, described, and loaded again."""
