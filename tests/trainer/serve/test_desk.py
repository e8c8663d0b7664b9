"""What a replica refuses, and how it says which field, or when to come again; what it does when it is full, late or left."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
import torch
from asking import Replica, Said, named, near, put

from trainer.publish.portable.generator import Generator
from trainer.serve import answers
from trainer.serve.refusals import RefusedError
from trainer.serve.wire import MODEL_HEADER, QUESTION_HEADER, Reason


@pytest.mark.parametrize(
    ("what", "question", "field"),
    [
        ("generate", {"labels": 10}, "labels"),
        ("generate", {"labels": ["no class"]}, "labels"),
        ("generate", {"labels": [1, 2], "n": 3}, "n"),
        ("generate", {"codes": {"c1": 3}}, "codes"),
        ("generate", {"n": 1025}, "n"),
        ("generate", {"m": 3}, "m"),
        ("path", {"seeds": [1, 2], "label": "balanced"}, "label"),
        ("traverse", {"code": "c1"}, "code"),
        ("traverse", {"direction": [1.0, 2.0]}, "direction"),
        ("traverse", {"direction": [1.0] * 100, "low": 3}, "low"),
        ("encode", {"images": ["QUJD"]}, "model"),
        ("encode", {"images": ["no base64"]}, "images.0"),
        ("neighbours", {"images": ["QUJD", "QUJE"]}, "images.0"),
    ],
)
def test_what_the_model_cant_do_is_refused_by_field(dcgan, what, question, field):
    said = Replica(dcgan).asked(what, question)
    assert (said.status, said.refusal.reason) == (422, Reason.WRONG), said.body
    assert said.fields[0] == field, said.refusal


def test_a_prior_without_truncation_and_a_code_without_the_value_are_refused(gan, infogan):
    assert Replica(gan).asked("generate", {"truncation": 0.5}).fields == ["truncation"]
    assert Replica(gan).asked("path", {"seeds": [1, 2], "truncation": 0.5}).fields == ["truncation"]
    assert Replica(infogan).asked("generate", {"codes": {"c1": 10}}).fields == ["codes"]
    assert Replica(infogan).asked("traverse", {"code": "c1", "low": 0.5}).fields == ["low"]
    assert Replica(infogan).asked("traverse", {"code": "c1", "high": 10}).fields == ["high"]


def test_too_many_pixels_are_refused_with_the_largest_n(dcgan, monkeypatch):
    monkeypatch.setattr("trainer.serve.latents.MOST_PIXELS", 64 * 10)
    said = Replica(dcgan).asked("generate", {"n": 11})
    assert said.refusal.errors[0].path == "n"
    assert "10 at most" in said.refusal.errors[0].fix
    assert Replica(dcgan).asked("generate", {"n": 10}).status == 200


def test_a_short_question_comes_as_a_header(dcgan):
    replica, question = Replica(dcgan), {"n": 2, "seed": 5, "form": "npz"}
    expected = replica.asked("generate", question)

    def put_so(given: str) -> Said:
        headers = {MODEL_HEADER: str(dcgan.id), QUESTION_HEADER: given}
        return asyncio.run(put(replica.desk, "/models/generate", b"nothing is read of this", headers))

    assert put_so(json.dumps(question)).body == expected.body
    assert put_so('{"n": 0}').fields == ["n"]
    assert put_so("").status == 422


def test_strangers_are_turned_away_before_their_body_is_read(dcgan):
    replica = Replica(dcgan)
    for token in ("", "Bearer", "Bearer other", "Bearer a token "):
        said = asyncio.run(put(replica.desk, "/models/generate", b"no JSON", {}, token=token))
        assert (said.status, said.refusal.reason) == (401, Reason.STRANGER)


def test_other_paths_methods_and_models_are_refused(dcgan):
    replica = Replica(dcgan)
    assert replica.asked("paint", {}).status == 404
    assert replica.asked("generate", {}, method="GET").status == 404
    assert asyncio.run(put(replica.desk, "/models/generate", {}, {MODEL_HEADER: "../m"})).fields == ["model"]


def test_a_body_that_is_too_long_is_read_no_further(dcgan):
    said = Replica(dcgan).asked("generate", b" " * ((16 << 20) + 1))
    assert said.fields == ["body"]


def test_a_bug_is_told_as_one_without_its_traceback(dcgan, monkeypatch):
    monkeypatch.setattr(Generator, "decode", lambda *_: 1 / 0)
    said = Replica(dcgan).asked("generate", {})
    assert (said.status, said.refusal.reason) == (500, Reason.BROKEN)
    assert b"division" not in said.body


@pytest.fixture
def held(monkeypatch):
    """Nets that wait: (began, go)."""
    began, go, decode = threading.Event(), threading.Event(), Generator.decode

    def slow(self, *arguments):
        began.set()
        go.wait(30)
        return decode(self, *arguments)

    monkeypatch.setattr(Generator, "decode", slow)
    yield began, go
    go.set()


def test_when_all_places_are_taken_the_next_is_told_when_to_come_again(dcgan, held):
    began, go = held

    async def scenario():
        replica = Replica(dcgan, waiting=2)
        first = [asyncio.create_task(replica.ask("generate", {"seed": seed})) for seed in range(2)]
        await asyncio.to_thread(began.wait, 30)
        refused = await replica.ask("generate", {})
        go.set()
        assert [said.status for said in await asyncio.gather(*first)] == [200, 200]
        assert (await replica.ask("generate", {})).status == 200
        return refused

    refused = asyncio.run(scenario())
    assert (refused.status, refused.refusal.reason) == (429, Reason.FULL)
    assert int(refused.headers["retry-after"]) >= 1


def test_images_that_fit_no_more_into_memory_are_refused_while_others_are_made(dcgan, held, monkeypatch):
    began, go = held
    monkeypatch.setattr(answers, "UNDER_WAY", 64 * 100)

    async def scenario():
        replica = Replica(dcgan)
        large = asyncio.create_task(replica.ask("generate", {"n": 1000}))  # alone it may
        await asyncio.to_thread(began.wait, 30)
        assert (await replica.ask("generate", {})).refusal.reason is Reason.FULL
        go.set()
        assert (await large).status == 200
        assert (await replica.ask("generate", {})).status == 200

    asyncio.run(scenario())


def test_what_takes_too_long_is_told_so_and_computed_no_further(dcgan, held):
    _, go = held

    async def scenario():
        replica = Replica(dcgan, seconds=0.2)
        said = await replica.ask("generate", {"n": 1000})
        assert replica.desk._tools.joiner.waiting == 0
        assert replica.desk._tools.pixels == replica.desk._open == 0
        go.set()
        return said

    said = asyncio.run(scenario())
    assert (said.status, said.refusal.reason) == (504, Reason.LATE)


def test_of_a_client_that_is_gone_nothing_is_left(dcgan, held):
    began, go = held

    async def scenario():
        replica = Replica(dcgan)
        leaving = asyncio.create_task(replica.ask("generate", {"n": 1000}))
        await asyncio.to_thread(began.wait, 30)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        tools = replica.desk._tools
        assert (tools.joiner.waiting, tools.pixels, replica.desk._open) == (0, 0, 0)
        go.set()
        assert (await replica.ask("generate", {})).status == 200

    asyncio.run(scenario())


def test_a_model_that_is_let_go_meanwhile_still_answers_who_asked(dcgan, held):
    began, go = held

    async def scenario():
        replica = Replica(named(dcgan, "m"))
        asked = asyncio.create_task(replica.ask("generate", {"form": "npz"}))
        await asyncio.to_thread(began.wait, 30)
        replica.models.clear()
        go.set()
        return await asked

    near(asyncio.run(scenario()).arrays["images"], dcgan.generator.sample(1))


@pytest.mark.parametrize("reason", [Reason.MISSING, Reason.AWAY, Reason.BROKEN])
def test_why_a_model_isnt_there_is_told(dcgan, reason):
    replica = Replica(dcgan)

    async def load(name):
        raise RefusedError(reason, "because", after=5.0)

    replica.desk._models._get = load
    said = replica.asked("generate", {})
    assert (said.status, said.refusal.reason, said.headers["retry-after"]) == (reason.status, reason, "5")


def test_a_device_that_is_lost_makes_the_replica_unhealthy(dcgan, monkeypatch):
    def lost(*_):
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(Generator, "decode", lost)
    replica = Replica(dcgan)
    replica.desk.check()
    assert replica.asked("generate", {}).refusal.reason is Reason.BROKEN
    with pytest.raises(RuntimeError, match="device-side"):
        replica.desk.check()


def test_a_device_without_memory_is_full(dcgan, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Generator, "decode", full)
    assert Replica(dcgan).asked("generate", {}).refusal.reason is Reason.FULL
