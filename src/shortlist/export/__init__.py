"""From trained JAX models to ONNX: encoders as hand-made nodes, the dense part lowered from its jaxpr."""
