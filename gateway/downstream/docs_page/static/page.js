// Shows /openapi.json in Swagger UI. Where the document asks for a key, the reader is asked for it first; the key is
// kept in this page alone, and is what "Try it out" sends.
"use strict";

const DOCUMENT = "/openapi.json";
const ask = document.getElementById("ask");
const state = document.getElementById("state");

async function open(key) {
  const response = await fetch(DOCUMENT, { headers: key ? { "X-API-Key": key } : {}, cache: "no-store" });
  if (response.ok) {
    show(await response.json(), key);
    return;
  }
  ask.hidden = false;
  state.textContent = key ? (await response.json()).detail : "";
}

function show(spec, key) {
  ask.remove();
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    deepLinking: true,
    displayRequestDuration: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    validatorUrl: null,
    onComplete: () => {
      if (key) ui.preauthorizeApiKey("ApiKey", key);
      document.body.dataset.ready = "yes";
    },
  });
}

ask.addEventListener("submit", (event) => {
  event.preventDefault();
  open(document.getElementById("key").value.trim()).catch(report);
});

function report(error) {
  ask.hidden = false;
  state.textContent = `The documentation could not be loaded: ${error.message}`;
}

open("").catch(report);
