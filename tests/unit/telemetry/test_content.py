"""What spans show of what was said, compared with what OpenInference's own masking leaves."""

import base64
import json
import time
from dataclasses import fields
from typing import ClassVar

import pytest
from openinference.instrumentation import TraceConfig

from gateway.settings.tracing import Capture, ContentSettings, Hidden
from gateway.telemetry.content import MOST, ROOM, ContentRules
from gateway.telemetry.exchange import Content, Facts, Message, TemplateUse, ToolCall
from tests import traced_exchanges as made

IMAGE = base64.b64encode(bytes(range(256)) * 40).decode()
EVERYTHING = (made.unary, made.with_tools, made.embeddings, made.legacy_completion)


def rules(capture: Capture = Capture.ON, limit: int = 32_768, hidden: Hidden | None = None) -> ContentRules:
    return ContentRules(ContentSettings(capture, limit, hidden or Hidden()))


def shown(content: Content, **settings: object) -> dict[str, str]:
    return rules(**settings).of_call(Facts("chat", content=content))  # type: ignore[arg-type]


def said(text: str, **settings: object) -> str:
    """How the text of one message is shown."""
    return shown(Content([Message("user", text)]), **settings)["llm.input_messages.0.message.content"]


def test_a_conversation_is_shown_message_by_message() -> None:
    exchange = made.with_tools()
    attributes = rules().of_call(exchange.calls[0].facts)
    assert attributes == {
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": made.QUESTION,
        "llm.input_messages.1.message.role": "assistant",
        "llm.input_messages.1.message.tool_calls.0.tool_call.id": "toolu_1",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.name": "weather",
        "llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments": '{"city":"Lisbon"}',
        "llm.input_messages.2.message.role": "tool",
        "llm.input_messages.2.message.content": "sunny",
        "llm.input_messages.2.message.name": "weather",
        "llm.input_messages.2.message.tool_call_id": "toolu_1",
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "One moment.",
        "llm.output_messages.0.message.name": "claude",
        "llm.output_messages.0.message.tool_call_id": "none",
        "llm.output_messages.0.message.tool_calls.0.tool_call.id": "toolu_2",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "wind",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city":"Lisbon"}',
        "llm.tools.0.tool.json_schema": exchange.calls[0].facts.content.tools[0],  # type: ignore[union-attr]
    }


def test_the_bodies_are_shown_with_their_kind() -> None:
    attributes = shown(Content(input_value='{"a":1}', output_value="no JSON"))
    assert attributes == {
        "input.value": '{"a":1}',
        "input.mime_type": "application/json",
        "output.value": "no JSON",
        "output.mime_type": "text/plain",
    }


def test_a_body_that_was_cut_is_no_json_any_more() -> None:
    attributes = shown(Content(input_value=json.dumps(["x" * 50])), limit=20)
    assert attributes["input.value"] == '["xxxxxxxxxxxxxxxxxx… (34 more characters)'
    assert attributes["input.mime_type"] == "text/plain"


def test_a_legacy_completion_has_prompts_and_choices() -> None:
    attributes = rules().of_call(made.legacy_completion().calls[0].facts)
    assert attributes == {
        "llm.prompts.0.prompt.text": "Once upon a time",
        "llm.choices.0.completion.text": " there was a gateway.",
    }


@pytest.mark.parametrize("make", EVERYTHING)
def test_off_shows_nothing_even_if_something_was_captured(make: object) -> None:
    exchange = make()  # type: ignore[operator]
    assert rules(Capture.OFF).of_call(exchange.calls[0].facts) == {}
    assert rules(Capture.OFF).of_exchange(exchange) == {}


def test_without_captured_content_there_is_nothing_to_show() -> None:
    assert rules().of_call(Facts("chat")) == {}
    assert rules().of_exchange(made.refused()) == {}


class TestTraceList:
    """The root of a trace shows the last question and the answer."""

    def test_of_a_conversation(self) -> None:
        attributes = rules().of_exchange(made.unary())
        assert (attributes["input.value"], attributes["output.value"]) == (made.QUESTION, made.ANSWER)
        assert attributes["input.mime_type"] == attributes["output.mime_type"] == "text/plain"

    def test_of_a_call_for_tools(self) -> None:
        exchange = made.with_tools()
        assert rules().of_exchange(exchange)["output.value"] == "One moment."
        exchange.calls[0].facts.content.output_messages[0].content = ""  # type: ignore[union-attr]
        assert rules().of_exchange(exchange)["output.value"] == 'wind({"city":"Lisbon"})'

    def test_of_embeddings(self) -> None:
        attributes = rules().of_exchange(made.embeddings())
        assert attributes == {"input.value": "first text\nsecond text", "input.mime_type": "text/plain"}

    def test_of_a_workflow(self) -> None:
        exchange = made.project()
        attributes = rules().of_exchange(exchange)
        assert (attributes["input.value"], attributes["output.value"]) == ('{"text":"A long story."}', "A short story.")
        exchange.content = None
        assert rules().of_exchange(exchange)["input.value"] == made.QUESTION

    def test_of_bodies_that_are_no_conversation(self) -> None:
        exchange = made.opened()
        made.call(exchange, Facts("", content=Content(input_value="in", output_value="out")))
        attributes = rules().of_exchange(exchange)
        assert (attributes["input.value"], attributes["output.value"]) == ("in", "out")


class TestHashed:
    def test_equal_texts_are_equal_and_others_are_not(self) -> None:
        digest = said("secret plan", capture=Capture.HASHED)
        assert digest == said("secret plan", capture=Capture.HASHED)
        assert digest != said("secret plan ", capture=Capture.HASHED)
        assert digest.startswith("sha256:") and digest.endswith(" (11 characters)")

    @pytest.mark.parametrize("make", EVERYTHING)
    def test_nothing_that_was_said_is_left(self, make: object) -> None:
        exchange = make()  # type: ignore[operator]
        hashing = rules(Capture.HASHED)
        attributes = hashing.of_call(exchange.calls[0].facts) | hashing.of_exchange(exchange)
        if template := exchange.calls[0].template:
            attributes |= hashing.of_template(template)
        words = ("Lisbon", "weather in", "brief", "sunny", "One moment", "first text", "upon", "properties", "ada")
        for name, value in attributes.items():
            assert not [word for word in (*words, "toolu", "wind") if word in value], name

    def test_a_huge_text_is_hashed_quickly_and_told_from_a_longer_one(self) -> None:
        begun = time.perf_counter()
        first, second = (said("x" * length, capture=Capture.HASHED) for length in (30_000_000, 30_000_001))
        assert time.perf_counter() - begun < 1
        assert first != second


class TestSizes:
    def test_an_attribute_holds_no_more_than_the_limit(self) -> None:
        assert said("x" * 100, limit=100) == "x" * 100
        assert said("x y" * 40, limit=100) == ("x y" * 40)[:100] + "… (20 more characters)"

    def test_a_span_has_room_for_so_much_and_the_newest_messages_get_it(self) -> None:
        messages = [Message("user", f"{number} " * 60) for number in range(100)]
        attributes = shown(Content(messages), limit=100)
        contents = [attributes[f"llm.input_messages.{number}.message.content"] for number in range(100)]
        assert contents[-1].startswith("99 99 99")
        assert contents[0].startswith("… (")
        assert sum(map(len, attributes.values())) < 100 * ROOM + 100 * 40

    def test_of_a_very_long_conversation_the_middle_is_left_out_and_that_is_said(self) -> None:
        attributes = shown(Content([Message("user", f"message {number}") for number in range(1000)]))
        roles = [name for name in attributes if name.endswith("role")]
        assert len(roles) == MOST
        assert attributes["llm.input_messages.0.message.content"] == "message 0"
        assert attributes["llm.input_messages.1.message.content"] == f"[{1000 - MOST + 1} messages left out]"
        assert attributes["llm.input_messages.2.message.content"] == f"message {1000 - MOST + 2}"
        assert attributes[f"llm.input_messages.{MOST - 1}.message.content"] == "message 999"

    def test_tools_tool_calls_and_texts_are_bounded_in_number(self) -> None:
        calls = [ToolCall(str(number), "f", "{}") for number in range(1000)]
        attributes = shown(Content([Message("assistant", tool_calls=calls)], tools=["{}"] * 1000))
        assert len(attributes) == 1 + 3 * MOST + MOST

    @pytest.mark.parametrize(
        "text",
        [
            f'{{"image_url":{{"url":"data:image/png;base64,{IMAGE}"}},"text":"what is this?"}}',
            f'{{"type":"base64","media_type":"image/png","data":"{IMAGE}","text":"what is this?"}}',
            f'{{"inlineData":{{"mimeType":"image/png","data":"{IMAGE.replace("/", "-")}"}},"text":"what is this?"}}',
            f'{{"data":"{IMAGE.replace("/", chr(92) + "/")}","text":"what is this?"}}',
            f"![](data:image/png;base64,{IMAGE[:60]}) what is this?",
            f"{IMAGE} what is this?",
        ],
    )
    def test_an_image_is_never_shown_in_full_and_what_stands_around_it_is(self, text: str) -> None:
        for shown_text in (said(text), shown(Content(input_value=text))["input.value"]):
            assert IMAGE[30:60] not in shown_text and IMAGE[-60:-30] not in shown_text
            assert "characters of base64]" in shown_text and "what is this?" in shown_text

    @pytest.mark.parametrize(
        "text", ["a" * 199, "word " * 1000, "/usr/lib/" * 20, '{"id":"' + "f" * 128 + '"}', "é" * 500]
    )
    def test_what_is_no_image_is_left_alone(self, text: str) -> None:
        assert said(text) == text

    def test_a_run_is_found_wherever_it_begins(self) -> None:
        for before in range(0, 230, 7):
            text = f"{'. ' * before}{'A' * 200} after"
            assert said(text) == f"{'. ' * before}[200 characters of base64] after"

    @pytest.mark.parametrize("text", ["/" * 30_000_000, ("y" * 190 + " ") * 100_000, IMAGE * 1000, '\\"' * 1_000_000])
    def test_the_largest_text_takes_no_time_to_speak_of(self, text: str) -> None:
        begun = time.perf_counter()
        assert len(said(text)) < 33_000
        assert time.perf_counter() - begun < 1


class TestHiding:
    @pytest.mark.parametrize("switch", [field.name for field in fields(Hidden)])
    @pytest.mark.parametrize("make", EVERYTHING)
    def test_each_switch_hides_at_least_what_openinference_hides(self, switch: str, make: object) -> None:
        exchange = make()  # type: ignore[operator]
        facts = exchange.calls[0].facts
        hidden = rules(hidden=Hidden(**{switch: True}))
        theirs = TraceConfig(**{f"hide_{switch}": True})
        ours = hidden.of_call(facts)
        for name, value in rules().of_call(facts).items():
            left = theirs.mask(name, value)
            assert ours.get(name) in (left, "__REDACTED__", None), name
            if left != value:
                assert ours.get(name) == left, name

    @pytest.mark.parametrize(
        ("switch", "make", "words"),
        [
            ("inputs", made.unary, ["brief", "weather in"]),
            ("inputs", made.with_tools, ["weather in", "sunny", "properties"]),
            ("inputs", made.embeddings, ["first text"]),
            ("inputs", made.legacy_completion, ["upon"]),
            ("outputs", made.unary, ["sunny today"]),
            ("outputs", made.legacy_completion, ["there was"]),
            ("input_messages", made.unary, ["brief", "weather in"]),
            ("output_messages", made.unary, ["sunny today"]),
            ("input_text", made.unary, ["brief", "weather in"]),
            ("output_text", made.unary, ["sunny today"]),
            ("llm_tools", made.with_tools, ["properties"]),
            ("prompts", made.legacy_completion, ["upon"]),
            ("choices", made.legacy_completion, ["there was"]),
            ("embeddings_text", made.embeddings, ["first text"]),
            ("llm_invocation_parameters", made.unary, ["max_tokens"]),
        ],
    )
    def test_what_is_hidden_shows_nowhere_in_the_trace(self, switch: str, make: object, words: list[str]) -> None:
        exchange = make()  # type: ignore[operator]
        hidden = rules(hidden=Hidden(**{switch: True}))
        values = [*hidden.of_call(exchange.calls[0].facts).values(), *hidden.of_exchange(exchange).values()]
        assert values
        for word in words:
            assert not [value for value in values if word in value]

    @pytest.mark.parametrize("switch", [field.name for field in fields(Hidden)])
    def test_a_body_is_not_shown_whole_where_a_part_of_it_is_hidden(self, switch: str) -> None:
        attributes = shown(Content(input_value="asked", output_value="told"), hidden=Hidden(**{switch: True}))
        of_outputs = switch in ("outputs", "output_messages", "output_text", "choices", "embeddings_vectors")
        of_inputs = not of_outputs and switch != "input_images"  # which are never shown
        assert attributes["input.value"] == ("__REDACTED__" if of_inputs else "asked")
        assert attributes["output.value"] == ("__REDACTED__" if of_outputs else "told")
        assert ("input.mime_type" in attributes, "output.mime_type" in attributes) == (not of_inputs, not of_outputs)

    def test_roles_stay_where_only_the_text_is_hidden(self) -> None:
        attributes = rules(hidden=Hidden(input_text=True)).of_call(made.unary().calls[0].facts)
        assert attributes["llm.input_messages.1.message.role"] == "user"
        assert attributes["llm.input_messages.1.message.content"] == "__REDACTED__"
        assert attributes["llm.output_messages.0.message.content"] == made.ANSWER


class TestTemplates:
    TEMPLATE = TemplateUse("Say {greeting} to {name}", {"greeting": "hello", "name": "Ada"}, "2", "greet")
    LABELS: ClassVar = {"llm.prompt_template.version": "2", "prompt.id": "greet"}

    def attributes(self, **settings: object) -> dict[str, str]:
        attributes = rules(**settings).of_template(self.TEMPLATE)  # type: ignore[arg-type]
        assert attributes.items() >= self.LABELS.items()
        return attributes

    def variables(self, **settings: object) -> dict[str, str]:
        return dict(json.loads(self.attributes(**settings)["llm.prompt_template.variables"]))

    def test_the_text_and_what_was_filled_in_are_content(self) -> None:
        assert self.attributes()["llm.prompt_template.template"] == "Say {greeting} to {name}"
        assert self.variables() == {"greeting": "hello", "name": "Ada"}
        assert self.attributes(capture=Capture.OFF) == self.LABELS

    def test_hashed_shows_their_digests(self) -> None:
        assert self.attributes(capture=Capture.HASHED)["llm.prompt_template.template"].startswith("sha256:")
        assert self.variables(capture=Capture.HASHED)["name"].startswith("sha256:")

    def test_they_are_hidden_with_all_inputs(self) -> None:
        hidden = Hidden(inputs=True)
        assert self.attributes(hidden=hidden)["llm.prompt_template.template"] == "__REDACTED__"
        assert self.variables(hidden=hidden) == {"greeting": "__REDACTED__", "name": "__REDACTED__"}

    @pytest.mark.parametrize("label", ["two words", "ünï", "x" * 65, "a\nb", "{it}"])
    def test_a_version_or_a_name_that_is_no_label_is_content_too(self, label: str) -> None:
        template = TemplateUse("", {label: "hello"}, label, label)
        assert rules(Capture.OFF).of_template(template) == {}
        assert label not in " ".join(rules(Capture.HASHED).of_template(template).values())
        assert rules().of_template(template)["prompt.id"] == label

    def test_what_was_not_given_is_left_out(self) -> None:
        assert rules().of_template(TemplateUse("Hello", {})) == {"llm.prompt_template.template": "Hello"}
