"""Equinox modules built from specs. Written per example; `jax.vmap` batches them."""
