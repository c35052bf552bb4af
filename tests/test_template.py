"""Templates of job scripts."""

import pytest

from rush.errors import ConfigError
from rush.template import load_template, render


def test_holes_are_filled_and_the_shells_own_variables_stay():
    assert render("run {{what}} in $HOME ${X}", {"what": "it"}) == "run it in $HOME ${X}"


def test_a_value_may_look_like_a_hole():
    assert render("{{a}}", {"a": "{{b}}"}) == "{{b}}"


def test_a_hole_without_a_value_is_an_error_that_names_both():
    with pytest.raises(ConfigError, match=r"\{\{time\}\}.*values: tme"):
        render("{{time}}", {"tme": "1"})


def test_a_value_without_a_hole_is_an_error_that_names_both():
    with pytest.raises(ConfigError, match=r"'tme'.*holes: time"):
        render("{{time}}", {"time": "1", "tme": "1"})


def test_rushs_own_templates_are_found_by_name():
    assert "{{arguments}}" in load_template("worker")


def test_an_unknown_template_is_an_error_with_the_near_match():
    with pytest.raises(ConfigError, match=r"'wroker'.*'worker'"):
        load_template("wroker")


def test_a_users_template_is_read_from_its_path(tmp_path):
    (tmp_path / "mine.sh").write_text("mine {{x}}")
    assert load_template(str(tmp_path / "mine.sh")) == "mine {{x}}"
    with pytest.raises(ConfigError, match=r"other\.sh"):
        load_template(str(tmp_path / "other.sh"))
