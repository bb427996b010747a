"""TensorFlow, loaded with what suits this project, without the pages it writes where no GPU is."""

from __future__ import annotations

import os
import sys
import tempfile

ONEDNN_SWITCH = "TF_ENABLE_ONEDNN_OPTS"
"""TensorFlow's own setting, read when it is loaded; what the user has set stays."""


def load_tensorflow() -> None:
    """Imports TensorFlow and lets it look for devices, both without a word on stderr.

    The notes come from C++ before its log level is read, so no setting silences them. When the
    import fails, what was held back is shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow leaves oneDNN off on processors without AVX-512; training takes half the time
    # with it there too.
    os.environ.setdefault(ONEDNN_SWITCH, "1")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except Exception:
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
