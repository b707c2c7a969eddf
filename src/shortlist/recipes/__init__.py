"""Whole programs: recipes as TOML beside this file, and what runs them."""
