"""Data sets: COCO, VOC, YOLO text, MNIST and generated ones; checks, splits and converters."""
