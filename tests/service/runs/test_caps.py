"""Caps of owners: nobody has more than they may, whoever may have more is not held, and nobody is passed for ever."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from service.bodies.owners import Caps
from service.runs.caps import split
from service.runs.room import Need

MOST = st.none() | st.integers(0, 6)
NEEDS = st.builds(Need, st.integers(1, 5), st.just(1.0), st.sampled_from([0.0, 1.0]))
OWNERS = st.sampled_from(["ada", "bob", "cy"])
CAPS = st.dictionaries(
    st.sampled_from(["ada", "bob", "*"]), st.builds(Caps, running=MOST, workers=MOST, gpus=MOST), max_size=3
)


class Item(NamedTuple):
    owner: str
    need: Need


ITEMS = st.lists(st.builds(Item, OWNERS, NEEDS), max_size=12)


def of(caps: dict[str, Caps], owner: str) -> Caps:
    return caps.get(owner) or caps.get("*") or Caps()


def most(caps: Caps) -> tuple[int | None, int | None, int | None]:
    return caps.running, caps.workers, caps.gpus


def amounts(items: list[Item]) -> tuple[float, float, float]:
    return len(items), sum(item.need.workers for item in items), sum(item.need.total_gpus for item in items)


@given(CAPS, ITEMS, ITEMS)
def test_nobody_comes_to_have_more_than_they_may_and_nobody_is_held_without_need(
    caps: dict[str, Caps], active: list[Item], waiting: list[Item]
) -> None:
    line, held = split(caps, active, waiting)
    assert sorted([*line, *(item for item, _ in held)]) == sorted(waiting)
    for owner in ("ada", "bob", "cy"):
        limits = most(of(caps, owner))
        mine = [item for item in line if item.owner == owner]
        before = amounts([item for item in active if item.owner == owner])
        after = amounts([item for item in (*active, *mine) if item.owner == owner])
        for cap, had, has in zip(limits, before, after, strict=True):
            assert cap is None or has <= cap or has == had, "what is on the cluster stays there"
        first = next((item for item, _ in held if item.owner == owner), None)
        if first is not None:
            place = next(index for index, item in enumerate(waiting) if item is first)
            earlier = [item for item in waiting[:place] if item.owner == owner and any(item is one for one in line)]
            would = amounts([*(item for item in active if item.owner == owner), *earlier, first])
            takes = amounts([first])
            assert any(
                cap is not None and all_ > cap and one for cap, all_, one in zip(limits, would, takes, strict=True)
            )


@given(CAPS, ITEMS, ITEMS)
def test_of_one_owner_nobody_passes_one_that_could_start_later(
    caps: dict[str, Caps], active: list[Item], waiting: list[Item]
) -> None:
    _, held = split(caps, active, waiting)
    counts: Counter[str] = Counter()
    stuck: dict[str, int] = {}
    for item in waiting:
        counts[item.owner] += 1
        is_held = any(item is one for one, _ in held)
        possible = all(
            cap is None or one <= cap for cap, one in zip(most(of(caps, item.owner)), amounts([item]), strict=True)
        )
        assert is_held or item.owner not in stuck
        if is_held and possible:
            stuck.setdefault(item.owner, counts[item.owner])


def test_the_reason_says_whose_cap_it_is_and_how_much_of_it_is_taken() -> None:
    need = Need(2, 1.0, 1.0)
    active = [Item("ada", Need(3, 1.0, 1.0))]
    line, held = split(
        {"*": Caps(workers=4), "bob": Caps(gpus=1)}, active, [Item("ada", need), Item("bob", need), Item("cy", need)]
    )
    assert [item.owner for item in line] == ["cy"]
    assert [reason for _, reason in held] == [
        "waits for 2 CPUs and 2 GPUs: ada may have 4 workers at once, and has 3 on the cluster or ahead in the queue",
        "waits for 2 CPUs and 2 GPUs: bob may have 1 GPU at once, and it takes 2",
    ]


def test_without_caps_all_stand_in_the_line() -> None:
    items = [Item("ada", Need(5, 1.0))] * 3
    assert split({}, items, items) == (items, [])
