/** The list of sources, and opening the one that is chosen. */

import { byId, make } from "./dom.js";
import { canShareScreen, listCameras, openCamera, openFile, openScreen } from "./source.js";
import { recall, remember } from "./store.js";

/** @typedef {import("./source.js").Source} Source */

/** Events: "choose" (the user picked another one), "file" (detail: a Source, from a file that the user picked). */
export class Picker extends EventTarget {
  #select = /** @type {HTMLSelectElement} */ (byId("source"));
  #file = /** @type {HTMLInputElement} */ (byId("file"));

  constructor() {
    super();
    this.#list([]);
    this.key = recall("source", "camera");
    this.#select.addEventListener("change", () => this.dispatchEvent(new Event("choose")));
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = ""; // the same file may be chosen again
      if (file) this.dispatchEvent(new CustomEvent("file", { detail: openFile(file) }));
    });
    this.#file.addEventListener("cancel", () => this.refresh());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.refresh());
    this.refresh();
  }

  /** What is chosen: "camera", "camera:<device id>", "screen" or "file". */
  get key() {
    return this.#select.value;
  }

  set key(key) {
    const there = [...this.#select.options].some((option) => option.value === key);
    this.#select.value = there ? key : "camera";
    if (!this.#select.value) this.#select.selectedIndex = 0;
  }

  /** What the button that starts it says. */
  get invitation() {
    if (this.key === "screen") return "Share screen";
    return this.key === "file" ? "Choose a video file" : "Start camera";
  }

  /** What was chosen stays chosen, also at the next visit. */
  keep() {
    remember("source", this.key);
  }

  /** Reads the cameras again: their names are told once one was allowed. */
  async refresh() {
    const key = recall("source", this.key);
    this.#list(await listCameras());
    this.key = key;
  }

  /**
   * Opens a source.
   *
   * @param {string} key
   * @returns {Promise<Source | null>} null: a file is being chosen, which comes as an event
   * @throws {import("./source.js").SourceError}
   */
  async open(key) {
    if (key === "file") {
      this.#file.click();
      return null;
    }
    if (key === "screen") return openScreen();
    return openCamera(key.split(":")[1]);
  }

  /**
   * A source is in use: it stays chosen.
   *
   * @param {Source} source
   */
  async settle(source) {
    remember("source", source.key);
    await this.refresh();
  }

  /** @param {{key: string, name: string}[]} cameras */
  #list(cameras) {
    const all = cameras.length ? [...cameras] : [{ key: "camera", name: "Camera" }];
    if (canShareScreen()) all.push({ key: "screen", name: "Share screen" });
    all.push({ key: "file", name: "Video file" });
    this.#select.replaceChildren(...all.map(({ key, name }) => make("option", { value: key }, name)));
  }
}
