"""A Redis that several gateways share."""

import pytest

from gateway.settings import Reader, Secret, SettingsError
from gateway.settings.redis import RedisSettings, read_redis

PASSWORD = "s3cret-pass"


def read(**names: str) -> RedisSettings:
    reader = Reader(names)
    redis = read_redis(reader)
    reader.finish()
    assert PASSWORD not in str(reader.values)
    assert PASSWORD not in repr(redis)
    return redis


def test_there_is_none_by_default() -> None:
    assert read() == RedisSettings(None, 0.05, "gateway")


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        f"redis://user:{PASSWORD}@redis.internal:6380/3",
        f"rediss://:{PASSWORD}@10.0.0.1:6379/0?ssl_cert_reqs=none",
        "redis://[::1]:6379/",
        f"unix://:{PASSWORD}@/run/redis.sock?db=1",
    ],
)
def test_a_url_is_kept_and_not_shown(url: str) -> None:
    redis = read(GATEWAY_REDIS_URL=url, GATEWAY_REDIS_TIMEOUT="0.2", GATEWAY_REDIS_PREFIX="eu:gw")
    assert redis == RedisSettings(Secret(url), 0.2, "eu:gw")


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@localhost",
        PASSWORD,
        f"redis://:{PASSWORD}@",
        f"redis://:{PASSWORD}@host:port/0",
        f"redis://:{PASSWORD}@host/zero",
        "unix://",
    ],
)
def test_a_url_that_is_none_is_a_problem_that_shows_nothing_of_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(GATEWAY_REDIS_URL=url)
    [problem] = caught.value.problems
    assert problem.startswith("GATEWAY_REDIS_URL: must be redis://")
    assert PASSWORD not in problem


def test_a_prefix_that_would_break_the_hash_tag_is_a_problem() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_REDIS_PREFIX: must be"):
        read(GATEWAY_REDIS_PREFIX="a}b")
