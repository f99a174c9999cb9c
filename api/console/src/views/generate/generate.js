import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { request } from "../../api.js";
import { LoadError } from "../../components/empty.js";
import { fieldErrors } from "../../components/field.js";
import { Page } from "../../components/page.js";
import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { readExactJob } from "../../receipts/replay.js";
import { useResource } from "../../resource.js";
import { CarriedFields } from "./carried_fields.js";
import { Estimate, useEstimate } from "./estimate.js";
import { FormFields } from "./form.js";
import { addLora, clearForm, fillFromJob, form, toRequest } from "./form_state.js";
import { Results } from "./results.js";
import { addSubmitted } from "./submitted.js";

const CATALOG_MS = 15_000;

/** Generate images: the form, and what becomes of the jobs that it has submitted. */
export function GenerateView({ query }) {
  const models = useResource("v1/models", { everyMs: CATALOG_MS });
  const controlnets = useResource("v1/controlnets");
  const error = models.error ?? controlnets.error;
  useFill(query.from);
  useEffect(() => void (query.lora && addLora(query.lora)), [query.lora]);
  const actions = html`<button type="button" class="button button-small" onClick=${clearForm}>Clear the form</button>`;
  if (!models.data || !controlnets.data) {
    return html`<${Page} title="Generate">${error && html`<${LoadError} error=${error} onRetry=${() => (models.reload(), controlnets.reload())} />`}</>`;
  }
  const catalog = { ...models.data, ...controlnets.data };
  return html`<${Page} title="Generate" actions=${actions} className="generate">
    <div class="generate-columns">
      <${Form} catalog=${catalog} />
      <${Results} />
    </div>
  </>`;
}

function Form({ catalog }) {
  const box = useRef(null);
  const [refusal, setRefusal] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const body = toRequest(form.value, catalog.controlnets);
  const { estimate, error } = useEstimate(body);
  useEffect(() => setRefusal(null), [form.value]); // what was refused is no longer what the form says
  const shown = refusal ?? error;
  const errors = fieldErrors(shown);
  const rest = shown && !isBesideAField(shown, form.value) ? shown.detail : null;

  const submit = async (event) => {
    event?.preventDefault();
    if (isBusy || !form.value.prompt.trim()) return;
    setBusy(true);
    try {
      const { id } = await request("v1/jobs", { method: "POST", json: toRequest(form.value, catalog.controlnets) });
      addSubmitted(id);
      showResults();
    } catch (refused) {
      setRefusal(refused);
    }
    setBusy(false);
  };
  useSubmitShortcut(submit);

  return html`<form class="generate-form" ref=${box} onSubmit=${submit} noValidate>
    <${FormFields} catalog=${catalog} errors=${errors} />
    <${CarriedFields} />
    <div class="submit-bar">
      <button type="submit" class="button button-primary" disabled=${isBusy || !form.value.prompt.trim()}>
        ${isBusy ? "Submitting …" : "Generate"}
      </button>
      <div class="submit-text" aria-live="polite">
        ${rest ? html`<p class="field-error">${rest}</p>` : html`<p class="muted"><${Estimate} estimate=${estimate} /></p>`}
      </div>
    </div>
  </form>`;
}

/** On narrow screens the results are below the form. */
function showResults() {
  const results = document.querySelector(".results");
  if (results && results.getBoundingClientRect().top > innerHeight) results.scrollIntoView({ block: "start" });
}

/** Whether the form shows the error at a field. */
function isBesideAField(error, state) {
  const field = error.field ?? error.errors[0]?.field;
  if (!field) return false;
  const [first, index] = field.split(".");
  return first in state && (index === undefined || index in Object(state[first]));
}

function useSubmitShortcut(submit) {
  const latest = useRef(submit);
  latest.current = submit;
  useLayoutEffect(() => {
    const onKey = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) {
        event.preventDefault();
        latest.current();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

/** Fill the form from the job that the address names. */
function useFill(id) {
  useEffect(() => {
    if (!id) return;
    readExactJob(id).then(fillFromJob, (error) => notify(error.detail, "bad"));
  }, [id]);
}
