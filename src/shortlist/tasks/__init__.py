"""Losses as pure functions, and the tasks that combine them."""
