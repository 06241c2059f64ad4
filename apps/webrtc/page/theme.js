/** Light, dark, or as the system has it. Loaded first of all, so that nothing flashes in the other colours. */

import { recall, remember } from "./store.js";

const THEMES = ["auto", "light", "dark"];
const NAMES = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

/** @typedef {keyof typeof NAMES} Theme */

/** @returns {Theme} */
function saved() {
  const theme = recall("theme", "auto");
  return THEMES.includes(theme) ? /** @type {Theme} */ (theme) : "auto";
}

/** @param {Theme} theme */
function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

apply(saved());

/**
 * Makes a button go through the themes.
 *
 * @param {HTMLElement} button
 */
export function themeButton(button) {
  const show = () => {
    button.textContent = SIGNS[saved()];
    button.setAttribute("aria-label", NAMES[saved()]);
    button.title = NAMES[saved()];
  };
  button.addEventListener("click", () => {
    const next = /** @type {Theme} */ (THEMES[(THEMES.indexOf(saved()) + 1) % THEMES.length]);
    remember("theme", next);
    apply(next);
    show();
  });
  show();
}
