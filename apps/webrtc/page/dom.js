/** Small helpers around the document. */

/**
 * The element of that id, which the page is known to have.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return /** @type {E} */ (found);
}

/**
 * Makes an element.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes] true: present; null, undefined and
 *   false: absent
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * Writes text only where it changes: a live region announces every write.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Says what the page is doing.
 *
 * @param {string} text
 * @param {string} [tail] what changes every second, and is not read aloud
 */
export function status(text, tail = "") {
  write(byId("status-text"), text);
  write(byId("status-tail"), tail);
}

let toastTimer = 0;

/**
 * Shows a short message for a moment.
 *
 * @param {string} text
 * @param {string} [detail] something to read or copy, such as an address
 */
export function toast(text, detail = "") {
  const box = byId("toast");
  box.replaceChildren(make("span", {}, text), ...(detail ? [make("code", {}, detail)] : []));
  box.dataset.shown = "true";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => delete box.dataset.shown, detail ? 10_000 : 5000);
}

/**
 * Copies text; also where the clipboard interface is hidden (pages without HTTPS).
 *
 * @param {string} text
 * @returns {Promise<boolean>} whether it was copied
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

/**
 * Hands the user a file.
 *
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  // The browser reads it after the click has returned.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
