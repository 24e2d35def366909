"""Every pair of methods trains or is refused with a reason, and the document says which."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from types import ModuleType

import pytest

from steadygan.errors import UserError

METHODS = (
    *("cr", "bcr", "zcr", "diffaugment", "ada", "apa", "r1", "r2", "gp", "dragan", "jsreg", "logan", "unet + cutmix"),
    *("ortho", "lecam", "path_length", "relativistic", "fastgan"),
)
PAIRS = list(itertools.combinations_with_replacement(METHODS, 2))
REFUSED = {
    ("cr", "bcr"): "bcr contains cr",
    ("unet + cutmix", "relativistic"): "cutmix scores each image separately",
}


@pytest.fixture(scope="module")
def outcome(combinations: ModuleType) -> Callable[[tuple[str, str]], str]:
    """A pair's outcome, computed once per process."""
    return cache(lambda pair: combinations.outcome(dict.fromkeys(pair)))


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_a_pair_trains_or_is_refused_with_a_reason(
    pair: tuple[str, str], combinations: ModuleType, outcome: Callable[[tuple[str, str]], str]
) -> None:
    if pair in REFUSED:
        assert REFUSED[pair] in outcome(pair)
    else:
        assert outcome(pair) == combinations.TRAINS


def test_all_that_is_not_refused_trains_at_once(combinations: ModuleType) -> None:
    for left_out in ({"cr", "relativistic"}, {"cr", "unet + cutmix"}):
        methods = [method for method in METHODS if method not in left_out]
        assert combinations.outcome(methods) == combinations.TRAINS


def test_the_document_is_that_of_these_results(
    combinations: ModuleType, outcome: Callable[[tuple[str, str]], str]
) -> None:
    assert tuple(combinations.METHODS) == METHODS
    text = combinations.DOCUMENT.read_text(encoding="utf-8")
    assert text == combinations.render({pair: outcome(pair) for pair in PAIRS}, combinations.requirements())


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("unet", r"unet needs a discriminator that scores pixels.*model\.kind=unet"),
        ("cutmix", r"cutmix needs a discriminator that scores pixels.*model\.kind=unet"),
        ("path_length", r"path_length needs a generator with a mapping network.*model\.kind=stylegan2"),
        ("two_scales", r"two_scales needs networks with a smaller second image; set model\.kind=fastgan"),
        ("reconstruction", r"reconstruction needs networks with a smaller second image; set model\.kind=fastgan"),
        ("logan", r"logan keeps latents inside \[-1, 1\]; set model\.prior=uniform"),
        ("cr", r"cr \(target=bare\) .*augment\.diffaugment\.policy is empty"),
    ],
)
def test_what_a_method_needs_is_said_without_it(term: str, message: str, combinations: ModuleType) -> None:
    with pytest.raises(UserError, match=message):
        combinations.without(term)
