"""Who may read `/metrics`."""

import pytest

from gateway.settings import Reader, SettingsError
from gateway.settings.metrics import MetricsSettings, read_metrics

TOKEN = "a-token-for-scraping"


def read(**environ: str) -> MetricsSettings:
    reader = Reader(environ)
    settings = read_metrics(reader)
    reader.finish()
    assert not reader.unknown("GATEWAY_")
    return settings


def test_open_by_default() -> None:
    settings = read()
    assert settings == MetricsSettings()
    assert settings.admits(None)
    assert not settings.on_own_listener


def test_behind_a_token() -> None:
    settings = read(GATEWAY_METRICS_ACCESS="bearer", GATEWAY_METRICS_TOKEN=TOKEN)
    assert settings.admits(f"Bearer {TOKEN}")
    assert settings.admits(f"bearer  {TOKEN} ")
    assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", "Bearer \udc80\udcff"],
)
def test_any_other_credential_is_refused(authorization: str | None) -> None:
    assert not read(GATEWAY_METRICS_ACCESS="bearer", GATEWAY_METRICS_TOKEN=TOKEN).admits(authorization)


def test_a_token_may_be_in_a_file(tmp_path: object) -> None:
    path = tmp_path / "token"  # type: ignore[operator]
    path.write_text(TOKEN + "\n")
    settings = read(GATEWAY_METRICS_ACCESS="bearer", GATEWAY_METRICS_TOKEN_FILE=str(path))
    assert settings.admits(f"Bearer {TOKEN}")


def test_on_a_listener_of_its_own_with_or_without_a_token() -> None:
    settings = read(GATEWAY_METRICS_ACCESS="listener", GATEWAY_METRICS_HOST="10.0.0.1", GATEWAY_METRICS_PORT="9999")
    assert settings.on_own_listener
    assert (settings.host, settings.port) == ("10.0.0.1", 9999)
    assert settings.admits(None)
    guarded = read(GATEWAY_METRICS_ACCESS="listener", GATEWAY_METRICS_TOKEN=TOKEN)
    assert not guarded.admits(None)
    assert guarded.admits(f"Bearer {TOKEN}")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"GATEWAY_METRICS_ACCESS": "bearer"}, "GATEWAY_METRICS_TOKEN: must be set"),
        ({"GATEWAY_METRICS_TOKEN": TOKEN}, "GATEWAY_METRICS_ACCESS: must be bearer or listener"),
        (
            {"GATEWAY_METRICS_ACCESS": "bearer", "GATEWAY_METRICS_TOKEN": "short"},
            "GATEWAY_METRICS_TOKEN: must have at least 16",
        ),
        ({"GATEWAY_METRICS_ACCESS": "everyone"}, "GATEWAY_METRICS_ACCESS: must be one of open, bearer, listener"),
        ({"GATEWAY_METRICS_PORT": "0"}, "GATEWAY_METRICS_PORT: must be a whole number"),
        ({"GATEWAY_METRICS_MAX_SERIES": "3"}, "GATEWAY_METRICS_MAX_SERIES: must be a whole number"),
    ],
)
def test_a_contradiction_is_told(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as told:
        read(**environ)
    assert problem in str(told.value)
    assert "short" not in str(told.value)
