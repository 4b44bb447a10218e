"""Whose request it is: `Callers`."""

from hashlib import blake2b, sha256

from binary_semantic_cache.proxy.callers import Callers
from binary_semantic_cache.proxy.settings import KeySettings, KnownKey


def pseudonym(name: bytes) -> str:
    return blake2b(name, key=b"the store's secret", digest_size=16).hexdigest()


def bearer(key: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + key)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def known(name: str, key: bytes, tenant: str) -> KnownKey:
    return KnownKey(name=name, sha256=sha256(key).hexdigest(), tenant=tenant)


def test_each_key_is_a_tenant_of_its_own():
    callers = Callers(KeySettings(), pseudonym)
    a, b = callers.of(bearer(b"a")), callers.of(bearer(b"b"))
    assert a.scope != b.scope
    assert a.scope == callers.of(bearer(b"a")).scope
    assert a.name != b.name


def test_a_tenant_has_the_same_scope_in_every_process_of_one_store():
    one, other = Callers(KeySettings(), pseudonym), Callers(KeySettings(), pseudonym)
    assert one.of(bearer(b"a")).scope == other.of(bearer(b"a")).scope
    assert one.of(bearer(b"a")).principal != other.of(bearer(b"a")).principal


def test_a_further_credential_makes_another_caller():
    callers = Callers(KeySettings(known=(known("one", b"a", "team"),)), pseudonym)
    both = [*bearer(b"a"), (b"x-api-key", b"b")]
    assert callers.of(bearer(b"a")).is_configured
    assert not callers.of(both).is_configured
    assert callers.of(both).scope != callers.of([(b"x-api-key", b"b"), *bearer(b"c")]).scope


def test_the_order_of_credentials_does_not_matter():
    callers = Callers(KeySettings(), pseudonym)
    both = [*bearer(b"a"), (b"x-api-key", b"b")]
    assert callers.of(both) == callers.of(both[::-1])


def test_credentials_cannot_be_divided_another_way():
    callers = Callers(KeySettings(), pseudonym)
    one = callers.of([(b"api-key", b"a"), (b"x-api-key", b"b")])
    other = callers.of([(b"api-key", b"a 1:x-api-key 1:b")])
    assert one.scope != other.scope


def test_configured_keys_of_one_tenant_share_a_scope_and_no_principal():
    callers = Callers(KeySettings(known=(known("one", b"a", "team"), known("two", b"b", "team"))), pseudonym)
    a, b = callers.of(bearer(b"a")), callers.of([(b"x-api-key", b"b")])
    assert a.scope == b.scope
    assert a.principal != b.principal
    assert callers.is_known(a, "openai")
    assert a.name == "team"


def test_no_key_can_pass_for_a_configured_tenant():
    callers = Callers(KeySettings(known=(known("one", b"a", "team"),)), pseudonym)
    named = callers.of(bearer(b"tenant:team"))
    assert not named.is_configured
    assert named.scope != callers.of(bearer(b"a")).scope


def test_a_key_is_known_while_the_upstream_accepted_it_of_late():
    clock = Clock()
    callers = Callers(KeySettings(trust_seconds=300), pseudonym, clock)
    caller = callers.of(bearer(b"a"))
    assert not callers.is_known(caller, "openai")
    callers.accepted(caller, "openai")
    clock.now = 299.0
    assert callers.is_known(caller, "openai")
    clock.now = 301.0
    assert not callers.is_known(caller, "openai")


def test_what_one_provider_accepted_is_not_known_to_another():
    callers = Callers(KeySettings(), pseudonym)
    caller = callers.of(bearer(b"a"))
    callers.accepted(caller, "openai")
    assert not callers.is_known(caller, "anthropic")


def test_a_key_that_the_upstream_turned_down_is_forgotten_at_once():
    callers = Callers(KeySettings(), pseudonym)
    caller = callers.of(bearer(b"a"))
    callers.accepted(caller, "openai")
    callers.rejected(caller, "openai")
    assert not callers.is_known(caller, "openai")


def test_a_caller_holds_nothing_of_its_key():
    callers = Callers(KeySettings(known=(known("one", b"sk-canary-1", "team"),)), pseudonym)
    for key in (b"sk-canary-1", b"sk-canary-2"):
        assert "canary" not in repr(callers.of(bearer(key)))


def test_trust_is_in_the_values_of_further_headers_and_answers_are_not():
    callers = Callers(KeySettings(), pseudonym, further=frozenset({b"x-own-key"}))
    asking = [
        callers.of([*bearer(b"a"), *more]) for more in ([], [(b"x-own-key", b"1")], [(b"x-own-key", b"2")])
    ]
    assert len({caller.scope for caller in asking}) == 1
    assert len({caller.principal for caller in asking}) == 3
    callers.accepted(asking[1], "openai")
    assert [callers.is_known(caller, "openai") for caller in asking] == [False, True, False]
