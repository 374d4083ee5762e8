"""Load for any gateway: people who ask once, people who read streams, people who leave, people who use a project.

    locust --locustfile tests/load/locustfile.py --host http://127.0.0.1:8080          and open http://127.0.0.1:8089
    locust ... --headless --users 50 --spawn-rate 10 --run-time 60s

What it measures and how to read it: README.md beside this file. A stream is read event by event, with `readline`:
reading by size waits until that much is there, and tells a first byte hundreds of milliseconds too late.
"""

import os
import random
import time
from collections.abc import Iterator
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

PROMPT = "Explain in a paragraph why the sky is blue. Draw lots: {}."
TEXT = "The sky is blue because air scatters short waves of light more than long ones. Draw lots: {}."
END_OF_EVENT = b"\n\n"
TERMINAL = (b"data: [DONE]",)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """What differs between gateways; also in the web page's form."""
    # The page shows what stands here, behind dots; GATEWAY_KEY it never sees.
    parser.add_argument(
        "--key", default="", is_secret=True, help="a gateway key; empty: GATEWAY_KEY of the environment"
    )
    parser.add_argument("--provider", default="mock", help="a provider of the OpenAI dialect")
    parser.add_argument("--model", default="mock-model", help="one of its models")
    parser.add_argument("--project", default="demo", help="a project with a /summary endpoint; empty: none")
    parser.add_argument("--max-tokens", type=int, default=256, help="how long an answer may be")


class GatewayUser(FastHttpUser):
    """Someone with a key. Reports what a request alone does not tell under names of their own."""

    abstract = True
    wait_time = between(0.5, 1.5)
    connection_timeout = 10.0
    network_timeout = 120.0

    def on_start(self) -> None:
        self.client.auth_header = f"Bearer {key(self.environment)}"

    @property
    def options(self) -> Any:
        return self.environment.parsed_options

    @property
    def chat(self) -> str:
        return f"/provider/{self.options.provider}/v1/chat/completions"

    def body(self, *, stream: bool) -> dict[str, Any]:
        """A prompt nobody has asked before: no cache in between answers it."""
        prompt = PROMPT.format(random.random())
        return {
            "model": self.options.model,
            "max_tokens": self.options.max_tokens,
            "messages": [{"role": "user", "content": prompt}],
            "stream": stream,
        }

    def report(self, kind: str, name: str, seconds: float, size: int = 0, error: Exception | None = None) -> None:
        """A figure of its own: `kind` and `name` are the first two columns of the statistics."""
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=seconds * 1000,
            response_length=size,
            exception=error,
            context={},
        )


def whole_events(response: Any) -> Iterator[bytes]:
    """The events of a stream, each as soon as it is there; raises if the stream is cut."""
    while event := response.stream.readline(END_OF_EVENT):
        yield event


class AskingUser(GatewayUser):
    """Asks and waits for the whole answer."""

    weight = 4

    @task
    def ask(self) -> None:
        with self.client.post(self.chat, json=self.body(stream=False), name="ask", catch_response=True) as response:
            if response.status_code == 200 and "choices" not in response.json():
                response.failure("200, and no completion in it")


class StreamingUser(GatewayUser):
    """Reads a stream as it is written, and says how it was: first byte, time between events, whole."""

    weight = 4

    @task
    def read(self) -> None:
        began = time.perf_counter()
        with self.client.post(
            self.chat, json=self.body(stream=True), name="stream", stream=True, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}")
                return
            try:
                size, last = self.measured(response, began)
            except Exception as error:  # a stream that is cut raises whatever the parser stumbles over
                response.failure(f"cut: {type(error).__name__}")
                self.report("STREAM", "whole", time.perf_counter() - began, error=error)
                return
            if not last.startswith(TERMINAL):
                response.failure("ended without its last event")
                return
            response.success()
            self.report("STREAM", "whole", time.perf_counter() - began, size)

    def measured(self, response: Any, began: float) -> tuple[int, bytes]:
        """Read it all; its size and its last event."""
        size, last, at = 0, b"", 0.0
        for event in whole_events(response):
            now = time.perf_counter()
            if not at:
                self.report("STREAM", "first event", now - began, len(event))
            else:
                self.report("STREAM", "between events", now - at, len(event))
            size, last, at = size + len(event), event, now
        return size, last


class LeavingUser(GatewayUser):
    """Leaves in the middle of a stream. What that costs is to be seen at the gateway, not here."""

    weight = 1

    @task
    def leave(self) -> None:
        with self.client.post(
            self.chat, json=self.body(stream=True), name="leave", stream=True, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}")
                return
            stream = whole_events(response)
            for _ in range(random.randint(1, 5)):
                next(stream, None)
            response.success()
            response.stream.release()  # which closes the connection, since there is more to come


class ProjectUser(GatewayUser):
    """Uses a project, which asks several models for one answer; every second time as it is written."""

    weight = 2

    def on_start(self) -> None:
        super().on_start()
        self.streams = False

    @task
    def summarise(self) -> None:
        if not self.options.project:
            return
        self.streams = not self.streams
        mode = "text" if self.streams else "json"
        with self.client.post(
            f"/projects/{self.options.project}/summary?stream_mode={mode}",
            json={"text": TEXT.format(random.random())},
            name=f"project, {mode}",
            catch_response=True,
        ) as response:
            if response.status_code == 200 and not response.text:
                response.failure("200, and nothing in it")


def key(environment: Environment) -> str:
    """The gateway key, wherever it was given."""
    return str(environment.parsed_options.key or os.environ.get("GATEWAY_KEY", ""))


@events.test_start.add_listener
def say_what_is_missing(environment: Environment, **_: Any) -> None:
    """Without a key every request would be a 401."""
    if not key(environment):
        print("locust: no key: --key or GATEWAY_KEY; everything will be refused", flush=True)


@events.quitting.add_listener
def fail_visibly(environment: Environment, **_: Any) -> None:
    """Headless, the exit code says whether anything failed."""
    environment.process_exit_code = 1 if environment.stats.total.num_failures else 0
