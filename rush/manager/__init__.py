"""Managers: the side of a network that people hold in their hands."""

from rush.manager.rush import Rush, rsh

__all__ = ["Rush", "rsh"]
