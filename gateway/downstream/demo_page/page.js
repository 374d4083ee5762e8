"use strict";

// EventSource can send no key: a POST with the key buys a ticket, and the ticket stands for that one request.

const field = (id) => document.getElementById(id);
let source = null;

const DIALECTS = {
  openai: {
    request: (model, prompt) => ({
      path: "/v1/chat/completions",
      body: { model, messages: [{ role: "user", content: prompt }] },
    }),
    text: (event) => event.choices?.[0]?.delta?.content ?? "",
    ended: () => false, // it says so with [DONE]
  },
  anthropic: {
    request: (model, prompt) => ({
      path: "/v1/messages",
      body: { model, max_tokens: 1024, messages: [{ role: "user", content: prompt }] },
    }),
    text: (event) => event.delta?.text ?? "",
    ended: (event) => event.type === "message_stop",
  },
  gemini: {
    request: (model, prompt) => ({
      path: `/v1beta/models/${encodeURIComponent(model)}:streamGenerateContent`,
      body: { contents: [{ role: "user", parts: [{ text: prompt }] }] },
    }),
    text: (event) => (event.candidates?.[0]?.content?.parts ?? []).map((part) => part.text ?? "").join(""),
    ended: (event) => Boolean(event.candidates?.[0]?.finishReason),
  },
};
const NAMED_EVENTS = ["content_block_delta", "message_stop"];

function say(text) {
  field("state").textContent = text;
}

function finish(text) {
  source?.close();
  source = null;
  field("start").disabled = false;
  field("stop").disabled = true;
  say(text);
}

async function ticketFor(path, body, key) {
  const response = await fetch("/tickets", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-API-Key": key },
    body: JSON.stringify({ path, body }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? answer.error?.message ?? response.statusText);
  return answer.url;
}

function listen(url, dialect) {
  const began = performance.now();
  let events = 0;
  const hear = (message) => {
    events += 1;
    if (message.data === "[DONE]") return finish(`Complete: ${events} events in ${Math.round(performance.now() - began)} ms.`);
    const event = JSON.parse(message.data);
    if (event.error) return finish(`Failed: ${event.error.message}`);
    field("answer").textContent += dialect.text(event);
    if (dialect.ended(event)) return finish(`Complete: ${events} events in ${Math.round(performance.now() - began)} ms.`);
    say(`${events} events, ${Math.round(performance.now() - began)} ms.`);
  };
  source = new EventSource(url);
  source.onmessage = hear;
  for (const name of NAMED_EVENTS) source.addEventListener(name, hear);
  source.onerror = (message) => {
    if (message.data) hear(message); // an event that is called "error"
    else finish(events ? "The stream was broken off." : "The stream could not be opened.");
  };
}

field("ask").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  field("start").disabled = true;
  field("stop").disabled = false;
  field("answer").textContent = "";
  say("Asking for a ticket.");
  const dialect = DIALECTS[field("dialect").value];
  const { path, body } = dialect.request(field("model").value, field("prompt").value);
  try {
    const below = `/provider/${field("provider").value}${path}?stream_mode=sse`;
    listen(await ticketFor(below, body, field("key").value), dialect);
  } catch (error) {
    finish(`Refused: ${error.message}`);
  }
});

field("stop").addEventListener("click", () => finish("Stopped."));
