"""`bsc export` and `bsc import`: what goes out comes back equal, and nothing hostile gets in."""

import base64
import json
import sqlite3
import stat
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binary_semantic_cache import Request, RustBinaryEncoder, errors
from binary_semantic_cache.cli.main import main
from binary_semantic_cache.stores import Entry, Saving
from binary_semantic_cache.stores.reading import entries, meta_of, reading
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.stores.verify import verify
from binary_semantic_cache.text.exchange_jsonl import JSONLinesExport
from binary_semantic_cache.text.exchange_npz import NpzExport
from binary_semantic_cache.text.exporting import export
from binary_semantic_cache.text.identity import identity
from binary_semantic_cache.text.importing import import_export
from binary_semantic_cache.text.payload import encode_response
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.soundness import entry_checks
from words import NoGuards, WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
FORMATS = {".jsonl": JSONLinesExport, ".npz": NpzExport}


def make(path, embedder=None, **settings) -> SemanticCache:
    embedder = embedder or WordEmbedder()
    settings = {"threshold": 0.8, "policy": Policy(exact_only=()), **settings}
    return SemanticCache(path, embedder=embedder, guards=NoGuards(), **settings)


def fill(path) -> None:
    """Every kind of answer, tags, expiry, savings, scopes, a gap in the ids, and a reported pair."""
    with make(path, sliding_ttl=True) as cache:
        cache.put("to be removed", "x", tags=["gone"])
        cache.put(QUESTION, "Paris", tags=["geography", "ünï\u2028"], took_seconds=1.25)
        cache.put("bytes please", b"\x00\xff", scope={"tenant": "a"}, ttl_seconds=3600)
        cache.put("data", {"a": [1, 2.5, None, 2**80], "usage": {"input_tokens": 3, "output_tokens": 4}})
        cache.put("word " * 100, "too long for a code")
        cache.put(Request.from_prompt("turn", model="m", system="s"), "from a request")
        cache.put("who wrote this", "wrong")
        cache.report(cache.lookup("who really wrote this"))
        cache.put("who wrote this", "right")
        cache.invalidate(tag="gone")


def content(path):
    with reading(path) as db:
        pairs = {pair for (pair,) in db.execute("SELECT pair FROM pair")}
        meta = meta_of(db)
        tags = {tuple(row) for row in db.execute("SELECT tag, id FROM tag")}
        return list(entries(db, path)), pairs, tags, meta["secret"], meta["fingerprint"]


@pytest.fixture
def filled(tmp_path):
    path = tmp_path / "c.db"
    fill(path)
    return path


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


# Into a file in use


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


# Hostile input


def rewrite(path, change):
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


DAMAGE = {
    "no JSON": (lambda raw: raw.replace(b'{"id"', b'{id"', 1), "line 2: is not JSON"),
    "not UTF-8": (lambda raw: raw.replace(b"france", b"fran\xffe", 1), "line 2: is not JSON"),
    "a key twice": (lambda raw: raw.replace(b'{"id"', b'{"id": 1, "id"', 1), "line 2: expected an object"),
    "deep": (lambda raw: raw.replace(b'{"id"', b"[" * 100_000 + b'{"id"', 1), "line 2"),
    "a huge number": (lambda raw: raw.replace(b'{"id": ', b'{"id": ' + b"9" * 5000, 1), "line 2"),
    "cut off": (lambda raw: raw[: raw.rindex(b'{"pair"')], "cut off"),
    "cut in a line": (lambda raw: raw[: len(raw) // 2], "is not JSON"),
    "empty": (lambda raw: b"", "an empty file"),
    "of something else": (lambda raw: b'{"rows": []}\n', "line 1: not the header"),
    "a list": (lambda raw: b"[]\n" + raw, "line 1: expected an object"),
    "more behind the end": (lambda raw: raw + raw.split(b"\n")[1] + b"\n", "behind the end"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_line_is_named_and_nothing_is_stored(filled, tmp_path, what):
    out, copy = tmp_path / "out.jsonl", tmp_path / "copy.db"
    export(filled, out)
    change, message = DAMAGE[what]
    out.write_bytes(change(out.read_bytes()))
    with pytest.raises(errors.CorruptFileError, match=message):
        import_export(JSONLinesExport(out), copy)
    assert not copy.exists()
    before = content(filled)
    with pytest.raises(errors.CorruptFileError):
        import_export(JSONLinesExport(out), filled, overwrite=True)
    assert content(filled) == before


ZEROS = base64.b64encode(bytes(15)).decode()
FIELDS = [
    ("id", 0),
    ("id", "1"),
    ("id", 2**63),
    ("id", True),
    ("key", ZEROS),
    ("key", "***"),
    ("key", 5),
    ("scope", ZEROS),
    ("owner", ZEROS),
    ("code", ZEROS),
    ("vector", ZEROS),
    ("vector", base64.b64encode(b"\x03" + b"\xff" * 256).decode()),
    ("code", ""),
    ("prompt", None),
    ("prompt", "\ud800"),
    ("kind", "pickle"),
    ("payload", base64.b64encode(b"\xff").decode()),
    ("created_at", None),
    ("created_at", float("nan")),
    ("created_at", float("inf")),
    ("created_at", -1),
    ("created_at", 10**400),
    ("created_at", True),
    ("expires_at", float("inf")),
    ("expires_at", "never"),
    ("ttl_seconds", -1.0),
    ("ttl_seconds", 5.0),
    ("tags", "geography"),
    ("tags", [1]),
    ("tags", [""]),
    ("tags", ["a", "a"]),
    ("tags", ["\udfff"]),
    ("saving", None),
    ("saving", {}),
    ("saving", {"input_tokens": 1.5, "output_tokens": 0, "cost": 0, "seconds": 0}),
    ("saving", {"input_tokens": 2**70, "output_tokens": 0, "cost": 0, "seconds": 0}),
    ("saving", {"input_tokens": 0, "output_tokens": 0, "cost": float("nan"), "seconds": 0}),
    ("extra", 1),
]


@pytest.mark.parametrize(("name", "value"), FIELDS)
def test_a_field_that_no_cache_writes_is_refused(filled, tmp_path, name, value):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[1].update({name: value}))
    with pytest.raises(errors.CorruptFileError, match=r"out\.jsonl: line 2"):
        import_export(JSONLinesExport(out), tmp_path / "copy.db")


def test_a_missing_field_is_refused(filled, tmp_path):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[1].pop("owner"))
    with pytest.raises(errors.CorruptFileError, match="line 2: no field owner"):
        import_export(JSONLinesExport(out), tmp_path / "copy.db")


HEADERS = [
    ("version", 0),
    ("version", "1"),
    ("made_by", None),
    ("made_by", {"embedder": [1]}),
    ("made_by", {"embedder": "x", "dimension": 0, "code_bits": 256, "seed": 1, "projection": ""}),
    ("made_by", {"embedder": "x", "dimension": 2**60, "code_bits": 256, "seed": 1, "projection": ""}),
    ("store", None),
    ("store", ZEROS),
    ("secret", ZEROS),
    ("secret", base64.b64encode(bytes(32)).decode()),
    ("last_id", -1),
    ("last_id", 2**80),
    ("entries", 5),
    ("entries", 7),
    ("entries", 1e3),
    ("pairs", 0),
]


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_header_that_no_cache_writes_is_refused(filled, tmp_path, name, value):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[0].update({name: value}))
    with pytest.raises(errors.CorruptFileError, match=r"out\.jsonl"):
        import_export(JSONLinesExport(out), tmp_path / "copy.db")


def test_a_newer_version_is_refused_as_such(filled, tmp_path):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[0].update(version=2))
    with pytest.raises(errors.FormatVersionError, match="expected 1, got 2"):
        JSONLinesExport(out)


def rewrite_arrays(path, **changes):
    with np.load(path, allow_pickle=False) as members:
        arrays = dict(members)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    np.savez(path, **arrays)


def with_value(at, value):
    def change(array):
        array = array.copy()
        array[at] = value
        return array

    return change


ARRAYS = {
    "ids that fall": {"ids": lambda ids: ids[::-1]},
    "ids beyond the last": {"ids": with_value(-1, 2**60)},
    "short keys": {"keys": lambda keys: keys[:, :15]},
    "offsets that fall": {"offsets": with_value(1, 2**40)},
    "offsets before the start": {"offsets": with_value(1, -5)},
    "offsets from behind the start": {"offsets": with_value(0, 1)},
    "a kind that is not there": {"kinds": with_value(0, 9)},
    "times that are none": {"created_at": with_value(0, np.nan)},
    "a code without its mark": {"coded": with_value(0, 0)},
    "a vector of another length": {"vector_offsets": with_value(1, 3)},
    "tags that are no JSON": {"tags": with_value(0, 0)},
    "a prompt that is not UTF-8": {"blob": with_value(0, 255)},
    "a cost that is none": {"costs": with_value((0, 0), np.inf)},
    "negative tokens": {"tokens": with_value((0, 0), -1)},
    "pairs of another number": {"pairs": lambda pairs: np.zeros((2, 16), np.uint8)},
    "a header that is no JSON": {"header": with_value(0, 0)},
    "a header that is no object": {"header": lambda _: np.frombuffer(b"[]", np.uint8)},
}


@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_that_no_cache_writes_are_refused(filled, tmp_path, what):
    out = tmp_path / "out.npz"
    export(filled, out)
    rewrite_arrays(out, **ARRAYS[what])
    with pytest.raises(errors.CorruptFileError, match=r"out\.npz"):
        import_export(NpzExport(out), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_flipped_bit_in_the_arrays_is_noticed(filled, tmp_path):
    out = tmp_path / "out.npz"
    export(filled, out)
    raw = bytearray(out.read_bytes())
    raw[raw.index(QUESTION.encode())] ^= 1
    out.write_bytes(raw)
    with pytest.raises(errors.CorruptFileError, match="checksum"):
        NpzExport(out)


def test_a_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "out.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tag_offsets.npy", bytes(10**7))
        archive.writestr("header.npy", bytes(10**7))
    with pytest.raises(errors.CorruptFileError, match="compressed"):
        NpzExport(tmp_path / "out.npz")


# The commands


def test_the_commands_copy_a_file(filled, tmp_path, capsys):
    out, copy = str(tmp_path / "out.jsonl"), tmp_path / "copy.db"
    assert main(["export", str(filled), out]) == 0
    assert "exported 6 entries and 1 reported pairs" in capsys.readouterr().out
    assert main(["import", out, str(copy)]) == 0
    assert "imported 6 entries, replaced 0, kept 0, 1 reported pairs" in capsys.readouterr().out
    assert content(copy) == content(filled)
    assert main(["import", out, str(copy), "--replace", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["replaced"] == 6
    assert main(["export", str(filled), str(tmp_path / "o.npz"), "--no-secret", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"entries": 6, "pairs": 1, "secret": False}


def test_the_command_takes_scopes_as_json(filled, tmp_path, capsys):
    out, other = str(tmp_path / "out.npz"), tmp_path / "other.db"
    main(["export", str(filled), out])
    make(other).close()
    assert main(["import", out, str(other), "--scope", '{"tenant": "a"}', "--scope", "null", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["entered"] == 5
    with pytest.raises(SystemExit) as caught:
        main(["import", out, str(other), "--scope", "{tenant}"])
    assert caught.value.code == 2


def test_the_commands_say_what_is_wrong(filled, tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text("{}\n")
    (tmp_path / "x.npz").write_text("no zip")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 9)
    for arguments, message in (
        (["export", str(tmp_path / "none.db"), str(tmp_path / "o.jsonl")], "nothing at"),
        (["export", str(tmp_path / "text.db"), str(tmp_path / "o.jsonl")], "no SQLite file"),
        (["export", str(filled), str(tmp_path / "o.csv")], "ends in .jsonl or .npz"),
        (["export", str(filled), str(tmp_path / "none" / "o.npz")], "No such file"),
        (["import", str(tmp_path / "none.npz"), str(filled)], "nothing at"),
        (["import", str(tmp_path / "x.jsonl"), str(filled)], "line 1: not the header"),
        (["import", str(tmp_path / "x.npz"), str(filled)], "x.npz"),
        (["import", str(tmp_path / "text.db"), str(filled)], "ends in .jsonl or .npz"),
    ):
        assert main(arguments) == 1
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.err.startswith("bsc: error: ")
        assert shown.err.count("\n") == 1
    assert not (tmp_path / "o.jsonl").exists()


def test_a_damaged_entry_is_not_exported(filled, tmp_path):
    with sqlite3.connect(filled) as db:
        db.execute("UPDATE body SET payload = x'ff' WHERE kind = 'text'")
    db.close()
    with pytest.raises(errors.CorruptFileError, match="entry 2: its checksum"):
        export(filled, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
