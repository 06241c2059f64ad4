/** Keyboard shortcuts. They keep out of the way of typing, and of the keys that a focused control has for itself. */

import { byId } from "./dom.js";

const OWN_KEYS = {
  button: [" "],
  a: [],
  summary: [" "],
  range: ["arrowup", "arrowdown", "arrowleft", "arrowright"],
  checkbox: [" "],
};

/**
 * @param {Record<string, () => void>} actions by key, lower case: " ", "f", "arrowup", "?" ...
 */
export function listen(actions) {
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) return;
    const key = event.key.toLowerCase();
    const action = actions[key];
    if (!action || takenBy(event.target, key)) return;
    // A key held down repeats: good for the strength, not for starting and stopping.
    if (event.repeat && !key.startsWith("arrow")) return;
    event.preventDefault();
    action();
  });
}

/** @param {EventTarget | null} target @param {string} key */
function takenBy(target, key) {
  if (!(target instanceof HTMLElement)) return false;
  const tag = target.tagName.toLowerCase();
  if (target.isContentEditable || tag === "textarea" || tag === "select") return true;
  const kind = tag === "input" ? /** @type {HTMLInputElement} */ (target).type : tag;
  if (tag === "input" && !(kind in OWN_KEYS)) return true;
  return (OWN_KEYS[/** @type {keyof typeof OWN_KEYS} */ (kind)] ?? /** @type {string[]} */ ([])).some((own) => own === key);
}
