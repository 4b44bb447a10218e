"""Export and import: what goes out comes back equal, into a new file and into one in use."""

import base64
import json
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binary_semantic_cache import RustBinaryEncoder, errors
from binary_semantic_cache.stores import Entry, Saving
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.verify import verify
from binary_semantic_cache.text.exchange_jsonl import JSONLinesExport
from binary_semantic_cache.text.exchange_npz import NpzExport
from binary_semantic_cache.text.exporting import export
from binary_semantic_cache.text.identity import identity
from binary_semantic_cache.text.importing import import_export
from binary_semantic_cache.text.payload import encode_response
from binary_semantic_cache.text.soundness import entry_checks
from filled_caches import NEAR, QUESTION, content, make
from words import WordEmbedder

FORMATS = {".jsonl": JSONLinesExport, ".npz": NpzExport}


@pytest.fixture(params=FORMATS)
def exported(request, filled, tmp_path):
    out = tmp_path / f"out{request.param}"
    export(filled, out)
    return out


def opened(path):
    return FORMATS[path.suffix](path)


def test_an_import_into_a_new_file_is_an_exact_copy(filled, exported, tmp_path):
    copy = tmp_path / "copy.db"
    done = import_export(opened(exported), copy)
    assert content(copy) == content(filled)
    assert (done.entered, done.replaced, done.kept, done.unknown, done.pairs) == (6, 0, 0, 0, 1)


def test_lookups_agree_with_those_of_the_file_that_was_exported(filled, exported, tmp_path):
    copy = tmp_path / "copy.db"
    import_export(opened(exported), copy)
    with make(filled) as before, make(copy) as after:
        for prompt, scope in (
            (QUESTION, None),
            (NEAR, None),
            (NEAR, {"tenant": "a"}),
            ("bytes please", {"tenant": "a"}),
            ("data", None),
            ("word " * 100, None),
            ("who really wrote this", None),
        ):
            a, b = before.lookup(prompt, scope=scope), after.lookup(prompt, scope=scope)
            assert bool(a) == bool(b)
            if a:
                assert (a.response, a.kind, a.similarity, a.entry_id) == (
                    b.response,
                    b.kind,
                    b.similarity,
                    b.entry_id,
                )
            else:
                assert a.reason == b.reason
        assert after.lookup("who really wrote this").reason == "reported"
        assert len(after.invalidate(tag="geography")) == 1
        assert after.put("another", "answer") > max(stored.id for stored in content(filled)[0])


def test_a_hit_of_before_can_be_reported_to_the_copy(filled, exported, tmp_path):
    import_export(opened(exported), tmp_path / "copy.db")
    with make(filled) as before, make(tmp_path / "copy.db") as after:
        hit = before.lookup(NEAR)
        assert after.report(hit.id)
        assert not after.lookup(NEAR)
        assert not after.lookup(QUESTION)
        assert after.lookup("data")


digests = st.binary(min_size=16, max_size=16)
times = st.floats(0, 1e12)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
savings = st.builds(Saving, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), times, st.floats(0, 1e6))


@st.composite
def any_entries(draw):
    code = draw(st.sampled_from([b"", draw(st.binary(min_size=32, max_size=32))]))
    vector = b"\x01" + bytes(4) + draw(st.binary(min_size=64, max_size=64))
    kind, payload = encode_response(draw(texts | st.binary(max_size=30) | st.lists(st.integers())))
    expires_at = draw(st.none() | times)
    return Entry(
        key=draw(digests),
        scope=draw(digests),
        owner=draw(digests),
        code=code,
        vector=vector if code and draw(st.booleans()) else b"",
        prompt=draw(texts),
        kind=kind,
        payload=payload,
        created_at=draw(times),
        expires_at=expires_at,
        ttl_seconds=None if expires_at is None else draw(st.none() | st.floats(1e-3, 1e9)),
        tags=tuple(draw(st.lists(texts.filter(bool), unique=True, max_size=3))),
        saving=draw(savings),
    )


@settings(max_examples=25)
@given(given=st.lists(any_entries(), max_size=8), pairs=st.sets(digests, max_size=3))
def test_whatever_a_store_holds_comes_back_equal(given, pairs):
    embedder = WordEmbedder()
    line = identity(embedder.fingerprint, RustBinaryEncoder(embedder.dimension))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.db"
        store = SQLiteStore(path)
        store.open(line)
        store.put_many(given)
        for pair in pairs:
            store.forbid(pair)
        store.close()
        for suffix in FORMATS:
            out, copy = path.with_suffix(suffix), path.with_suffix(f"{suffix}.db")
            export(path, out)
            import_export(opened(out), copy)
            assert content(copy) == content(path)
            assert verify(copy, entry_checks).findings == ()


def test_an_export_is_readable_by_its_owner_alone(exported):
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600


def test_an_export_leaves_nothing_beside_the_file(filled, exported, tmp_path):
    assert {path.name for path in tmp_path.iterdir()} == {"c.db", exported.name}


def test_a_file_in_use_is_exported_with_what_its_log_holds(tmp_path):
    path = tmp_path / "c.db"
    with make(path) as cache:
        cache.put(QUESTION, "Paris")
        assert export(path, tmp_path / "out.jsonl").entries == 1
        cache.put("another", "answer")
        assert export(path, tmp_path / "out.npz").entries == 2


def test_numpy_reads_the_arrays_without_pickle(filled, tmp_path):
    export(filled, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays["codes"].shape == (6, 4)
        assert arrays["created_at"].shape == (6,)
        first = bytes(arrays["blob"][: arrays["offsets"][1]]).decode()
    assert first == QUESTION


def test_every_line_is_json(filled, tmp_path):
    export(filled, tmp_path / "out.jsonl")
    raw = (tmp_path / "out.jsonl").read_bytes().split(b"\n")
    lines = [json.loads(line) for line in raw if line]
    assert [set(line) & {"format", "pair", "end"} for line in lines] == [
        {"format"},
        *[set()] * 6,
        {"pair"},
        {"end"},
    ]
    assert base64.b64decode(lines[1]["payload"]) == b"Paris"


def test_an_empty_cache_goes_both_ways(tmp_path):
    make(tmp_path / "c.db").close()
    for suffix in FORMATS:
        out, copy = tmp_path / f"out{suffix}", tmp_path / f"copy{suffix}.db"
        export(tmp_path / "c.db", out)
        import_export(opened(out), copy)
        assert content(copy) == content(tmp_path / "c.db")


def test_entries_of_the_same_key_stay_unless_told(filled, exported):
    with make(filled) as cache:
        cache.put(QUESTION, "Lyon")
        done = import_export(opened(exported), filled)
        assert (done.entered, done.kept) == (0, 6)
        assert cache.lookup(QUESTION).response == "Lyon"
        done = import_export(opened(exported), filled, overwrite=True)
        assert (done.entered, done.replaced) == (0, 6)
        assert cache.lookup(QUESTION).response == "Paris"


def test_an_export_without_the_secret_goes_back_into_its_store_alone(filled, tmp_path):
    out = tmp_path / "out.jsonl"
    export(filled, out, secret=False)
    secret = content(filled)[3]
    assert base64.b64encode(secret) not in out.read_bytes()
    with make(filled) as cache:
        cache.clear()
    assert import_export(opened(out), filled).entered == 6
    with make(filled) as cache:
        assert cache.lookup(NEAR).response == "Paris"
    with pytest.raises(errors.InvalidValueError, match="without the store's secret"):
        import_export(opened(out), tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
    make(tmp_path / "other.db").close()
    with pytest.raises(errors.InvalidValueError, match="without its store's secret"):
        import_export(opened(out), tmp_path / "other.db")


def test_another_store_gets_the_bare_prompts_of_the_named_scopes(exported, tmp_path):
    other = tmp_path / "other.db"
    with make(other) as cache:
        cache.put("something else", "answer")
        done = import_export(opened(exported), other)
        assert (done.entered, done.unknown, done.pairs) == (4, 2, 0)
        assert cache.lookup(NEAR).response == "Paris"
        assert not cache.lookup("bytes please", scope={"tenant": "a"})
        done = import_export(opened(exported), other, scopes=[{"tenant": "a"}])
        assert (done.entered, done.unknown) == (1, 5)
        assert cache.lookup("bytes please", scope={"tenant": "a"}).response == b"\x00\xff"
        assert not cache.lookup("bytes please")


def test_another_embedder_is_refused_by_name(exported, tmp_path):
    make(tmp_path / "other.db", WordEmbedder(96, "new")).close()
    with pytest.raises(errors.FingerprintError, match="bsc reembed"):
        import_export(opened(exported), tmp_path / "other.db")
