"""Records from one process to another."""

import asyncio
import dataclasses

import msgpack
import pytest

from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.processes.relay import RecordReader, RecordWriter, record_sockets
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.request import ExactOnly, Request

LEAN = Record(
    began_at=1.5,
    api="openai.chat",
    method="POST",
    path="/v1/chat/completions",
    status=200,
    outcome="miss",
    reason="no_candidate",
    total_seconds=0.25,
    first_byte_seconds=0.125,
)
FULL = dataclasses.replace(
    LEAN,
    tenant="ann",
    similarity=0.5,
    entry_id=2**40,
    hit_id="hit_1",
    saved=Saving(1, 2, 0.5, 3.0),
    guards=("numbers", "names"),
    request=Request("What?", b"\x00\xff", ExactOnly.STATE, "m"),
    scope={"tenant": "ann", "team": ["a", 1]},
    prompt="What \u2603?",
)


def sent(records):
    """What a reader is told of `records`."""

    async def pass_on():
        told = []
        reader_end, writer_end = record_sockets()
        writer, reader = RecordWriter(writer_end), RecordReader(reader_end, [told.append])
        for record in records:
            writer(record)
        writer.close()
        reader.close()
        return told

    return asyncio.run(pass_on())


@pytest.mark.parametrize("record", [LEAN, FULL], ids=["lean", "full"])
def test_a_record_arrives_as_it_was(record):
    assert sent([record]) == [record]


def test_records_arrive_in_order():
    records = [dataclasses.replace(LEAN, entry_id=number) for number in range(50)]
    assert sent(records) == records


def test_a_large_record_goes_without_its_content():
    large = dataclasses.replace(FULL, request=Request("x" * 10**6, b"", None, None))
    assert sent([large]) == [dataclasses.replace(FULL, request=None, scope=None, prompt=None)]


def test_a_full_socket_drops_records_and_holds_nobody_up():
    reader_end, writer_end = record_sockets()
    writer = RecordWriter(writer_end)
    n_sent = 0
    while not writer.dropped:
        writer(FULL)
        n_sent += 1
    assert n_sent > 100
    reader_end.close()
    writer(LEAN)
    assert writer.dropped == 2
    writer.close()


def test_what_cannot_be_packed_is_dropped():
    reader_end, writer_end = record_sockets()
    writer = RecordWriter(writer_end)
    writer(dataclasses.replace(LEAN, scope=object()))
    writer(dataclasses.replace(LEAN, scope=2**70))
    assert writer.dropped == 2
    writer.close()
    reader_end.close()


def test_what_is_no_record_is_counted_and_the_next_one_read():
    async def pass_on():
        told = []
        reader_end, writer_end = record_sockets()
        reader = RecordReader(reader_end, [told.append])
        for datagram in (b"\xc1", msgpack.packb([1]), msgpack.packb({"api": 1}), msgpack.packb(None)):
            writer_end.send(datagram)
        writer = RecordWriter(writer_end)
        writer(LEAN)
        reader.close()
        writer.close()
        return told, reader.malformed

    assert asyncio.run(pass_on()) == ([LEAN], 4)
