"""Tests of the private server."""
