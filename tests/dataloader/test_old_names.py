"""Names of the last release keep working for one more, and say what to type now."""

import pytest

import cellwright.dataloader as dataloader


@pytest.mark.parametrize("old, new", (("Plan", "Sampler"), ("start_nursery", "start_forkserver")))
def test_an_old_name_is_the_new_thing_and_warns(old, new):
    with pytest.warns(DeprecationWarning, match=f"dataloader.{old} is now dataloader.{new}"):
        assert getattr(dataloader, old) is getattr(dataloader, new)


def test_a_wrong_name_is_an_error_as_ever():
    with pytest.raises(AttributeError, match="Foo"):
        dataloader.Foo  # noqa: B018
