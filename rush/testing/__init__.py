"""For those who write backends: the tests that every backend passes, to be run on one's own with pytest."""

from rush.errors import MissingDependency

try:
    import pytest
except ImportError as error:
    raise MissingDependency("rush.testing needs pytest: pip install pytest") from error

pytest.register_assert_rewrite("rush.testing.contract")

from rush.testing.contract import BackendContract  # noqa: E402 - after its assertions were registered

__all__ = ["BackendContract"]
