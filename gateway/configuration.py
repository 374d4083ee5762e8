"""All that is configured, from one look at the environment: settings, providers, clients.

Where neither a provider nor a key is configured the gateway serves itself: the bundled mock upstream as provider
`mock`, with a demo key that is another at each start, on loopback only.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from yarl import URL

from gateway.access import keys, limiters
from gateway.access.clients import Client, Clients, Key
from gateway.access.keys import digest_of, new_key, read_clients
from gateway.projects.binding import BoundProject, configured_projects
from gateway.providers import declarations
from gateway.providers.catalog import configured_providers, sources
from gateway.providers.provider import Provider
from gateway.settings import Reader, Secret, Settings, SettingsError
from gateway.settings.docs import Docs, read_docs
from gateway.settings.file_state import FileState
from gateway.settings.tracing import PREFIXES as TRACING_PREFIXES
from gateway.settings.tracing import Capture

DEMO_CLIENT = "demo"
MOCK = "mock"
NO_KEY = (
    "no client key is configured, though a provider is ({}); `python -m gateway keys new ID` makes one. "
    "Without either, the gateway would serve its embedded default"
)
ONLY_ON_LOOPBACK = (
    "the embedded default is served on loopback only, such as 127.0.0.1; "
    "configure a provider and GATEWAY_API_KEYS to be reached from elsewhere"
)
KEYS_IN_ENVIRONMENT = (
    f"{keys.NAME} comes from the environment of the process, which a reload does not change: keys that were added or "
    f"revoked since the start have no effect. Put keys in a file and name it in {keys.NAME}_FILE, or restart"
)
NOT_BY_RELOAD = "what is configured and the embedded default do not take each other's place by a reload; restart"

_VERSION = re.compile(r"/v\d[a-z0-9]*/?$")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a gateway is made from. `demo_key` is there in the embedded default alone."""

    settings: Settings
    providers: tuple[Provider, ...]
    clients: Clients
    projects: tuple[BoundProject, ...] = ()
    docs: Docs = field(default_factory=Docs)
    demo_key: Secret | None = None
    warnings: tuple[str, ...] = field(default=())
    keys_file: FileState | None = None
    """The file that the client keys were read from, if they stand in one."""

    @property
    def is_embedded_default(self) -> bool:
        return self.demo_key is not None

    def with_demo_key(self, secret: str) -> "Configuration":
        """The embedded default with a key that another process has made."""
        self.clients.replace(_demo_clients(secret))
        return replace(self, demo_key=Secret(secret))

    def with_mock(self, base_url: URL) -> "Configuration":
        """The embedded default, once its mock upstream is served at `base_url`."""
        return replace(self, providers=(replace(declarations.mock(base_url), policy=self.settings.policy),))


def load(environ: Mapping[str, str]) -> Configuration:
    """The configuration in `environ`. Raises SettingsError with every problem there is."""
    return read(Reader(environ))


def read(reader: Reader) -> Configuration:
    """The same, through a reader that can then tell what it found."""
    clients = read_clients(reader)
    settings = Settings.read(reader)
    providers = configured_providers(reader, settings.timeouts, settings.policy)
    demo_key = None
    if not len(clients) and not providers and not reader.problems:
        demo_key = _demo(reader, clients, settings.server.host)
        settings = _shown(reader, settings)
    elif providers and not reader.is_set("GATEWAY_API_KEYS"):
        switches = (name for provider in providers for name in sources(reader, provider))
        reader.problem("GATEWAY_API_KEYS", NO_KEY.format(", ".join(switches)))
    names = {provider.name for provider in providers} if demo_key is None else {MOCK}
    projects = configured_projects(reader, names, embedded=demo_key is not None)
    docs = read_docs(reader)
    _check_limits(reader, settings, clients)
    reader.finish()
    configuration = Configuration(
        settings, providers, clients, projects, docs, demo_key, keys_file=reader.files.get(keys.NAME)
    )
    return replace(configuration, warnings=tuple(_warnings(reader, configuration)))


def reloaded(current: Configuration, environ: Mapping[str, str]) -> Configuration:
    """The configuration as it is now. Raises SettingsError if it cannot take the place of `current`."""
    fresh = load(environ)
    if fresh.is_embedded_default != current.is_embedded_default:
        raise SettingsError([NOT_BY_RELOAD])
    return current if current.is_embedded_default else fresh


def fixed_settings(environ: Mapping[str, str], env_file: Mapping[str, str]) -> Iterator[str]:
    """Warnings for settings that a reload cannot change, since the process's `environ` wins over the .env file."""
    if environ.get(keys.NAME, "").strip():
        yield KEYS_IN_ENVIRONMENT
    for name in sorted(env_file.keys() & environ.keys() - {keys.NAME}):
        if environ[name].strip() and environ[name].strip() != env_file[name].strip():
            yield f"{name}: the environment of the process wins over the .env file, and a reload does not change it"


def _shown(reader: Reader, settings: Settings) -> Settings:
    """The embedded default has nothing to hide: its spans show what was said, unless that is told otherwise."""
    if reader.is_set("GATEWAY_TRACE_CONTENT"):
        return settings
    content = replace(settings.tracing.content, capture=Capture.ON)
    return replace(settings, tracing=replace(settings.tracing, content=content))


def is_loopback(host: str) -> bool:
    """Whether what listens on `host` can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_limits(reader: Reader, settings: Settings, clients: Clients) -> None:
    for name, problem in limiters.problems(settings.rates, settings.prices, clients):
        reader.problem(name, problem)


def _demo(reader: Reader, clients: Clients, host: str) -> Secret:
    if not is_loopback(host):
        reader.problem("GATEWAY_HOST", ONLY_ON_LOOPBACK)
    secret = new_key()
    clients.replace(_demo_clients(secret))
    return Secret(secret)


def _demo_clients(secret: str) -> Clients:
    return Clients([Key(digest_of(secret), Client(DEMO_CLIENT))])


def _warnings(reader: Reader, configuration: Configuration) -> Iterator[str]:
    yield from (f"{name} is not a setting of this gateway" for name in reader.unknown("GATEWAY_"))
    yield from (f"{name} is set and has no effect on this gateway" for name in reader.unknown(*TRACING_PREFIXES))
    yield from reader.warnings
    if configuration.is_embedded_default:
        return
    if not configuration.providers:
        yield "no provider is on; set OPENAI_API_KEY, for example, or GATEWAY_PROVIDER_<NAME>_BASE_URL"
    for provider in configuration.providers:
        yield from (f"{provider.name}: {doubt}" for applies, doubt in DOUBTS if applies(provider))
    served = {provider.name for provider in configuration.providers}
    projects = {bound.project.name for bound in configuration.projects}
    yield from limiters.doubts(
        configuration.settings.rates,
        keys={client.id for client in configuration.clients},
        projects=projects,
        providers=served,
    )
    for client in configuration.clients:
        for name in sorted((client.providers or set()) - served):
            yield f"GATEWAY_API_KEYS: {client.id} may use {name}, which is not a provider that is on"
        for name in sorted((client.projects or set()) - projects):
            yield f"GATEWAY_API_KEYS: {client.id} may use {name}, which is not a project that is served"


def _lacks_key(provider: Provider) -> bool:
    return provider.key is None and provider.credential is not None and provider.credential.required


def _holds_version(provider: Provider) -> bool:
    return provider.base_url is not None and _VERSION.search(provider.base_url.raw_path) is not None


def _holds_root(provider: Provider) -> bool:
    """Whether the base URL ends in the first part of the path to the API, such as that of Groq, `/openai/v1`."""
    first, _, rest = provider.dialect.root[1:].partition("/")
    path = "" if provider.base_url is None else provider.base_url.raw_path.rstrip("/")
    return bool(rest) and path.endswith(f"/{first}")


DOUBTS: tuple[tuple[Callable[[Provider], bool], str], ...] = (
    (_lacks_key, "is on without a key"),
    (_holds_version, "its base URL ends in a version; clients send that too, and it would be there twice"),
    (_holds_root, "its base URL ends in a part of the path that clients also send, so it would be there twice"),
)
