"""`RedisConfig`: its URLs, its checks, and that no form of it gives a secret away."""

import pickle

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from rush.config import RedisConfig, as_config, environment_config
from rush.config.secrets import read_secrets
from rush.config.urls import masked
from rush.errors import ConfigError, RushError

SECRET = "s3cr3t:/@?#%"
KEY = b"0123456789abcdef"

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
seconds = st.floats(0.001, 1e6)
host = st.from_regex(r"[a-z][a-z0-9.-]{0,10}", fullmatch=True) | st.just("::1")
port = st.integers(1, 65535)
nodes = st.lists(st.tuples(host, port), min_size=1, max_size=3).map(tuple)
common = st.fixed_dictionaries(
    {},
    optional={
        "username": text,
        "password": text,
        "retry_timeout": seconds,
        "socket_timeout": seconds,
        "tls": st.booleans(),
        "tls_ca": text,
        "tls_check_hostname": st.booleans(),
    },
)
place = st.one_of(
    st.fixed_dictionaries({"host": host, "port": port, "db": st.integers(0, 99)}),
    st.fixed_dictionaries({"sentinels": nodes, "sentinel_service": text, "sentinel_password": st.none() | text}),
    nodes.map(lambda n: {"cluster": True, "nodes": n, "host": n[0][0], "port": n[0][1]}),
    st.fixed_dictionaries({"unix_socket": text.map(lambda t: f"/{t}"), "db": st.integers(0, 99)}),
)


def build(options):
    if options.get("unix_socket"):
        options.pop("tls", None)
    return RedisConfig(**options)


configs = st.builds(lambda c, p: build({**c, **p}), common, place)


@given(configs)
def test_url_says_everything(config):
    assert RedisConfig.from_url(config.url) == config


@given(configs)
def test_secret_says_everything(config):
    assert RedisConfig.from_secret(config.to_secret()) == config
    signed = RedisConfig(password="x", signing_key=b"\x00\xff" * 16)
    assert RedisConfig.from_secret(signed.to_secret()) == signed


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", RedisConfig()),
        ("redis://db.example:7000/3", RedisConfig(host="db.example", port=7000, db=3)),
        ("redis://:pw@h", RedisConfig(host="h", password="pw")),
        ("redis://me:p%40w@h/1", RedisConfig(host="h", username="me", password="p@w", db=1)),
        ("redis://[::1]:6380", RedisConfig(host="::1", port=6380)),
        ("redis://h?db=2&retry_timeout=0&connect_timeout=1", RedisConfig("h", db=2, retry_timeout=0, connect_timeout=1)),
        ("rediss://h?tls_ca=/ca.pem&ssl_check_hostname=false", RedisConfig("h", tls=True, tls_ca="/ca.pem", tls_check_hostname=False)),
        ("unix:///run/redis.sock?db=1", RedisConfig(unix_socket="/run/redis.sock", db=1)),
        ("unix://me:pw@/run/redis.sock", RedisConfig(unix_socket="/run/redis.sock", username="me", password="pw")),
        ("redis+sentinel://a,b:1/main/2", RedisConfig(sentinels=(("a", 26379), ("b", 1)), sentinel_service="main", db=2)),
        ("rediss+sentinel://a/main", RedisConfig(tls=True, sentinels=(("a", 26379),), sentinel_service="main")),
        ("redis+cluster://a:1,b", RedisConfig("a", 1, cluster=True, nodes=(("a", 1), ("b", 6379)))),
    ],
)  # fmt: skip
def test_url_is_read(url, expected):
    assert RedisConfig.from_url(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:6379", "not a Redis URL"),
        ("http://localhost", "known forms: redis://"),
        ("redis://h:99999", "1 to 65535"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:port", "valid host and port"),
        ("redis://h/x", "database must be a number, not 'x'"),
        ("redis://a,b", r"for redis\+sentinel"),
        ("redis://h?retry_timout=1", "did you mean 'retry_timeout'"),
        ("redis://h?retry_timeout=soon", "retry_timeout cannot be 'soon'"),
        ("redis://h?retry_timeout=-1", "retry_timeout must be 0 or more"),
        ("redis://h?tls_check_hostname=maybe", "tls_check_hostname cannot be 'maybe'"),
        ("unix://relative/path", "must be absolute"),
        ("redis+sentinel://h", "names no service"),
        ("redis+cluster://h/3", "only database 0"),
        ("redis://h?tls_cert=/c", "tls_cert and tls_key go together"),
    ],
)
def test_bad_url_is_explained(url, message):
    with pytest.raises(ConfigError, match=message):
        RedisConfig.from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h:port",
        "redis://me:s3cr3t@h:0",
        "redis://:s3cr3t",
        "redis://me:s3cr3t",
        "redis://me:s3cr3t@",
        "me:s3cr3t@h",
        "s3cr3t@h:6379/0",
        "redis://h?password=s3cr3t",
        "redis://h?sentinel_passwor=s3cr3t",
        "redis://h/1?x=1@s3cr3t",
        "redis://me:s3cr3t@a,b",
        "redis+sentinel://me:s3cr3t@a:b/x",
        "unix://me:s3cr3t@relative",
        "redis://me:s3cr3t@h/s",
    ],
)
def test_no_error_shows_a_password(url):
    try:
        config = RedisConfig.from_url(url)
        shown = repr(config) + config.address
    except ConfigError as error:
        shown = str(error) + str(error.__cause__)
    assert "s3cr3t" not in shown


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_a_config_error(word):
    for url in (word, f"redis://{word}", f"redis+sentinel://{word}"):
        try:
            RedisConfig.from_url(url)
        except ConfigError:
            assert "://" not in masked(url) or masked(url).startswith(url.partition("://")[0])


def test_representations_show_no_secret():
    config = RedisConfig(password=SECRET, sentinel_password=SECRET, username="me", signing_key=KEY)
    for shown in (repr(config), str(config), f"{config}", config.address, repr([config])):
        assert SECRET not in shown
        assert "3cr3t" not in shown
        assert "0123456789" not in shown


@pytest.mark.parametrize(
    ("config", "address"),
    [
        (RedisConfig("h", 1, 2, password=SECRET, username="me", retry_timeout=0), "redis://h:1/2"),
        (RedisConfig(unix_socket="/run/r.sock", password=SECRET), "unix:///run/r.sock"),
        (RedisConfig.from_url("rediss+sentinel://u:p@a:1,b:2/main"), "rediss+sentinel://a:1,b:2/main/0"),
        (RedisConfig.from_url("redis+cluster://u:p@a:1,b:2"), "redis+cluster://a:1,b:2"),
    ],
)
def test_address_says_where_and_nothing_else(config, address):
    assert config.address == address


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "6379"}, "port must be an int, not '6379'"),
        ({"port": True}, "port must be an int, not True"),
        ({"port": 0}, "port must be 1 to 65535, not 0"),
        ({"db": -1}, "db must be 0 or more, not -1"),
        ({"host": ""}, "host must not be empty"),
        ({"host": None}, "host must be a str, not None"),
        ({"tls": "yes"}, "tls must be True or False"),
        ({"retry_timeout": float("nan")}, "retry_timeout must be 0 or more"),
        ({"socket_timeout": 0}, "socket_timeout must be more than 0"),
        ({"connect_timeout": "1"}, "connect_timeout must be a number"),
        ({"sentinels": (("h", 1),)}, "sentinels and sentinel_service go together"),
        ({"sentinels": [("h", 1)], "sentinel_service": "x"}, "sentinels must be a tuple of"),
        ({"nodes": ("h:1",)}, r"nodes must be a tuple of \(host, port\) pairs"),
        ({"cluster": True, "db": 1}, "only database 0"),
        ({"signing_key": b"short"}, "16 bytes or more"),
        ({"signing_key": "text" * 10}, "signing_key must be bytes or None, not a str"),
        ({"password": 123456}, "password must be a str or None, not a int"),
    ],
)
def test_bad_field_is_named(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        RedisConfig(**options)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RushError)


def test_config_is_a_value():
    config = RedisConfig(password="x")
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(config) == hash(RedisConfig(password="x"))
    with pytest.raises(AttributeError):
        config.port = 1
    with pytest.raises(TypeError, match="url must be a str, not bytes"):
        RedisConfig.from_url(b"redis://h")


@pytest.mark.parametrize(
    "secret", [b"", b"[]", b"null", b'{"port": 0}', b'{"hots": "x"}', b'{"signing_key": "?"}', b"\xff"]
)
def test_other_bytes_are_no_secret(secret):
    with pytest.raises(ConfigError):
        RedisConfig.from_secret(secret)


def test_secret_that_cannot_be_read_is_not_quoted():
    with pytest.raises(ConfigError) as caught:
        RedisConfig.from_secret(b'{"password": "s3cr3t"')
    assert "s3cr3t" not in repr(caught.value) + repr(caught.value.__cause__)


def test_config_and_url_are_taken_as_they_stand():
    config = RedisConfig(db=1)
    assert as_config(config) is config
    assert as_config("redis://h/1") == RedisConfig("h", db=1)
    for wrong in (None, 1, b"redis://h", {"host": "h"}):
        with pytest.raises(TypeError, match=r"config must be a RedisConfig, a URL or a redis\.Redis"):
            as_config(wrong)


def test_client_says_how_it_connects(server):
    with server.connected(host="127.0.0.1", db=2, username="default", socket_timeout=3) as client:
        found = as_config(client)
    expected = RedisConfig(port=server.port, db=2, username="default", password=server.password, socket_timeout=3)
    assert found == expected


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        (lambda: redis.Redis.from_url("redis://me:pw@h:1/2"), {"host": "h", "port": 1, "db": 2, "username": "me", "password": "pw"}),
        (lambda: redis.Redis(unix_socket_path="/run/r.sock"), {"unix_socket": "/run/r.sock", "tls": False}),
        (lambda: redis.Redis(ssl=True, ssl_ca_certs="/ca", ssl_check_hostname=False), {"tls": True, "tls_ca": "/ca", "tls_check_hostname": False}),
        (lambda: redis.Redis(credential_provider=redis.UsernamePasswordCredentialProvider("u", "p")), {"username": "u", "password": "p"}),
        (lambda: redis.Redis(credential_provider=redis.UsernamePasswordCredentialProvider(password="p")), {"username": None, "password": "p"}),
    ],
)  # fmt: skip
def test_client_options_are_read(client, fields):
    opened = client()
    config = as_config(opened)
    opened.close()
    assert {name: getattr(config, name) for name in fields} == fields


def test_sentinel_client_is_read():
    sentinel = Sentinel([("a", 1), ("b", 2)], sentinel_kwargs={"password": "sp"}, password="pw", db=2)
    config = as_config(sentinel.master_for("main"))
    assert config == RedisConfig.from_url("redis+sentinel://:pw@a:1,b:2/main/2?sentinel_password=sp&socket_timeout=5")


def test_cluster_client_is_read(start_server, wait_until):
    server = start_server(settings={"cluster-enabled": "yes"})
    with server.connected() as node:
        node.execute_command("CLUSTER ADDSLOTSRANGE 0 16383")
        wait_until(lambda: node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
    with RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", server.port)], password=server.password) as client:
        config = as_config(client)
    assert config.cluster
    assert config.nodes == (("127.0.0.1", server.port),)
    assert config.password == server.password


def test_asynchronous_client_is_refused():
    with pytest.raises(TypeError, match=r"redis\.Redis"):
        as_config(redis.asyncio.Redis())


def test_rush_url_goes_before_redis_url(monkeypatch):
    assert environment_config() is None
    monkeypatch.setenv("REDIS_URL", "redis://second")
    assert environment_config() == RedisConfig("second")
    monkeypatch.setenv("RUSH_URL", "redis://first")
    assert environment_config() == RedisConfig("first")


def test_wrong_url_in_the_environment_names_its_variable(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t@h:x")
    with pytest.raises(ConfigError, match="REDIS_URL: ") as caught:
        environment_config()
    assert "s3cr3t" not in str(caught.value)


def test_a_file_of_secrets_for_one_reader_is_removed_when_it_was_read(tmp_path):
    for name, stays in (("secrets-0.once", False), ("secrets-0", True)):
        path = tmp_path / name
        path.write_bytes(RedisConfig("h", 1, password="p").to_secret())
        path.chmod(0o600)
        assert read_secrets(str(path)).password == "p"
        assert path.exists() is stays
