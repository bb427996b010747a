"""Pictures and Pascal-VOC XML to TFRecords."""
