"""Measures how fast things are; never part of a test's verdict."""
