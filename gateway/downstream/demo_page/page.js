"use strict";

// EventSource can send no key: a POST with the key buys a ticket, and the ticket stands for that one request.

const field = (id) => document.getElementById(id);
let source = null;
let listed = { key: null, providers: [] }; // what the key may use

const DIALECTS = {
  openai: {
    request: (model, prompt) => ({
      path: "/chat/completions",
      body: { model, messages: [{ role: "user", content: prompt }] },
    }),
    text: (event) => event.choices?.[0]?.delta?.content ?? "",
    ended: () => false, // [DONE] follows, or the end of the response
    finished: (event) => Boolean(event.choices?.[0]?.finish_reason),
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

async function answerOf(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? response.statusText);
  return answer;
}

function options(names) {
  return names.map((name) => new Option(name, name));
}

function chosenProvider() {
  return listed.providers.find((provider) => provider.name === field("provider").value);
}

function chooseProvider() {
  const chosen = chosenProvider();
  field("model").value = chosen?.models[0] ?? "";
  field("models").replaceChildren(...options(chosen?.models ?? []));
}

async function listProviders() {
  const key = field("key").value;
  if (key === listed.key) return;
  const { providers } = key ? await answerOf(await fetch("/provider", { headers: { "X-API-Key": key } })) : { providers: [] };
  if (key !== field("key").value) return; // it was changed meanwhile
  listed = { key, providers };
  const nothing = new Option(key ? "This key may use none" : "Enter your key first", "");
  field("provider").replaceChildren(...(providers.length ? options(providers.map((provider) => provider.name)) : [nothing]));
  chooseProvider();
}

async function ticketFor(path, body, key) {
  const response = await fetch("/tickets", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-API-Key": key },
    body: JSON.stringify({ path, body }),
  });
  return (await answerOf(response)).url;
}

function listen(url, dialect) {
  const began = performance.now();
  let events = 0;
  let finished = false;
  const complete = () => finish(`Complete: ${events} events in ${Math.round(performance.now() - began)} ms.`);
  const hear = (message) => {
    events += 1;
    if (message.data === "[DONE]") return complete();
    const event = JSON.parse(message.data);
    if (event.error) return finish(`Failed: ${event.error.message}`);
    field("answer").textContent += dialect.text(event);
    if (dialect.ended(event)) return complete();
    finished ||= dialect.finished?.(event);
    say(`${events} events, ${Math.round(performance.now() - began)} ms.`);
  };
  source = new EventSource(url);
  source.onmessage = hear;
  for (const name of NAMED_EVENTS) source.addEventListener(name, hear);
  source.onerror = (message) => {
    if (message.data) hear(message); // an event that is called "error"
    else if (finished) complete();
    else finish(events ? "The stream was broken off." : "The stream could not be opened.");
  };
}

field("ask").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  field("start").disabled = true;
  field("stop").disabled = false;
  field("answer").textContent = "";
  say("Asking for a ticket.");
  try {
    await listProviders();
    if (!field("ask").reportValidity()) return finish("Something is missing.");
    const provider = chosenProvider();
    const dialect = DIALECTS[provider.dialect];
    const { path, body } = dialect.request(field("model").value, field("prompt").value);
    const target = `${new URL(provider.base_url, location).pathname}${path}?stream_mode=sse`;
    listen(await ticketFor(target, body, field("key").value), dialect);
  } catch (error) {
    finish(`Refused: ${error.message}`);
  }
});

field("provider").addEventListener("change", chooseProvider);
field("key").addEventListener("change", () => listProviders().then(() => say("Ready."), (error) => say(`Refused: ${error.message}`)));
field("stop").addEventListener("click", () => finish("Stopped."));
