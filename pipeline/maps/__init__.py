"""What class activation maps are worth: against boxes, against random weights."""
