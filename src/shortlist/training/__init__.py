"""The training core: whole epochs compiled on the device, told of by events."""
