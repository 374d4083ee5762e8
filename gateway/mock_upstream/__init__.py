"""A mock upstream: one server that behaves like OpenAI, Anthropic and Gemini, well enough for their own SDKs.

    python -m gateway.mock_upstream --port 8081                     # by itself
    async with serving(mock_app(DEMO)) as url: ...                  # embedded, on a free port, at a pace to watch
    async with serving(mock_app()) as url: ...                      # in a test, as fast as it can

What it says is derived from the request alone (see `answers.py`), tokens are words, and any credential will do unless
`mock_app(required_key=...)` wants a certain one. OpenAI's base URL is `<url>/v1`, the other two's `<url>`.

    POST /v1/chat/completions  /v1/completions  /v1/responses  /v1/embeddings  /v1/audio/transcriptions     OpenAI
    GET  /v1/models  /v1/models/{id}  /v1/files/bytes-{size}/content                                        OpenAI
    POST /v1/files  /v1/batches       GET and DELETE of what was stored                                     OpenAI
    POST /v1/messages  /v1/messages/count_tokens                                                            Anthropic
    POST /v1/messages/batches         GET and DELETE of it, GET .../results                                 Anthropic
    GET  /v1/models  /v1/models/{id}                               (with an anthropic-version field)        Anthropic
    POST /v1/models/{model}:generateContent  ...:streamGenerateContent  ...:countTokens  ...:embedContent
         ...:batchEmbedContents  /v1/interactions                  (also below /v1beta)                     Gemini
    GET  /v1/interactions/{id}                                     (also below /v1beta)                     Gemini
    POST /upload/v1beta/files         GET and DELETE of /v1beta/files/{id}                                  Gemini
    GET  /v1beta/models  /v1beta/models/{model}                    (below /v1 with an x-goog-api-* field)   Gemini

A request scripts its own answer, by header field or behind the model's name, whichever its client can reach:

    curl -H 'x-mock-fail: 503' ...                   client.chat.completions.create(model="mock-model+fail=503", ...)
    curl -H 'x-mock-cut-after: 3' ...                client.messages.create(model="claude-mock+pace=0.1+cut-after=3")

    delay=S         seconds before the head                 cut-after=N     break the connection off after N deltas
    pace=S          seconds between two deltas              stall-after=N   say nothing more after N deltas
    words=N         so many words, thus so many deltas      error-after=N   an error event after N deltas, then the end
    width=N         each word filled up to N characters     unmarked        end without the terminal marker
    split=N         the stream in pieces of N bytes         json            a document although a stream was asked for
    fail=STATUS     that error, 400 to 599                  times=K, key=X  only the first K attempts with key X fail
    retry-after=S   told with it

In a document that is not streamed, `cut-after` and `stall-after` stop in its middle, whatever N.

And it can be asked what it saw (of the last 500 requests; credentials are in there in the clear, so never give it one
that is worth anything):

    GET /mock/requests      method, raw target, field list in order and repeated, length and digest of the body,
                            arrived and ended (Unix time), status, bytes sent, and whether the client left early
    DELETE /mock/requests   forgets them
    GET /mock/open          how many requests are being answered now
    ANY /mock/echo/...      answers with the request itself; its body is read as it streams in, and not kept
    GET /health
"""

from gateway.mock_upstream.app import mock_app
from gateway.mock_upstream.behaviour import DEMO, Behaviour
from gateway.mock_upstream.journal import JOURNAL, Arrival, Journal
from gateway.mock_upstream.serving import serving

__all__ = ["DEMO", "JOURNAL", "Arrival", "Behaviour", "Journal", "mock_app", "serving"]
