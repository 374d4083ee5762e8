"""Prompts with names: which template a call was made from, and with what, stands in its trace."""

from dataclasses import dataclass
from string import Formatter

from gateway.providers.provider import Prompt
from gateway.telemetry.exchange import TemplateUse


@dataclass(frozen=True, slots=True)
class FilledPrompt:
    """A prompt, and what it was made from."""

    prompt: Prompt
    use: TemplateUse


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A prompt with holes: `{text}` is the variable `text`, `{{` and `}}` are braces.

    `template` becomes the user's message, `system`, if there is one, the system's. Raises ValueError for a hole that
    is not a plain name.
    """

    name: str
    template: str
    version: str = ""
    system: str = ""

    def __post_init__(self) -> None:
        for _, variable, form, conversion in (*Formatter().parse(self.system), *Formatter().parse(self.template)):
            if variable is not None and (not variable.isidentifier() or form or conversion):
                raise ValueError(f"{self.name}: a variable is a plain name in braces, not {{{variable}}}")

    @property
    def variables(self) -> frozenset[str]:
        """The names to fill in."""
        parsed = (*Formatter().parse(self.system), *Formatter().parse(self.template))
        return frozenset(variable for _, variable, _, _ in parsed if variable is not None)

    def fill(self, **values: object) -> FilledPrompt:
        """The prompt with `values` in its holes, verbatim. Raises TypeError if one is missing, or has no hole."""
        wrong = self.variables.symmetric_difference(values)
        if wrong:
            kind = "is missing" if wrong & self.variables else "is not in the template"
            raise TypeError(f"{self.name}: {min(wrong & self.variables or wrong)} {kind}")
        texts = {name: str(value) for name, value in values.items()}
        messages = [("user", _filled(self.template, texts))]
        if self.system:
            messages.insert(0, ("system", _filled(self.system, texts)))
        whole = f"{self.system}\n\n{self.template}" if self.system else self.template
        return FilledPrompt(Prompt(tuple(messages)), TemplateUse(whole, texts, self.version, self.name))


def _filled(template: str, texts: dict[str, str]) -> str:
    parsed = Formatter().parse(template)
    return "".join(literal + ("" if name is None else texts[name]) for literal, name, _, _ in parsed)
