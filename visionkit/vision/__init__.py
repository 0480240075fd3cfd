"""Boxes, anchors, suppression, assignment, codecs, losses and results."""
