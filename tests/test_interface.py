"""What users of an earlier 1.x can name is there in this version, and means the same: see `interface`."""

import json

import pytest
from interface import COMPAT, commands, description, fields, resolve

RELEASES = {path.parent.name: json.loads(path.read_text()) for path in sorted(COMPAT.glob("*/interface.json"))}
NAMES = sorted({(version, name) for version, release in RELEASES.items() for name in release["names"]})


def assert_accepts(old, new, where):
    """Every call that fits the old parameters fits the new ones, and has the same defaults."""
    now = {name: (kind, default) for name, kind, default in new}
    kinds = {kind for kind, _ in now.values()}
    for name, kind, default in old:
        if name not in now:
            assert (kind, "VAR_KEYWORD" in kinds) == ("KEYWORD_ONLY", True), f"{where} no longer takes {name}"
            continue
        assert default in (None, now[name][1]), f"{where} has another default of {name}"
        assert kind == now[name][0] or now[name][0] == "POSITIONAL_OR_KEYWORD", f"{where} takes {name} in another way"
    positional = [name for name, kind, _ in old if kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    assert [name for name, kind, _ in new if kind != "KEYWORD_ONLY"][: len(positional)] == positional, where
    for name, kind, default in new:
        is_new = name not in [known for known, *_ in old]
        assert not is_new or default is not None or kind.startswith("VAR_"), f"{where} now requires {name}"


@pytest.mark.parametrize(("version", "name"), NAMES)
def test_a_public_name_takes_what_it_took(version, name):
    try:
        now = description(resolve(name))
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        pytest.skip(str(error))
    old = RELEASES[version]["names"][name]
    assert_accepts(old["parameters"], now["parameters"], name)
    for member, parameters in old.get("members", {}).items():
        assert member in now["members"], f"{name} has no {member} any more"
        if parameters is not None:
            assert_accepts(parameters, now["members"][member], f"{name}.{member}")


@pytest.mark.parametrize("version", RELEASES)
def test_every_command_has_the_options_that_it_had(version):
    now = commands()
    for name, options in RELEASES[version]["commands"].items():
        assert set(options) <= set(now[name]), name


@pytest.mark.parametrize("version", RELEASES)
def test_records_have_the_fields_that_they_had_in_their_order(version):
    now = fields()
    for kind, names in RELEASES[version]["fields"].items():
        assert [name for name in now[kind] if name in names] == names, kind


def test_a_call_that_no_longer_fits_is_found():
    old = [["a", "POSITIONAL_OR_KEYWORD", None], ["b", "KEYWORD_ONLY", "1"]]
    for new in (
        [["b", "KEYWORD_ONLY", "1"]],
        [["x", "POSITIONAL_OR_KEYWORD", "0"], *old],
        [old[0], ["b", "KEYWORD_ONLY", "2"]],
        [*old, ["c", "KEYWORD_ONLY", None]],
        [["a", "KEYWORD_ONLY", None], old[1]],
    ):
        with pytest.raises(AssertionError):
            assert_accepts(old, new, "f")
    assert_accepts(old, [*old, ["c", "KEYWORD_ONLY", "0"]], "f")
