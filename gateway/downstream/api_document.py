"""The OpenAPI document of an application, made from what is mounted on it."""

from aiohttp import web

import gateway
from gateway.downstream.routes import mounted_on, tags_of
from gateway.schema import openapi

TITLE = "LLM gateway"
ABOUT = (
    "One key, any provider. Below `/provider/<name>/` every byte passes as it is; below `/projects/<name>/` are "
    "workflows that chain several models. `GET /provider` and `GET /projects` list those that a key may use. The key "
    "goes in `X-API-Key` or as a bearer token (`api-key`, `x-goog-api-key`, `xi-api-key` and "
    "`Ocp-Apim-Subscription-Key` are understood too), never in the address."
)
GATEWAY = {"gateway": "The gateway itself."}


def render(app: web.Application) -> bytes:
    """The document, as `/openapi.json` serves it."""
    operations = mounted_on(app)
    tags = {**tags_of(app), **GATEWAY}
    used = {tag for operation in operations for tag in operation.tags}
    return openapi.encode(
        openapi.document(
            operations,
            title=TITLE,
            version=gateway.__version__,
            description=ABOUT,
            tags={name: about for name, about in tags.items() if name in used},
        )
    )
