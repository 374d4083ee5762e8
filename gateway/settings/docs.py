"""Who may read the documentation."""

from dataclasses import dataclass

from gateway.settings.reader import Reader


@dataclass(frozen=True, slots=True)
class Docs:
    """Whether /docs and /openapi.json are served at all, and whether the document can be read without a key."""

    served: bool = True
    public: bool = False


def read_docs(reader: Reader) -> Docs:
    """The settings of the documentation."""
    reader.chapter("Documentation")
    access = reader.choice(
        "GATEWAY_DOCS",
        "key",
        ("key", "open", "off"),
        "Who may read /openapi.json, and with it /docs: key, holders of a key; open, everyone; off, nobody",
    )
    return Docs(served=access != "off", public=access == "open")
