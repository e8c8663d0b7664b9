"""What a person caused or can mend has a kind of its own, and a fix; only bugs are internal."""

from __future__ import annotations

import errno

import pytest

from trainer.errors import TrainingError, classify, heard, judge
from trainer.spec import FieldError, SpecError
from trainer.wire import FailureKind


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError("9 GB"), "out-of-memory", "lower train.micro_batch"),
        (OSError(errno.ENOSPC, "full", "/data/x"), "disk-full", "/data/x"),
        (
            ValueError("Expected more than 1 value per channel when training, got input size torch.Size([1, 8])"),
            "bad-spec",
            "raise train.micro_batch",
        ),
        (
            ValueError("batch norm in training needs more than one value a channel, got [1, 8]"),
            "bad-spec",
            "raise train.micro_batch",
        ),
        (SpecError([FieldError(path="train.batch", message="is odd")]), "bad-spec", "train.batch"),
        (IndexError("list index out of range"), "internal", "IndexError: list index out of range"),
    ],
)
def test_what_libraries_say_is_told_apart(error: Exception, kind: str, words: str) -> None:
    found, reason = classify(error)
    assert found == kind
    assert words in reason


def test_every_kind_of_ours_but_the_bases_own_says_more_than_internal() -> None:
    for cls in TrainingError.__subclasses__():
        assert cls.kind is not FailureKind.INTERNAL, cls
        if cls.__module__ == TrainingError.__module__:
            assert classify(cls("word")) == (cls.kind, "word")


@pytest.mark.parametrize("kind", list(FailureKind))
def test_what_another_rank_told_is_raised_here_as_an_echo_of_the_same_kind(kind: FailureKind) -> None:
    found = judge(heard(kind, "worker 0: why"))
    assert (found.kind, found.reason, found.echo) == (kind, "worker 0: why", True)
