"""Figures and annotated pictures, drawn with Matplotlib and Pillow."""
