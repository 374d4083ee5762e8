"""`/provider`: the providers that a key may use, and how an SDK reaches them."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.downstream.provider_contract import base_path
from gateway.downstream.routes import Served
from gateway.downstream.state import CLIENT, EXCHANGE
from gateway.providers.provider import Provider
from gateway.schema.operation import Operation


class ListedProvider(msgspec.Struct, frozen=True):
    name: str
    dialect: Annotated[str, Meta(description="The API it speaks: `openai`, `anthropic` or `gemini`.")]
    base_url: Annotated[str, Meta(description="The base URL to give an SDK of that API.")]
    models: Annotated[list[str], Meta(description="Models it is known to have; it may have others.")]


class ProviderList(msgspec.Struct, frozen=True):
    providers: list[ListedProvider]


LIST = Operation(
    "GET",
    "/provider",
    "List the providers",
    description="The providers that this gateway serves and that the key may use.",
    tags=("gateway",),
    response=ProviderList,
)


def provider_list(providers: Sequence[Provider]) -> Served:
    """The list of `providers`."""

    async def answer(request: web.Request) -> web.Response:
        client, origin = request[CLIENT], request[EXCHANGE].origin
        usable = ProviderList([_listed(each, origin) for each in providers if client.may_use_provider(each.name)])
        return web.Response(
            body=msgspec.json.encode(usable), content_type="application/json", headers={"Cache-Control": "no-store"}
        )

    return Served(LIST, answer, also=f"{LIST.path}/")


def _listed(provider: Provider, origin: str) -> ListedProvider:
    base_url = f"{origin}{base_path(provider)}"
    return ListedProvider(provider.name, provider.dialect.name, base_url, list(provider.models))
