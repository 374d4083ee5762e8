"""Declarations and settings -> the providers that are served.

A known provider is on as soon as it has what it needs: its key, or a base URL of the operator's own. Any further one is
made by giving it a base URL: GATEWAY_PROVIDER_MY_LLM_BASE_URL makes `my-llm`. A client's own variables, such as
OPENAI_BASE_URL, are never read: they may well point at this gateway.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from yarl import URL

from gateway.providers import own_fields
from gateway.providers.anthropic import VERSION, AnthropicDialect
from gateway.providers.declarations import ANTHROPIC_VERSION, CUSTOMS, KNOWN, OPENAI
from gateway.providers.provider import Provider
from gateway.providers.reading.stream_end import StreamEndRule
from gateway.settings import Reader, Secret, Timeouts
from gateway.settings.upstream import UNBOUNDED, Policy

__all__ = ["KNOWN", "configured_providers", "missing", "sources"]

PREFIX = "GATEWAY_PROVIDER_"
FAMILY = f"{PREFIX}<NAME>"
TIMEOUTS = ("connect", "first_byte", "idle")
SUFFIXES = (
    "_BASE_URL",
    "_API_KEY",
    "_API_KEY_FILE",
    "_DIALECT",
    "_MODELS",
    *(f"_{which.upper()}_TIMEOUT" for which in TIMEOUTS),
    "_POOL_IDLE_SECONDS",
    "_MAX_CONCURRENT",
    "_RETRIES",
    "_CIRCUIT_FAILURES",
    "_FALLBACK",
    "_STREAM_END",
    *own_fields.SUFFIXES,
)

ABOUT_URL = (
    "Base URL of a provider, without version. A name that is not built in makes a further provider: MY_LLM, my-llm"
)
ABOUT_KEY = "Key of a provider, before any other variable"
ABOUT_DIALECT = f"{', '.join(sorted(CUSTOMS))}; not set: the provider's own, openai for further ones"
ABOUT_MODELS = "Comma-separated models that metrics show by name; not set: a few well-known ones"
ABOUT_CONCURRENT = "Calls to a provider at once, per worker; more are answered 503; not set: GATEWAY_POOL_SIZE"
ABOUT_FALLBACK = (
    "Another provider of the same dialect, which gets a request that this one keeps failing, its body as it is: the "
    "model must have the same name there"
)
ABOUT_VERSION = (
    "Anthropic API version of requests that name none in `anthropic-version`, those of projects among them; from "
    "2026-10-21 on, projects' `temperature`, `top_p` and `top_k` are left out, which the API refuses"
)
ABOUT_STREAM_END = (
    "What makes a stream complete, besides its framing: finish (every choice that began has its finish_reason, or the "
    "marker came), marker ([DONE], message_stop, response.completed or what else its API ends with), framing (nothing)"
)
UNSAFE_KEY = "must be visible ASCII characters without blanks, so that a header field can carry it"

_ENV_NAME = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)*")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_VISIBLE = re.compile(r"[!-~]+")

Found = TypeVar("Found")


def configured_providers(reader: Reader, timeouts: Timeouts, policy: Policy = UNBOUNDED) -> tuple[Provider, ...]:
    """The providers that are on, known ones first. `timeouts` and `policy` hold where one has none of its own."""
    known = [_configured(reader, declared, timeouts, policy) for declared in KNOWN.values()]
    further = [_configured(reader, declared, timeouts, policy) for declared in _further(reader)]
    version = _anthropic_version(reader)
    providers = tuple(_of_version(provider, version) for provider in (*known, *further) if provider is not None)
    _check_fallbacks(reader, providers)
    return providers


def sources(reader: Reader, provider: Provider) -> tuple[str, ...]:
    """The variables that a provider's key and base URL come from."""
    in_force = (next(filter(reader.is_set, names), "") for names in (_keys(provider), _urls(provider)))
    return tuple(name for name in in_force if name)


def missing(provider: Provider) -> tuple[str, ...]:
    """The customary variables that a known provider which is off waits for."""
    key = provider.credential.env[:1] if provider.credential is not None and provider.credential.required else ()
    return key + provider.base_url_env[:1]


def _configured(reader: Reader, declared: Provider, timeouts: Timeouts, policy: Policy) -> Provider | None:
    own = _own(declared)
    reader.chapter("Built-in providers, each switched on by its variables")
    customary_urls, customary_keys = _customary_urls(reader, declared), _customary_keys(reader, declared)
    reader.chapter("Any provider")
    own_url = reader.url(f"{own}_BASE_URL", ABOUT_URL, as_name=f"{FAMILY}_BASE_URL")
    own_key = _key(reader, f"{own}_API_KEY", ABOUT_KEY, as_name=f"{FAMILY}_API_KEY")
    base_url = _first((own_url, *customary_urls, declared.base_url))
    key = _first((own_key, *customary_keys))
    provider = replace(
        own_fields.with_own_fields(reader, _in_dialect(reader, declared), own, FAMILY),
        base_url=base_url,
        key=key,
        models=_models(reader, declared),
        timeouts=_timeouts(reader, own, timeouts),
        policy=_policy(reader, own, policy),
        stream_end=_stream_end(reader, own),
    )
    if base_url is None:
        if not reader.is_set(f"{own}_BASE_URL") and (own_key is not None or declared.name not in KNOWN):
            reader.problem(f"{own}_BASE_URL", f"is needed, since there is none for {declared.name}")
        return None
    complete = key is not None or declared.credential is None or not declared.credential.required
    return provider if complete or own_url is not None else None


def _further(reader: Reader) -> Iterable[Provider]:
    """A bare declaration for each name that is not known."""
    known = {_own(provider).removeprefix(PREFIX) for provider in KNOWN.values()}
    for name in sorted(reader.named(PREFIX, SUFFIXES) - known):
        if _ENV_NAME.fullmatch(name):
            credential = replace(OPENAI.credential, required=False)
            yield Provider(name.lower().replace("_", "-"), None, OPENAI.dialect, credential)
        else:
            reader.problem(f"{PREFIX}{name}", "a provider's name must be A-Z and 0-9 here, in words joined by one _")


def _customary_urls(reader: Reader, declared: Provider) -> list[URL | None]:
    about = f"Base URL of {declared.name}, without version"
    return [reader.url(name, about) for name in declared.base_url_env]


def _customary_keys(reader: Reader, declared: Provider) -> list[Secret | None]:
    keys, before = [], ""
    for name in declared.credential.env if declared.credential is not None else ():
        keys.append(_key(reader, name, f"Key of {declared.name}{before}"))
        before = f", where {name} is not set"
    return keys


def _key(reader: Reader, name: str, about: str, *, as_name: str = "") -> Secret | None:
    key = reader.secret(name, about, as_name=as_name)
    if key is not None and not _VISIBLE.fullmatch(key.reveal()):
        reader.problem(name, UNSAFE_KEY)
        return None
    return key


def _in_dialect(reader: Reader, declared: Provider) -> Provider:
    """The declaration, in another dialect if that is asked for: then with that dialect's customs."""
    family = f"{FAMILY}_DIALECT"
    asked = reader.choice(f"{_own(declared)}_DIALECT", "", CUSTOMS, ABOUT_DIALECT, as_name=family)
    if not asked or asked == declared.dialect.name:
        return declared
    custom, credential = CUSTOMS[asked], declared.credential
    if credential is not None:
        credential = replace(custom.credential, env=credential.env, required=credential.required)
    return replace(declared, dialect=custom.dialect, credential=credential, default_headers=custom.default_headers)


def _anthropic_version(reader: Reader) -> str:
    name = "GATEWAY_ANTHROPIC_VERSION"
    version = reader.text(name, VERSION, ABOUT_VERSION)
    if not _DATE.fullmatch(version):
        reader.problem(name, "must be a date, such as 2023-06-01")
    return version


def _of_version(provider: Provider, version: str) -> Provider:
    """The provider, with requests in this version of its API if that is Anthropic's."""
    if not isinstance(provider.dialect, AnthropicDialect):
        return provider
    return replace(
        provider,
        dialect=replace(provider.dialect, version=version),
        default_headers={**provider.default_headers, ANTHROPIC_VERSION: version},
    )


def _models(reader: Reader, declared: Provider) -> tuple[str, ...]:
    return reader.names(f"{_own(declared)}_MODELS", (), ABOUT_MODELS, as_name=f"{FAMILY}_MODELS") or declared.models


def _timeouts(reader: Reader, own: str, timeouts: Timeouts) -> Timeouts:
    suffixes = {which: f"_{which.upper()}_TIMEOUT" for which in TIMEOUTS} | {"pool_idle": "_POOL_IDLE_SECONDS"}
    for which, suffix in suffixes.items():
        about = f"The same as GATEWAY{suffix}, for one provider"
        seconds = reader.optional_seconds(f"{own}{suffix}", about, as_name=f"{FAMILY}{suffix}")
        if seconds is not None:
            timeouts = replace(timeouts, **{which: seconds})
    return timeouts


def _stream_end(reader: Reader, own: str) -> StreamEndRule:
    name, family = f"{own}_STREAM_END", f"{FAMILY}_STREAM_END"
    return StreamEndRule(
        reader.choice(name, StreamEndRule.FINISH, tuple(StreamEndRule), ABOUT_STREAM_END, as_name=family)
    )


def _policy(reader: Reader, own: str, policy: Policy) -> Policy:
    def bound(suffix: str, about: str, otherwise: int, least: int = 0, most: int | None = None) -> int:
        told = reader.optional_integer(f"{own}{suffix}", about, least=least, most=most, as_name=f"{FAMILY}{suffix}")
        return otherwise if told is None else told

    return Policy(
        max_concurrent=bound("_MAX_CONCURRENT", ABOUT_CONCURRENT, policy.max_concurrent, least=1),
        retries=bound("_RETRIES", "The same as GATEWAY_RETRIES, for one provider", policy.retries, most=10),
        fallback=reader.text(f"{own}_FALLBACK", policy.fallback, ABOUT_FALLBACK, as_name=f"{FAMILY}_FALLBACK").lower(),
        circuit=replace(
            policy.circuit,
            failures=bound(
                "_CIRCUIT_FAILURES", "The same as GATEWAY_CIRCUIT_FAILURES, for one provider", policy.circuit.failures
            ),
        ),
    )


def _check_fallbacks(reader: Reader, providers: Iterable[Provider]) -> None:
    """A fallback must be another provider that is on, and speak the same dialect."""
    on = {provider.name: provider for provider in providers}
    for provider in providers:
        name = provider.policy.fallback
        if name and (name == provider.name or name not in on):
            reader.problem(f"{_own(provider)}_FALLBACK", "must be the name of another provider that is on")
        elif name and on[name].dialect.name != provider.dialect.name:
            reader.problem(f"{_own(provider)}_FALLBACK", f"{name} does not speak the dialect of {provider.name}")


def _keys(provider: Provider) -> tuple[str, ...]:
    return (f"{_own(provider)}_API_KEY", *(provider.credential.env if provider.credential is not None else ()))


def _urls(provider: Provider) -> tuple[str, ...]:
    return (f"{_own(provider)}_BASE_URL", *provider.base_url_env)


def _own(provider: Provider) -> str:
    """What the variables of one provider begin with."""
    return PREFIX + provider.name.upper().replace("-", "_")


def _first(found: Iterable[Found | None]) -> Found | None:
    return next((one for one in found if one is not None), None)
