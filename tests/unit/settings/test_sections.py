"""The sections of the settings, read from an environment."""

import pytest

from gateway.settings import MIB, Reader, Settings, SettingsError


def read(**environ: str) -> Settings:
    reader = Reader(environ)
    settings = Settings.read(reader)
    reader.finish()
    return settings


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    assert read() == Settings()
    assert (read().server.host, read().server.port) == ("127.0.0.1", 8080)


def test_each_fixed_name_is_read() -> None:
    settings = read(
        GATEWAY_HOST="0.0.0.0",
        GATEWAY_PORT="9000",
        GATEWAY_WORKERS="2",
        GATEWAY_CONNECT_TIMEOUT="1.5",
        GATEWAY_FIRST_BYTE_TIMEOUT="20",
        GATEWAY_IDLE_TIMEOUT="30",
        GATEWAY_POOL_IDLE_SECONDS="8",
        GATEWAY_LOG_LEVEL="debug",
    )
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("0.0.0.0", 9000, 2)
    assert (settings.timeouts.connect, settings.timeouts.first_byte, settings.timeouts.idle) == (1.5, 20, 30)
    assert (settings.timeouts.pool_idle, read().timeouts.pool_idle) == (8, 4)
    assert settings.log.level == "debug"


@pytest.mark.parametrize(
    ("environ", "body", "upload"),
    [
        ({}, 100 * MIB, 1024 * MIB),
        ({"GATEWAY_MAX_BODY_BYTES": "1000"}, 1000, 1000),
        ({"GATEWAY_MAX_UPLOAD_BYTES": "5000"}, 100 * MIB, 5000),
        ({"GATEWAY_MAX_BODY_BYTES": "1000", "GATEWAY_MAX_UPLOAD_BYTES": "5000"}, 1000, 5000),
    ],
)
def test_one_limit_on_bodies_holds_for_uploads_unless_they_have_their_own(
    environ: dict[str, str], body: int, upload: int
) -> None:
    limits = read(**environ).limits
    assert (limits.max_body_bytes, limits.max_upload_bytes) == (body, upload)


@pytest.mark.parametrize("name", ["gateway-1", "eu.example.com", "!#$%&'*+.^_`|~", "x" * 64])
def test_a_name_for_via_is_a_token(name: str) -> None:
    assert read(GATEWAY_VIA_NAME=name).server.via_name == name


@pytest.mark.parametrize("name", ["a b", "a,b", "gateway:8080", "(a)", "\u00e4", "x" * 65])
def test_what_is_no_token_is_no_name_for_via(name: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_VIA_NAME: must be"):
        read(GATEWAY_VIA_NAME=name)


@pytest.mark.parametrize(
    ("environ", "bytes_held"),
    [
        ({}, 512 * MIB),
        ({"GATEWAY_MAX_BODY_BYTES": str(900 * MIB)}, 900 * MIB),
        ({"GATEWAY_MAX_BUFFERED_BYTES": str(200 * MIB)}, 200 * MIB),
        ({"GATEWAY_MAX_BODY_BYTES": "10", "GATEWAY_MAX_BUFFERED_BYTES": "10"}, 10),
    ],
)
def test_large_bodies_have_a_bound_together(environ: dict[str, str], bytes_held: int) -> None:
    assert read(**environ).limits.max_buffered_bytes == bytes_held


def test_that_bound_has_room_for_one_body_at_least() -> None:
    with pytest.raises(
        SettingsError, match="GATEWAY_MAX_BUFFERED_BYTES: must have room for one body of 104857600 bytes"
    ):
        read(GATEWAY_MAX_BUFFERED_BYTES="1000")


def test_all_sections_tell_their_problems_together() -> None:
    with pytest.raises(SettingsError) as caught:
        read(
            GATEWAY_PORT="65536", GATEWAY_IDLE_TIMEOUT="never", GATEWAY_LOG_LEVEL="loud", GATEWAY_MAX_BODY_BYTES="none"
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "GATEWAY_PORT",
        "GATEWAY_MAX_BODY_BYTES",
        "GATEWAY_IDLE_TIMEOUT",
        "GATEWAY_LOG_LEVEL",
    ]
