"""One question to two models at once; both are heard as they speak, and a third says who did better."""

from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.projects import Chat, Delta, Endpoint, Operation, PromptTemplate

CANDIDATES = ("candidate_1", "candidate_2")
ANSWER = PromptTemplate("demo.answer", "{question}", version="1")
JUDGE = PromptTemplate(
    "demo.judge",
    "Two models were asked: {question}\n\nThe first said: {first}\n\nThe second said: {second}\n\n"
    "Which answer is better, and why?",
    version="1",
    system="You compare answers. Be fair and brief.",
)


class CompareRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: Annotated[str, Meta(description="What both models are asked.", min_length=1, max_length=20_000)]
    max_tokens: Annotated[int, Meta(description="Length of each answer.", ge=1, le=4096)] = 256


class CandidateAnswer(msgspec.Struct, frozen=True):
    model: Annotated[str, Meta(description="Provider and model.")]
    answer: Annotated[str, Meta(description="What it said.")]


class Comparison(msgspec.Struct, frozen=True):
    answers: Annotated[list[CandidateAnswer], Meta(description="In the order of the candidates.")]
    verdict: Annotated[str, Meta(description="What the judge said.")]


async def compare(chat: Chat, asked: CompareRequest) -> AsyncGenerator[str | Delta | Comparison, None]:
    prompt = ANSWER.fill(question=asked.question)
    said = dict.fromkeys(CANDIDATES, "")
    streams = {role: chat.stream(role, prompt, max_tokens=asked.max_tokens) for role in CANDIDATES}
    async with chat.interleave(streams) as deltas:
        async for role, delta in deltas:
            said[role] += delta
            yield Delta(delta, source=role)

    verdict = ""
    first, second = said.values()
    judging = JUDGE.fill(question=asked.question, first=first, second=second)
    async with chat.stream("judge", judging, max_tokens=asked.max_tokens) as deltas:
        async for delta in deltas:
            verdict += delta
            yield delta
    answers = [CandidateAnswer(str(chat.model(role)), answer) for role, answer in said.items()]
    yield Comparison(answers, verdict)


COMPARE = Endpoint(
    Operation(
        "POST",
        "/compare",
        "Compare two models",
        description="Two models answer the same question at once, and a third one judges. Their words come with a "
        "`source`, the judge's without; `text` mode has the judge's alone.",
        request=CompareRequest,
        response=Comparison,
        streams=True,
        examples={"A question of taste": CompareRequest("Tea or coffee?")},
        reply=Comparison(
            [CandidateAnswer("openai/gpt-4o-mini", "Tea."), CandidateAnswer("anthropic/claude-haiku-4-5", "Coffee.")],
            "Both are right.",
        ),
    ),
    compare,
)
