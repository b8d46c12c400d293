"""Static tokens, the files they are in, and how long a proof is believed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nexus.access.authenticator import Authenticator
from nexus.access.files import FollowedFile
from nexus.access.static import StaticTokens, add_token, new_token, read_tokens
from nexus.domain.access import Proof, user
from nexus.domain.errors import ConfigError, InvalidInput, Unauthenticated


def written(path, *entries):
    content = b""
    for entry in entries:
        content = add_token(content, entry, "tokens")
    path.write_bytes(content)
    return path


async def test_a_token_is_known_by_its_hash_alone(tmp_path):
    secret, entry = new_token("ci", ("routing", "nightly"), None)
    file = written(tmp_path / "tokens.yaml", entry)
    assert secret not in file.read_text()
    proof = await StaticTokens(FollowedFile(file, read_tokens)).prove(secret)
    assert (proof.subject.name, proof.subject.groups) == ("token:ci", ("group:routing", "group:nightly"))


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + "x", str.upper, lambda _: "nexus_"])
async def test_another_token_is_not(tmp_path, change):
    secret, entry = new_token("ci", (), None)
    source = StaticTokens(FollowedFile(written(tmp_path / "tokens.yaml", entry), read_tokens))
    with pytest.raises(Unauthenticated):
        await source.prove(change(secret))


async def test_a_token_expires(tmp_path):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    secret, entry = new_token("ci", (), at)
    now = at.timestamp() - 1
    source = StaticTokens(
        FollowedFile(written(tmp_path / "tokens.yaml", entry), read_tokens), clock=lambda: now
    )
    assert (await source.prove(secret)).expires == at.timestamp()
    now = at.timestamp()
    with pytest.raises(Unauthenticated, match="expired"):
        await source.prove(secret)


async def test_a_token_that_was_taken_out_is_refused_at_once(tmp_path):
    (first, one), (second, two) = new_token("a", (), None), new_token("b", (), None)
    file = FollowedFile(written(tmp_path / "tokens.yaml", one, two), read_tokens)
    authenticator = Authenticator([StaticTokens(file)])
    assert (await authenticator.subject(first)).name == "token:a"
    written(tmp_path / "tokens.yaml", two)
    await file.look()
    with pytest.raises(Unauthenticated):
        await authenticator.subject(first)
    assert (await authenticator.subject(second)).name == "token:b"


async def test_a_file_that_breaks_changes_nothing_and_says_so(tmp_path):
    secret, entry = new_token("a", (), None)
    path = written(tmp_path / "tokens.yaml", entry)
    file = FollowedFile(path, read_tokens)
    for content in (b"tokens: [{name: x}]", b"{", b"tokens: 1"):
        path.write_bytes(content)
        await file.look()
        assert str(path) in file.problem
        assert (await StaticTokens(file).prove(secret)).subject.name == "token:a"
    path.unlink()
    await file.look()
    assert "No such file" in file.problem
    written(path, entry)
    await file.look()
    assert file.problem == ""


@pytest.mark.parametrize("content", [None, b"tokens: [{name: x}]", b"%"])
def test_a_start_wants_a_whole_file(tmp_path, content):
    path = tmp_path / "tokens.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tokens\.yaml"):
        FollowedFile(path, read_tokens)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "x" * 101, "é"])
def test_a_token_has_a_plain_name(name):
    with pytest.raises(InvalidInput):
        new_token(name, (), None)


class Counting:
    """A source that counts how often it is asked."""

    remembered = True

    def __init__(self, expires=None):
        self.asked = 0
        self.expires = expires

    def knows(self, token):
        return token.startswith("a")

    async def prove(self, token):
        self.asked += 1
        if token == "a-bad":
            raise Unauthenticated("no")
        return Proof(user(token), self.expires)


@pytest.mark.parametrize(("expires", "until"), [(None, 1060.0), (1010.0, 1010.0), (2000.0, 1060.0)])
async def test_a_proof_is_believed_for_a_minute_and_not_beyond_its_end(expires, until):
    now = 1000.0
    source = Counting(expires)
    authenticator = Authenticator([source], clock=lambda: now)
    for _ in range(3):
        assert (await authenticator.subject("a-token")).name == "user:a-token"
    assert source.asked == 1
    now = until
    await authenticator.subject("a-token")
    assert source.asked == 2


async def test_what_is_no_proof_is_not_kept():
    source = Counting()
    authenticator = Authenticator([source])
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await authenticator.subject("a-bad")
    assert (source.asked, len(authenticator._proofs)) == (3, 0)
    with pytest.raises(Unauthenticated, match="no kind"):
        await authenticator.subject("other")


async def test_so_many_proofs_are_kept_and_no_more(monkeypatch):
    monkeypatch.setattr("nexus.access.authenticator._REMEMBERED", 10)
    authenticator = Authenticator([Counting()])
    for number in range(50):
        await authenticator.subject(f"a{number}")
    assert len(authenticator._proofs) == 10
