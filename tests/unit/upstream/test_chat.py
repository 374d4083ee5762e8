"""A workflow's chat: the same words to every provider, each call on the record, nothing left open behind it.

Most of it runs against the mock upstream over sockets, once for each dialect; what no provider would do is scripted.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientSession
from yarl import URL

from gateway.errors import GatewayError, UpstreamError, UpstreamRejected, UpstreamTruncated, UpstreamUnreachable
from gateway.mock_upstream import JOURNAL, Journal, mock_app, serving
from gateway.providers.declarations import CUSTOMS
from gateway.providers.provider import Prompt, Provider
from gateway.schema.frames import StepFrame
from gateway.settings import Secret
from gateway.telemetry.exchange import Exchange, Outcome, TraceIds
from gateway.telemetry.metrics import Metrics
from gateway.upstream.chat import Chat, Model
from gateway.upstream.client import UpstreamClient
from gateway.upstream.http_calls import HttpCalls
from gateway.upstream.prompt_template import PromptTemplate
from tests.scripted import ScriptedUpstream, Step, answer, begin, chunk, end, event, reset, until_left

DIALECTS = ("openai", "anthropic", "gemini")
GREETING = PromptTemplate("test.greeting", "Greet {name}.", version="3", system="Be kind.")
DONE = event(b"[DONE]")


def delta(text: str) -> Step:
    return event(b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}' % text.encode())


@dataclass
class Workplace:
    """A chat, and what it has done."""

    exchange: Exchange
    upstream: UpstreamClient
    calls: HttpCalls
    providers: dict[str, Provider]
    steps: list[StepFrame] = field(default_factory=list)

    def chat(self, *, answer_limit: int = 1 << 20, **roles: str) -> Chat:
        """A chat whose roles are bound as settings would: `writer="openai/m"`."""
        models = {
            role: Model(self.providers[binding.partition("/")[0]], binding.partition("/")[2])
            for role, binding in roles.items()
        }
        return Chat(
            self.upstream,
            self.exchange,
            models,
            http=self.calls.session,
            tell=self.steps.append,
            answer_limit=answer_limit,
        )


async def workplace(stack: AsyncExitStack, url: str) -> Workplace:
    providers = {
        name: Provider(
            name,
            URL(url),
            custom.dialect,
            custom.credential,
            default_headers=custom.default_headers,
            key=Secret("sk-provider"),
        )
        for name, custom in CUSTOMS.items()
    }
    upstream = await stack.enter_async_context(UpstreamClient(list(providers.values()), pool_size=10, live=Metrics({})))
    calls = await stack.enter_async_context(HttpCalls())
    trace = TraceIds(trace_id="a" * 32, span_id="b" * 16)
    exchange = Exchange("req_1", "POST", "/projects/demo/summary", trace, workflow_span_id="c" * 16)
    return Workplace(exchange, upstream, calls, providers)


@dataclass
class Mocked(Workplace):
    journal: Journal = field(default_factory=Journal)


@pytest.fixture
async def mock() -> AsyncIterator[Mocked]:
    app = mock_app(required_key="sk-provider")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(app))
        made = await workplace(stack, str(url))
        yield Mocked(made.exchange, made.upstream, made.calls, made.providers, journal=app[JOURNAL])


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def work(scripted: ScriptedUpstream) -> AsyncIterator[Workplace]:
    async with AsyncExitStack() as stack:
        yield await workplace(stack, scripted.url)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_whole_answer_comes_as_text_whatever_the_api(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model") as chat:
        text = await chat.complete("writer", "Say hello")
    assert text.startswith("mock-model was told: “Say hello”")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_streamed_answer_is_the_same_in_pieces(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model") as chat:
        whole = await chat.complete("writer", "Say hello")
        async with chat.stream("writer", "Say hello") as deltas:
            pieces = [piece async for piece in deltas]
    assert len(pieces) > 10 and "".join(pieces) == whole


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_parameters_have_the_same_names_everywhere(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model") as chat:
        cut = await chat.ask("writer", "Say hello", max_tokens=3, temperature=None)
    assert len(cut.text.split()) == 3
    assert cut.usage is not None and cut.usage.output_tokens == 3
    assert cut.finish_reason is not None and cut.model == "mock-model"
    assert "temperature" not in mock.exchange.calls[0].facts.parameters


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
async def test_embeddings_come_one_for_each_text(mock: Mocked, dialect: str) -> None:
    async with mock.chat(finder=f"{dialect}/mock-embedding") as chat:
        vectors = await chat.embed("finder", ["one", "two", "one"])
    assert len(vectors) == 3 and vectors[0] == vectors[2] != vectors[1]
    assert all(isinstance(number, float) for number in vectors[0])


async def test_a_provider_without_embeddings_is_not_the_clients_fault(mock: Mocked) -> None:
    async with mock.chat(finder="anthropic/mock-model") as chat:
        with pytest.raises(UpstreamRejected, match="no embeddings"):
            await chat.embed("finder", ["one"])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_template_and_messages_arrive_as_roles(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model") as chat:
        from_template = await chat.ask("writer", GREETING.fill(name="Ada"))
        from_messages = await chat.ask("writer", Prompt((("system", "Be kind."), ("user", "Greet Ada."))))
    assert from_template.text == from_messages.text
    assert "“Greet Ada.”" in from_template.text
    assert from_template.usage is not None and from_template.usage.input_tokens == 4  # the system's two words as well


async def test_every_call_is_on_the_record_below_the_workflow_with_its_step_and_template(mock: Mocked) -> None:
    async with mock.chat(points="openai/mock-model", writer="anthropic/mock-model") as chat:
        await chat.complete("points", GREETING.fill(name="Ada"))
        async with chat.stream("writer", "Say hello", step="draft") as deltas:
            assert [delta async for delta in deltas]
    first, second = mock.exchange.calls
    assert (first.step, second.step) == ("points", "draft")
    assert (first.provider, second.provider) == ("openai", "anthropic")
    assert first.parent_span_id == second.parent_span_id == "c" * 16
    assert first.span_id != second.span_id
    assert (first.path, second.path) == ("/v1/chat/completions", "/v1/messages")
    assert first.template is not None and second.template is None
    assert (first.template.name, first.template.version) == ("test.greeting", "3")
    assert first.template.variables == {"name": "Ada"}
    mock.exchange.learn()
    assert [call.facts.streamed for call in mock.exchange.calls] == [False, True]
    for call in mock.exchange.calls:
        assert call.facts.usage is not None and call.facts.usage.output_tokens
        assert call.request_id is not None and call.request_id.startswith("req_mock_")
        assert call.outcome is Outcome.COMPLETE and call.ended is not None


async def test_steps_are_told_as_they_begin_and_end(mock: Mocked) -> None:
    async with mock.chat(points="openai/mock-model") as chat:
        await chat.complete("points", "Say hello")
    started, finished = mock.steps
    assert started == StepFrame("points", "started", "openai/mock-model")
    assert (finished.step, finished.state, finished.model) == ("points", "finished", "openai/mock-model")
    assert finished.seconds is not None and finished.seconds > 0


async def test_a_role_that_is_not_declared_is_a_fault_of_the_workflow(mock: Mocked) -> None:
    async with mock.chat(writer="openai/mock-model") as chat:
        with pytest.raises(KeyError, match="wirter"):
            await chat.complete("wirter", "Say hello")
    assert mock.exchange.calls == []


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_a_refusal_is_told_by_step_and_status_alone(mock: Mocked, dialect: str, status: int) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model+fail={status}") as chat:
        with pytest.raises(UpstreamRejected) as raised:
            await chat.complete("writer", "Say hello")
    assert raised.value.message == f"{dialect} answered step 'writer' with status {status}."
    assert raised.value.status == 502
    (call,) = mock.exchange.calls
    assert (call.status, call.error, call.outcome) == (status, "upstream_rejected", Outcome.UPSTREAM_ERROR)
    assert [step.state for step in mock.steps] == ["started", "failed"]


async def test_a_refusal_passes_on_how_long_to_wait(mock: Mocked) -> None:
    async with mock.chat(writer="openai/mock-model+fail=429+retry-after=7") as chat:
        with pytest.raises(UpstreamRejected) as raised:
            await chat.complete("writer", "Say hello")
    assert raised.value.retry_after == 7


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_is_refused_is_refused_before_its_block(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model+fail=500") as chat:
        with pytest.raises(UpstreamRejected):
            async with chat.stream("writer", "Say hello"):
                pytest.fail("there is nothing to read")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_fails_half_way_gives_what_there_was_and_raises(mock: Mocked, dialect: str) -> None:
    heard: list[str] = []
    async with mock.chat(writer=f"{dialect}/mock-model+error-after=3") as chat:
        with pytest.raises(UpstreamRejected, match="in the middle of step 'writer'"):
            async with chat.stream("writer", "Say hello") as deltas:
                async for piece in deltas:
                    heard.append(piece)
    assert len(heard) == 3
    assert mock.exchange.calls[0].outcome is Outcome.UPSTREAM_ERROR


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_is_cut_is_never_taken_for_whole(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model+cut-after=3") as chat:
        with pytest.raises(UpstreamTruncated):
            async with chat.stream("writer", "Say hello") as deltas:
                async for _ in deltas:
                    pass
    assert mock.exchange.calls[0].outcome is Outcome.UPSTREAM_TRUNCATED


async def test_a_stream_that_has_finished_needs_no_marker(work: Workplace, scripted: ScriptedUpstream) -> None:
    finish = b'{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}'
    scripted.will(begin(), delta("a"), event(finish), end())
    async with work.chat(writer="openai/m") as chat, chat.stream("writer", "Say hello") as deltas:
        assert [piece async for piece in deltas] == ["a", "b"]
    assert work.exchange.calls[0].outcome is Outcome.COMPLETE


async def test_a_stream_without_a_finish_is_cut(work: Workplace, scripted: ScriptedUpstream) -> None:
    scripted.will(begin(), delta("a"), end())
    async with work.chat(writer="openai/m") as chat:
        with pytest.raises(UpstreamTruncated):
            async with chat.stream("writer", "Say hello") as deltas:
                assert [piece async for piece in deltas] == ["a"]


async def test_a_document_that_is_called_a_stream_is_one_delta(work: Workplace, scripted: ScriptedUpstream) -> None:
    document = b'{"choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}]}'
    scripted.will(begin(), chunk(document[:20]), chunk(document[20:]), end())
    async with work.chat(writer="openai/m") as chat, chat.stream("writer", "Say hello") as deltas:
        assert [piece async for piece in deltas] == ["hello"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_document_instead_of_a_stream_is_one_delta(mock: Mocked, dialect: str) -> None:
    async with mock.chat(writer=f"{dialect}/mock-model+json") as chat:
        async with chat.stream("writer", "Say hello") as deltas:
            pieces = [piece async for piece in deltas]
    assert len(pieces) == 1 and pieces[0].startswith("mock-model was told")


async def test_leaving_a_stream_early_closes_its_connection(work: Workplace, scripted: ScriptedUpstream) -> None:
    scripted.will(begin(), delta("a"), until_left())
    async with work.chat(writer="openai/m") as chat:
        async with chat.stream("writer", "Say hello") as deltas:
            assert await anext(deltas) == "a"
        received = await scripted.received()
        await asyncio.wait_for(received.closed.wait(), 5)


async def test_a_cancelled_call_closes_its_connection(work: Workplace, scripted: ScriptedUpstream) -> None:
    scripted.will(until_left())
    async with work.chat(writer="openai/m") as chat:
        call = asyncio.create_task(chat.complete("writer", "Say hello"))
        received = await scripted.received()
        call.cancel()
        await asyncio.wait_for(received.closed.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_events_may_be_cut_anywhere(work: Workplace, scripted: ScriptedUpstream) -> None:
    whole = 'data: {"choices":[{"index":0,"delta":{"content":"déjà vu"}}]}\n\n'.encode()
    scripted.will(begin(), *(chunk(whole[n : n + 1]) for n in range(len(whole))), DONE, end())
    async with work.chat(writer="openai/m") as chat, chat.stream("writer", "Say hello") as deltas:
        assert [piece async for piece in deltas] == ["déjà vu"]


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b'{"choices":7}', b"\xff"])
async def test_an_answer_that_is_none_is_the_providers_failure(
    work: Workplace, scripted: ScriptedUpstream, body: bytes
) -> None:
    scripted.will(answer(body))
    async with work.chat(writer="openai/m") as chat:
        with pytest.raises(UpstreamError) as raised:
            await chat.complete("writer", "Say hello")
    assert "html" not in raised.value.message
    assert work.exchange.calls[0].outcome is Outcome.UPSTREAM_ERROR


async def test_too_few_embeddings_are_the_providers_failure(work: Workplace, scripted: ScriptedUpstream) -> None:
    scripted.will(answer(b'{"data":[{"index":0,"embedding":[0.5]}]}'))
    async with work.chat(finder="openai/m") as chat:
        with pytest.raises(UpstreamError, match="1 embeddings for 2 texts"):
            await chat.embed("finder", ["one", "two"])


async def test_an_answer_is_asked_for_as_it_is_and_nothing_else_is_taken(
    work: Workplace, scripted: ScriptedUpstream
) -> None:
    scripted.will(answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"))
    async with work.chat(writer="openai/m") as chat:
        with pytest.raises(UpstreamError, match="encoded"):
            await chat.complete("writer", "Say hello")
    assert (await scripted.received()).fields.getall("accept-encoding") == ["identity"]


async def test_an_endless_answer_is_cut_short(work: Workplace, scripted: ScriptedUpstream) -> None:
    scripted.will(answer(b'{"choices":[{"message":{"content":"' + b"x" * 5000 + b'"}}]}'))
    scripted.will(begin(), *[delta("x" * 1000)] * 5, until_left())
    async with work.chat(writer="openai/m", answer_limit=4000) as chat:
        with pytest.raises(UpstreamError, match="larger"):
            await chat.complete("writer", "Say hello")
        with pytest.raises(UpstreamError, match="larger"):
            async with chat.stream("writer", "Say hello") as deltas:
                async for _ in deltas:
                    pass


async def test_a_provider_that_breaks_off_is_told_in_our_words(work: Workplace, scripted: ScriptedUpstream) -> None:
    scripted.will(reset())
    async with work.chat(writer="openai/m") as chat:
        with pytest.raises(GatewayError) as raised:
            await chat.complete("writer", "Say hello")
    assert raised.value.status == 502


async def test_calls_side_by_side_answer_in_the_order_they_were_asked(mock: Mocked) -> None:
    async with mock.chat(one="openai/first+delay=0.2", two="anthropic/second", three="gemini/third") as chat:
        texts = await chat.gather(*(chat.complete(role, "Say hello") for role in ("one", "two", "three")))
    assert [text.split()[0] for text in texts] == ["first", "second", "third"]
    assert mock.steps[0].state == mock.steps[1].state == mock.steps[2].state == "started"


async def test_one_that_fails_stops_its_siblings(work: Workplace, scripted: ScriptedUpstream) -> None:
    async with work.chat(slow="openai/m", bad="openai/m") as chat:
        scripted.will(until_left())
        slow = asyncio.create_task(scripted.received(1))

        async def fail() -> str:
            await slow
            raise UpstreamUnreachable("gone")

        with pytest.raises(UpstreamUnreachable):
            await chat.gather(chat.complete("slow", "Say hello"), fail())
        await asyncio.wait_for((await scripted.received()).closed.wait(), 5)


async def test_streams_interleave_as_they_come(mock: Mocked) -> None:
    async with mock.chat(fast="openai/fast", slow="anthropic/slow+pace=0.01") as chat:
        streams = {role: chat.stream(role, "Say hello") for role in ("slow", "fast")}
        async with chat.interleave(streams) as deltas:
            heard = [(role, piece) async for role, piece in deltas]
    said = {name: "".join(piece for role, piece in heard if role == name) for name in ("fast", "slow")}
    assert said["fast"].startswith("fast was told") and said["slow"].startswith("slow was told")
    assert heard[-1][0] == "slow" and {role for role, _ in heard[:-20]} == {"fast", "slow"}


async def test_a_stream_that_fails_among_others_stops_them(mock: Mocked) -> None:
    async with mock.chat(bad="openai/bad+error-after=2", good="gemini/good+stall-after=1") as chat:
        streams = {role: chat.stream(role, "Say hello") for role in ("bad", "good")}
        with pytest.raises(UpstreamRejected):
            async with chat.interleave(streams) as deltas:
                async for _ in deltas:
                    pass
        async with asyncio.timeout(5):
            while mock.journal.open:
                await asyncio.sleep(0.005)


async def test_own_http_calls_stand_between_the_others_on_the_record(mock: Mocked) -> None:
    async with mock.chat(writer="openai/mock-model") as chat:
        session = chat.http
        assert isinstance(session, ClientSession) and chat.http is session
        async with session.get(URL(str(mock.providers["openai"].base_url)) / "health") as response:
            assert response.status == 200
            await response.read()
        await chat.complete("writer", "Say hello")
    assert session.closed
    assert [call.provider for call in mock.exchange.calls] == ["http", "openai"]


async def test_nobody_hears_a_key(mock: Mocked) -> None:
    async with mock.chat(writer="openai/mock-model") as chat:
        await chat.complete("writer", "Say hello")
        assert "sk-provider" not in repr(chat.model("writer")) + str(chat.model("writer"))
    assert "sk-provider" not in repr(mock.exchange)
