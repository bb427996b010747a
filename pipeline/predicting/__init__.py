"""New pictures: found, judged, and their answers written."""
