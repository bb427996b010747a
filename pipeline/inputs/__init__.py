"""From records to batches: pictures decoded and augmented, with what is to be learned of them."""
