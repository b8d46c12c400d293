"""JSON Web Tokens and the keys of their issuer: whatever is wrong with either, no token is taken that proves nothing."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from functools import cache
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from nexus.access.authenticator import Authenticator
from nexus.access.issuer import Issuer
from nexus.access.jwt import Jwt, user_of
from nexus.access.keys import Keys, Published, read_keys
from nexus.domain.errors import ConfigError, InvalidInput, Unauthenticated, Unavailable

ISSUER = "https://issuer.example"
NOW = time.time()
ALGORITHMS = ("RS256", "ES256")


@cache
def rsa(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


@cache
def ec(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid})


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def jwks(*keys: Any, **members: Any) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) | members for key in keys]}).encode()


def signed(key: Any = None, alg: str = "RS256", header: Any = None, **claims: Any) -> str:
    key = key or rsa("one")
    usual = {"iss": ISSUER, "aud": "nexus", "sub": "alice", "exp": int(NOW) + 600, "groups": ["routing"]}
    said = {name: value for name, value in (usual | claims).items() if value is not None}
    head = {"alg": alg, "kid": key.kid} | (header or {})
    return jwt.encode({k: v for k, v in head.items() if v is not None}, said, key, algorithms=[alg])


def unsigned(header: dict[str, Any], **claims: Any) -> str:
    parts = (header, {"iss": ISSUER, "aud": "nexus", "sub": "alice", "exp": int(NOW) + 600} | claims)
    return ".".join([*(encoded(json.dumps(p).encode()) for p in parts), ""])


class Issuing:
    """An issuer in this process: what it answers, and how often it was asked."""

    def __init__(self, *keys: Any) -> None:
        self.document = jwks(*keys)
        self.asked = 0
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.clock = 0.0
        self.keys = Keys("the issuer", self.answer, ALGORITHMS, ISSUER, clock=lambda: self.clock)
        self.source = Jwt(
            self.keys,
            "nexus",
            ALGORITHMS,
            30,
            lambda claims: user_of(claims, "sub", "groups"),
            clock=lambda: NOW,
        )

    async def answer(self) -> Published:
        self.asked += 1
        if self.hold:
            await self.hold.wait()
        if self.error:
            raise self.error
        return Published(ISSUER, self.document)


async def proved(token: str, *keys: Any) -> Any:
    return await Issuing(*(keys or (rsa("one"), ec("two")))).source.prove(token)


async def test_a_token_names_its_user_and_groups():
    proof = await proved(signed())
    assert (proof.subject.name, proof.subject.groups) == ("user:alice", ("group:routing",))
    assert proof.expires == int(NOW) + 600
    assert (await proved(signed(ec("two"), "ES256"))).subject.name == "user:alice"
    assert (await proved(signed(aud=["other", "nexus"]))).subject.name == "user:alice"
    assert (await proved(signed(header={"x5t": "abc", "typ": "at+jwt"}))).subject.name == "user:alice"


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"exp": int(NOW) - 31}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": int(NOW) + 60}, "not for here|not valid"),
        ({"aud": "other"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"iss": "https://other.example"}, "iss"),
        ({"iss": ISSUER + "/"}, "iss"),
        ({"sub": None}, "names nobody"),
        ({"sub": ""}, "names nobody"),
        ({"sub": 5}, "sub"),
        ({"sub": "x" * 257}, "names nobody"),
        ({"sub": "a\nb"}, "names nobody"),
    ],
)
async def test_a_token_that_is_signed_and_not_for_here_is_refused(claims, problem):
    with pytest.raises(Unauthenticated, match=problem):
        await proved(signed(**claims))


async def test_clocks_may_differ_by_so_much():
    assert await proved(signed(exp=int(NOW) - 29, nbf=int(NOW) + 29))


def with_the_public_key_as_a_secret() -> str:
    said = unsigned({"alg": "HS256", "kid": "one"}).rpartition(".")[0]
    seal = hmac.new(rsa("one").as_pem(private=False), said.encode(), "sha256").digest()
    return f"{said}.{encoded(seal)}"


# Each is made of what an attacker has: public keys, and tokens of others.
FORGED = {
    "none": lambda: unsigned({"alg": "none", "kid": "one"}),
    "NONE": lambda: unsigned({"alg": "NoNe", "kid": "one"}),
    "no algorithm": lambda: unsigned({"kid": "one"}),
    "the public key as a secret": with_the_public_key_as_a_secret,
    "another algorithm of the same key": lambda: signed(alg="RS512"),
    "an algorithm of another kind of key": lambda: signed(ec("two"), "ES256", header={"kid": "one"}),
    "another key under the same id": lambda: signed(RSAKey.generate_key(2048, {"kid": "one"})),
    "its own key in the header": lambda: signed(
        rsa("mine"), header={"kid": "one", "jwk": rsa("mine").as_dict(private=False)}
    ),
    "its own address of keys": lambda: signed(
        rsa("mine"), header={"kid": "one", "jku": "https://evil.example"}
    ),
    "cut": lambda: signed()[:-10],
    "another's claims": lambda: ".".join(
        [signed().split(".")[0], signed(sub="root").split(".")[1], signed().split(".")[2]]
    ),
    "no signature": lambda: signed().rpartition(".")[0] + ".",
    "four parts": lambda: signed() + ".x",
    "no JSON": lambda: "e30.e30x.e30",
    "deep": lambda: ".".join(2 * [encoded(b"[" * 9000)] + ["x"]),
    "a critical header that nobody knows": lambda: (
        unsigned({"alg": "RS256", "kid": "one", "crit": ["exp"], "exp": 1}) + "x"
    ),
}


@pytest.mark.parametrize("forged", FORGED)
async def test_what_is_forged_is_refused(forged):
    with pytest.raises(Unauthenticated):
        await proved(FORGED[forged]())


async def test_a_token_without_a_key_id_is_of_the_only_key():
    token = signed(header={"kid": None})
    assert (await proved(token, rsa("one"))).subject.name == "user:alice"
    with pytest.raises(Unauthenticated):
        await proved(token, rsa("one"), ec("two"))


def test_keys_that_cannot_verify_are_passed_over():
    usable = rsa("one")
    odd = [{"kty": "XYZ", "kid": "odd"}, {"kty": "RSA", "kid": "half", "n": "AQ"}, {}]
    document = json.loads(jwks(usable, ec("two")))
    document["keys"] += [
        *odd,
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(),
        {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": encoded((1 << 1023 | 1).to_bytes(128))},
        rsa("private").as_dict(private=True),
        rsa("enc").as_dict(private=False) | {"use": "enc"},
        rsa("other").as_dict(private=False) | {"alg": "RS512"},
        OKPKey.generate_key("X25519", {"kid": "exchange"}).as_dict(private=False) | {"use": "enc"},
    ]
    assert set(read_keys(json.dumps(document).encode(), ALGORITHMS)) == {"one", "two"}


@pytest.mark.parametrize(
    "document", [b"", b"[]", b'{"keys": []}', b'{"keys": [1]}', b"<html>", b"[" * 100_000]
)
def test_what_is_no_jwks_is_invalid(document):
    with pytest.raises(InvalidInput):
        read_keys(document, ALGORITHMS)


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({"groups": "one"}, ("group:one",)),
        ({"groups": ["a", 1, None, "b"]}, ("group:a", "group:b")),
        ({"groups": {"a": 1}}, ()),
        ({"groups": ["system:masters", "system:serviceaccounts:etl"]}, ()),
        ({}, ()),
    ],
)
def test_groups_are_read_as_issuers_write_them_and_never_those_of_kubernetes(claims, groups):
    assert user_of({"sub": "a"} | claims, "sub", "groups").groups == groups


def test_an_address_that_nobody_verified_names_nobody():
    with pytest.raises(InvalidInput, match="verified"):
        user_of({"email": "a@b.c", "email_verified": False}, "email", "groups")
    assert user_of({"email": "a@b.c", "email_verified": True}, "email", "groups").name == "user:a@b.c"


# --- the issuer


async def test_a_key_that_is_new_is_fetched_when_it_is_met():
    issuer = Issuing(rsa("one"))
    assert await issuer.source.prove(signed())
    issuer.document = jwks(rsa("new"))
    issuer.clock += 31
    assert await issuer.source.prove(signed(rsa("new")))
    with pytest.raises(Unauthenticated):
        await issuer.source.prove(signed())  # the former key is not published any more
    assert issuer.asked == 2


async def test_unknown_key_ids_do_not_cause_a_fetch_each():
    issuer = Issuing(rsa("one"))
    assert await issuer.source.prove(signed())
    for number in range(1000):
        with pytest.raises(Unauthenticated):
            await issuer.source.prove(unsigned({"alg": "RS256", "kid": str(number)}))
        assert await issuer.source.prove(signed())
    assert issuer.asked == 1


async def test_while_the_issuer_is_away_its_keys_are_kept():
    issuer = Issuing(rsa("one"))
    assert await issuer.source.prove(signed())
    for error, document in ((Unavailable("gone"), b""), (None, b"<html>")):
        issuer.error, issuer.document = error, document
        issuer.clock += 400
        with pytest.raises(Unavailable):  # it may be a key that is new
            await issuer.source.prove(signed(rsa("new")))
        assert issuer.keys.problem
        assert await issuer.source.prove(signed())


async def test_before_the_keys_are_known_nothing_is_said_of_a_token():
    issuer = Issuing(rsa("one"))
    issuer.error = Unavailable("gone")
    with pytest.raises(Unavailable, match="gone"):
        await issuer.source.prove(signed())


async def test_a_slow_issuer_holds_up_few_and_nobody_who_is_known(monkeypatch):
    monkeypatch.setattr("nexus.access.keys._WAITING", 5)
    issuer = Issuing(rsa("one"))
    authenticator = Authenticator([issuer.source], clock=lambda: NOW)
    known = signed()
    await authenticator.subject(known)
    issuer.hold, issuer.clock = asyncio.Event(), 31
    strangers = [
        asyncio.ensure_future(issuer.source.prove(signed(rsa("new"), sub=str(n)))) for n in range(50)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(each.done() for each in strangers) == 45
    assert (await authenticator.subject(known)).name == "user:alice"
    assert await issuer.source.prove(signed(sub="bob"))
    issuer.hold.set()
    answers = await asyncio.gather(*strangers, return_exceptions=True)
    assert {type(each) for each in answers} == {Unavailable, Unauthenticated}
    assert issuer.asked == 2


async def test_a_fetch_goes_on_when_who_waited_for_it_is_gone():
    issuer = Issuing(rsa("one"))
    issuer.hold = asyncio.Event()
    waiting = asyncio.ensure_future(issuer.source.prove(signed()))
    while not issuer.asked:
        await asyncio.sleep(0)
    waiting.cancel()
    issuer.hold.set()
    assert await issuer.source.prove(signed())
    assert issuer.asked == 1


# --- over HTTP


class Server:
    """Answers each path with what it is told to; with None it says nothing for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | None] = {}

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        body = self.answers.get(head.split()[1].decode(), b"missing")
        if body is None:
            await reader.read()
        elif body == b"missing":
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif body.startswith(b"HTTP/"):
            writer.write(body)
        else:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
            )
        writer.close()


async def test_keys_are_where_the_discovery_document_says():
    async with Server() as server:
        issuer = Issuer(server.url, "", None)
        discovery = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
        server.answers = {
            "/.well-known/openid-configuration": json.dumps(discovery).encode(),
            "/keys": jwks(rsa("one")),
        }
        assert await issuer.published() == Published(server.url, jwks(rsa("one")))
        for wrong in (
            discovery | {"issuer": "https://other.example"},
            discovery | {"jwks_uri": "http://far.example/keys"},
            {},
        ):
            server.answers["/.well-known/openid-configuration"] = json.dumps(wrong).encode()
            with pytest.raises(InvalidInput):
                await issuer.published()
        await issuer.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, Unavailable),
        (b"missing", Unavailable),
        (b"HTTP/1.1 302 Found\r\nLocation: https://evil.example\r\nContent-Length: 0\r\n\r\n", Unavailable),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", Unavailable),
        (b"HTTP/garbage\r\n\r\n", Unavailable),
        (b"x" * (1024 * 1024 + 1), InvalidInput),
    ],
)
async def test_an_issuer_that_answers_nothing_good(answer, error, monkeypatch):
    monkeypatch.setattr("nexus.access.issuer._TIMEOUT", 0.2)
    async with Server() as server:
        server.answers["/keys"] = answer
        issuer = Issuer(ISSUER, f"{server.url}/keys", None)
        with pytest.raises(error):
            await issuer.published()
        await issuer.close()


@pytest.mark.parametrize(
    "url", ["http://issuer.example", "issuer.example", "ftp://issuer.example", "https://"]
)
def test_keys_come_over_tls(url):
    with pytest.raises(ConfigError, match="https"):
        Issuer(url, "", None)
