/** One control of the settings form: label, input, the value that the server confirmed, and its objection if it has one. */

import { make, write } from "./dom.js";

/** @typedef {import("./settings.js").Settings} Settings */

/**
 * @typedef {object} Spec
 * @property {string} id of the input
 * @property {string} label
 * @property {string[]} names the settings it stands for
 * @property {string | ((wanted: Record<string, any>) => string)} [hint]
 */

/** @typedef {{element: HTMLElement, sync: () => void}} Field sync shows the settings as they are now */

const QUIET_MS = 250;

/**
 * The part that all controls have in common.
 *
 * @param {Spec} spec
 * @param {Settings} settings
 * @param {HTMLElement} input
 * @param {{show: () => void, value?: (from: Record<string, any>) => string, body?: HTMLElement}} parts
 *   show puts the wanted value into the input; value is the confirmed one in words; body is the input with what surrounds it
 * @returns {Field}
 */
function field(spec, settings, input, { show, value, body = input }) {
  const { id, label, names } = spec;
  input.id = id;
  const output = make("output", { class: "field-value", for: id, id: `${id}-value`, "aria-live": "off" });
  const hint = make("p", { class: "field-hint", id: `${id}-hint` });
  const error = make("p", { class: "field-error", id: `${id}-error`, "aria-live": "polite" });
  input.setAttribute("aria-describedby", `${hint.id} ${error.id}`);
  const head = make("div", { class: "field-head" }, make("label", { for: id }, label), output);
  const element = make("div", { class: "field", "data-setting": names[0] }, head, body, hint, error);
  const words = { confirmed: "in use", pending: "sending", refused: "refused", offline: "" };

  const sync = () => {
    const all = names.map((name) => settings.standing(name));
    const standing = all.find((one) => one === "refused") ?? all.find((one) => one === "pending") ?? all[0];
    element.dataset.standing = standing;
    input.setAttribute("aria-invalid", String(standing === "refused"));
    write(output, value ? value(settings.confirmed ?? settings.wanted) : words[standing]);
    write(hint, typeof spec.hint === "function" ? spec.hint(settings.wanted) : (spec.hint ?? ""));
    write(error, names.map((name) => settings.errors[name]).find(Boolean) ?? "");
    show();
  };
  return { element, sync };
}

/**
 * Words. Typing is sent when it pauses, and at once with Enter.
 *
 * @param {Spec & {placeholder?: string, rows?: number, list?: string}} spec
 * @param {Settings} settings
 * @returns {Field}
 */
export function textField(spec, settings) {
  const attributes = { placeholder: spec.placeholder, spellcheck: "false", autocomplete: "off", maxlength: 2000 };
  const input = spec.rows
    ? make("textarea", { ...attributes, rows: spec.rows, enterkeyhint: "send" })
    : make("input", { ...attributes, type: "text", list: spec.list, enterkeyhint: "send" });
  const [name] = spec.names;
  input.addEventListener("input", () => settings.change({ [name]: input.value }, QUIET_MS));
  input.addEventListener("change", () => settings.flush());
  input.addEventListener("keydown", (/** @type {any} */ event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    settings.flush();
  });
  const show = () => {
    // The server's spelling must not move the cursor of who is typing, and what it refused is left to be corrected.
    const leave = document.activeElement === input || settings.errors[name];
    if (!leave && input.value !== settings.wanted[name]) input.value = settings.wanted[name];
  };
  input.addEventListener("blur", show);
  return field(spec, settings, input, { show });
}

/**
 * A number on a scale.
 *
 * @param {Spec & {min: number, max: number, step: number, digits: number}} spec
 * @param {Settings} settings
 * @returns {Field}
 */
export function rangeField(spec, settings) {
  const [name] = spec.names;
  const input = make("input", { type: "range", min: spec.min, max: spec.max, step: spec.step });
  const show = () => {
    input.value = settings.wanted[name];
    fill(input);
  };
  input.addEventListener("input", () => {
    fill(input);
    settings.change({ [name]: input.valueAsNumber, ...sideEffect(name, settings) });
  });
  return field(spec, settings, input, { show, value: (from) => Number(from[name]).toFixed(spec.digits) });
}

/** Raw timesteps take the place of strength and steps: who moves one of those wants them to count again. */
function sideEffect(/** @type {string} */ name, /** @type {Settings} */ settings) {
  return ["strength", "steps"].includes(name) && settings.wanted.timesteps ? { timesteps: null } : {};
}

/** The coloured part of a slider, which Chromium and Safari do not draw by themselves. @param {HTMLInputElement} input */
function fill(input) {
  const share = (input.valueAsNumber - Number(input.min)) / (Number(input.max) - Number(input.min));
  input.style.setProperty("--fill", `${Math.min(1, Math.max(0, share)) * 100}%`);
}

/**
 * One of several.
 *
 * @param {Spec & {options: [string, string][], read: (from: Record<string, any>) => string,
 *   write: (value: string) => Record<string, unknown>, name?: (value: string) => string}} spec options: value and words;
 *   read and write turn settings into an option's value and back; name puts a value into words that is not among the options
 * @param {Settings} settings
 * @returns {Field}
 */
export function selectField(spec, settings) {
  const input = make("select", {}, ...spec.options.map(([value, text]) => make("option", { value }, text)));
  const show = () => {
    const value = spec.read(settings.wanted);
    if (![...input.options].some((option) => option.value === value)) {
      input.append(make("option", { value }, spec.name?.(value) ?? value));
    }
    input.value = value;
  };
  input.addEventListener("change", () => settings.change(spec.write(input.value)));
  return field(spec, settings, input, { show });
}

/**
 * A whole number, and a button that makes one up.
 *
 * @param {Spec & {min: number, max: number, dice?: boolean}} spec
 * @param {Settings} settings
 * @returns {Field}
 */
export function numberField(spec, settings) {
  const [name] = spec.names;
  const input = make("input", { type: "number", min: spec.min, max: spec.max, step: 1, inputmode: "numeric" });
  input.addEventListener("input", () => {
    // Half a number is not sent; the browser marks it.
    if (input.value && input.checkValidity()) settings.change({ [name]: input.valueAsNumber }, QUIET_MS);
  });
  const show = () => {
    if (document.activeElement !== input) input.value = settings.wanted[name];
  };
  input.addEventListener("blur", show);
  const body = make("div", { class: "field-row" }, input);
  if (spec.dice) {
    const dice = make("button", { type: "button", class: "button", id: "dice", "aria-label": "Another seed by chance" }, "⚄");
    dice.addEventListener("click", () => {
      settings.change({ [name]: Math.floor(Math.random() * 2 ** 31) });
      input.value = settings.wanted[name];
    });
    body.append(dice);
  }
  return field(spec, settings, input, { show, body, value: (from) => String(from[name]) });
}

/**
 * The similarity filter: a switch, and how alike is alike.
 *
 * @param {Spec & {thresholdId: string, usual: number}} spec
 * @param {Settings} settings
 * @returns {Field}
 */
export function similarityField(spec, settings) {
  const [name] = spec.names;
  const input = make("input", { type: "checkbox", role: "switch", class: "switch" });
  const scale = make("input", {
    type: "range", id: spec.thresholdId, min: 0.5, max: 0.995, step: 0.005, "aria-label": "How alike is alike",
  });
  let last = spec.usual;
  const show = () => {
    const value = settings.wanted[name];
    if (typeof value === "number") last = value;
    input.checked = value !== null;
    scale.disabled = value === null;
    scale.value = String(last);
    fill(scale);
  };
  input.addEventListener("change", () => settings.change({ [name]: input.checked ? last : null }));
  scale.addEventListener("input", () => {
    fill(scale);
    settings.change({ [name]: scale.valueAsNumber });
  });
  const body = make("div", { class: "field-row" }, input, scale);
  const value = (/** @type {any} */ from) => (from[name] === null ? "off" : Number(from[name]).toFixed(3));
  return field(spec, settings, input, { show, body, value });
}
