"""Configs: read, completed before a run is built, written for a person."""
