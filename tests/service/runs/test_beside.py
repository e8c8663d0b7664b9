"""Who stands in the line and who beside it is the same whether it is kept from look to look or found anew."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from service.bodies.owners import Caps
from service.runs.beside import Beside
from service.runs.caps import split
from service.runs.room import Need


class Item(NamedTuple):
    place: int
    number: int
    owner: str
    need: Need


CAPS = {"ada": Caps(running=2), "bob": Caps(workers=3), "*": Caps(running=4, gpus=2)}
owners = st.sampled_from(["ada", "bob", "cleo"])
needs = st.builds(Need, st.integers(1, 3), st.just(1.0), st.sampled_from([0.0, 1.0]))
looks = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 30), owners, needs), max_size=4),  # who come
        st.lists(st.integers(0, 20), max_size=3),  # who go, by where they stand
        st.lists(st.tuples(owners, needs), max_size=2),  # who are on the cluster
        st.sampled_from([CAPS, {"*": Caps(running=1)}, {}]),
    ),
    max_size=6,
)


@given(looks)
@examples(60)
def test_kept_or_found_anew_the_same_stand_in_the_line_and_moves_are_the_difference(
    found: list[tuple[list[tuple[int, str, Need]], list[int], list[tuple[str, Need]], dict[str, Caps]]],
) -> None:
    beside, waiting, inside, number = Beside[Item](), list[Item](), set[int](), 0
    for come, go, active, caps in found:
        gone = {waiting[index].number for index in go if index < len(waiting)}
        came = sorted(Item(place, (number := number + 1), owner, need) for place, owner, need in come)
        waiting = sorted([*(item for item in waiting if item.number not in gone), *came])
        moves = beside.look(caps, active, {}, came, gone)
        line, held = split(caps, active, waiting)
        assert moves.held == held
        assert list(beside) == waiting
        now = {item.number for item in line}
        assert [item.number for item in moves.came] == [item.number for item in line if item.number not in inside]
        assert set(moves.left) == (inside - now) - gone
        assert moves.came == sorted(moves.came)
        inside = now
