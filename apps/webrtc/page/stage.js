/** The stage: which pictures are seen and how, the split slider, and full screen. */

import { byId } from "./dom.js";
import { recall, remember } from "./store.js";

/** @typedef {"output" | "side" | "split" | "input"} View */
/** @type {View[]} */
const VIEWS = ["output", "side", "split", "input"];
const MIDDLE = 50;

export class Stage {
  #stage = byId("stage");
  #split = /** @type {HTMLInputElement} */ (byId("split"));
  #buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-view-button]"));

  constructor() {
    for (const button of this.#buttons) {
      button.addEventListener("click", () => (this.view = /** @type {View} */ (button.dataset.viewButton)));
    }
    this.view = recall("view", "output");
    this.#split.addEventListener("input", () => this.#cut(this.#split.valueAsNumber));
    this.#cut(MIDDLE);
    this.#dragging();
    for (const name of ["fullscreenchange", "webkitfullscreenchange"]) {
      document.addEventListener(name, () => this.#onFullScreen());
    }
  }

  /** @returns {View} */
  get view() {
    return /** @type {View} */ (this.#stage.dataset.view);
  }

  set view(view) {
    const wanted = VIEWS.includes(view) ? view : "output";
    this.#stage.dataset.view = wanted;
    for (const button of this.#buttons) button.setAttribute("aria-pressed", String(button.dataset.viewButton === wanted));
    this.#split.disabled = wanted !== "split";
    remember("view", wanted);
  }

  /** The next way to look at it. */
  turn() {
    this.view = VIEWS[(VIEWS.indexOf(this.view) + 1) % VIEWS.length];
  }

  /** "idle", "waiting" for the first picture, or "live". @param {string} state */
  set state(state) {
    this.#stage.dataset.state = state;
  }

  /**
   * Takes the shape of the stylised picture, so that both sides show the same part.
   *
   * @param {number} width
   * @param {number} height
   */
  shape(width, height) {
    if (width && height) this.#stage.style.setProperty("--ratio", String(width / height));
  }

  /** Into full screen and out of it; an iPhone gives it to a video only. */
  async fullScreen() {
    const root = /** @type {any} */ (this.#stage);
    const page = /** @type {any} */ (document);
    if (page.fullscreenElement ?? page.webkitFullscreenElement) await (page.exitFullscreen ?? page.webkitExitFullscreen).call(page);
    else if (root.requestFullscreen ?? root.webkitRequestFullscreen) await (root.requestFullscreen ?? root.webkitRequestFullscreen).call(root);
    else /** @type {any} */ (byId("output")).webkitEnterFullscreen?.();
  }

  #onFullScreen() {
    const page = /** @type {any} */ (document);
    const on = Boolean(page.fullscreenElement ?? page.webkitFullscreenElement);
    byId("fullscreen").setAttribute("aria-pressed", String(on));
    // Only what is in the stage is seen then; what the page has to say goes along.
    (on ? this.#stage : document.body).append(byId("toast"));
  }

  /** @param {number} percent from the left */
  #cut(percent) {
    this.#split.value = String(percent);
    this.#stage.style.setProperty("--split", `${percent}%`);
  }

  /** The whole picture is the handle: a thumb on a phone does not meet a line. The slider itself serves the keyboard. */
  #dragging() {
    const panes = byId("panes");
    const follow = (/** @type {PointerEvent} */ event) => {
      const { left, width } = panes.getBoundingClientRect();
      this.#cut(Math.min(100, Math.max(0, ((event.clientX - left) / width) * 100)));
    };
    panes.addEventListener("pointerdown", (event) => {
      if (this.view !== "split" || event.button !== 0) return;
      panes.setPointerCapture(event.pointerId);
      follow(event);
      panes.addEventListener("pointermove", follow);
    });
    const end = () => panes.removeEventListener("pointermove", follow);
    panes.addEventListener("pointerup", end);
    panes.addEventListener("pointercancel", end);
  }
}
