"""Finding backends by name."""

import pytest

from rush.backends import Backend, Local, backend_names, find_backend, register_backend, registry
from rush.errors import BackendNotFound, ConfigError, MissingDependency


class Nowhere(Backend):
    """Places nothing."""

    name = "nowhere"

    def start(self, commands):
        return []

    def poll(self, placements):
        return {}

    def stop(self, placements, *, kill):
        return None

    def preview(self, commands):
        return ""

    def tail(self, placement, lines=50):
        return ""


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def test_local_is_found_by_name():
    assert isinstance(find_backend("local", {}), Local)
    assert "local" in backend_names()


def test_a_backend_is_given_back():
    backend = Nowhere()
    assert find_backend(backend) is backend


def test_a_registered_backend_is_found():
    register_backend("nowhere", Nowhere)
    assert isinstance(find_backend("nowhere", {}), Nowhere)
    assert "nowhere" in backend_names()


def test_only_backends_can_be_registered():
    with pytest.raises(TypeError, match="subclass"):
        register_backend("wrong", int)


def test_an_unknown_name_is_an_error_with_near_matches_and_the_known_names():
    with pytest.raises(BackendNotFound, match=r"no backend 'locla'; did you mean 'local'\? known: .*local"):
        find_backend("locla", {})


def test_a_backend_that_is_neither_name_nor_backend_is_a_type_error():
    with pytest.raises(TypeError, match="42"):
        find_backend(42)


def test_a_profile_names_a_backend_and_its_options():
    found = find_backend("mine", {"mine": {"backend": "local", "python": "/usr/bin/python9"}})
    assert found.python == "/usr/bin/python9"


def test_a_misspelt_option_of_a_profile_is_an_error_with_the_near_match():
    with pytest.raises(ConfigError, match=r"'pyhton'.*did you mean 'python'"):
        find_backend("mine", {"mine": {"backend": "local", "pyhton": "x"}})


def test_a_missing_library_is_named_with_the_command_that_installs_it():
    def load():
        raise ModuleNotFoundError("No module named 'submitit'", name="submitit")

    with pytest.raises(MissingDependency, match=r"submitit.*pip install 'rush-hpc\[slurm\]'"):
        registry.load_backend(load, "slurm")


def test_the_module_has_no_other_names():
    import rush.backends

    with pytest.raises(AttributeError, match=r"Slrum"):
        rush.backends.Slrum  # noqa: B018 - the access is the point
