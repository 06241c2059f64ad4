/** The buttons under the video that do something with the stylised picture: record, snapshot, OBS link, figures. */

import { byId, copy, toast } from "./dom.js";
import { fileName, Recorder, snapshot } from "./recorder.js";
import { recall, remember } from "./store.js";

/** @typedef {import("./overlay.js").Overlay} Overlay */

const TICK_MS = 500;

export class Toolbar {
  #recorder = new Recorder();
  #output = /** @type {HTMLVideoElement} */ (byId("output"));
  #words;
  #link;
  #overlay;
  /** The link that was given away last. */
  #given = "";

  /**
   * @param {Overlay} overlay
   * @param {{words: () => string, link: () => string, figures: () => import("./overlay.js").Figures}} sources words name
   *   a file; link is the player's address, empty without a session
   */
  constructor(overlay, { words, link, figures }) {
    this.#overlay = overlay;
    this.#words = words;
    this.#link = link;
    byId("record").addEventListener("click", () => this.record());
    byId("snapshot").addEventListener("click", () => this.snapshot());
    byId("obs-link").addEventListener("click", () => this.copyLink());
    byId("overlay-toggle").addEventListener("click", () => this.toggleOverlay());
    this.#recorder.addEventListener("change", (event) => {
      const why = /** @type {CustomEvent} */ (event).detail;
      if (why) toast(`${why}; what was recorded until then was saved.`);
      this.#showRecording();
    });
    this.#showOverlay(recall("overlay", true));
    this.live = false;
    setInterval(() => {
      if (overlay.shown) overlay.update(figures());
      if (this.#recorder.recording) this.#showRecording();
    }, TICK_MS);
  }

  /** Whether there is a stylised picture to do something with. @param {boolean} on */
  set live(on) {
    for (const id of ["snapshot", "obs-link"]) /** @type {HTMLButtonElement} */ (byId(id)).disabled = !on;
    /** @type {HTMLButtonElement} */ (byId("record")).disabled = !on || !Recorder.possible;
    if (!on && this.#recorder.recording) {
      this.#recorder.stop();
      toast("The picture ended; what was recorded until then was saved.");
    }
    if (on && this.#given && this.#given !== this.#link()) {
      this.#given = "";
      toast("This is a new session with a new address: copy the OBS link again.");
    }
  }

  /** Whether a recording is going on. */
  get recording() {
    return this.#recorder.recording;
  }

  /** Begins a recording, or ends and saves it. */
  record() {
    const stream = this.#output.srcObject;
    if (this.#recorder.recording) this.#recorder.stop();
    else if (!Recorder.possible) toast("This browser cannot record; take a snapshot instead.");
    else if (stream instanceof MediaStream) {
      try {
        this.#recorder.start(stream, fileName(this.#words()));
      } catch (error) {
        console.warn("streamdiff:", error);
        toast("This browser cannot record this picture.");
      }
    }
  }

  /** Saves the picture. */
  async snapshot() {
    toast((await snapshot(this.#output, fileName(this.#words()))) ? "The picture was saved." : "There is no picture yet.");
  }

  /** Gives the address of the bare player. */
  async copyLink() {
    const link = this.#link();
    if (!link) return;
    this.#given = link;
    toast((await copy(link)) ? "Copied. Add it in OBS as a browser source:" : "Add this address in OBS as a browser source:", link);
  }

  /** Shows the figures, or hides them. */
  toggleOverlay(on = !this.#overlay.shown) {
    remember("overlay", on);
    this.#showOverlay(on);
  }

  /** @param {boolean} on */
  #showOverlay(on) {
    this.#overlay.shown = on;
    byId("overlay-toggle").setAttribute("aria-pressed", String(on));
  }

  #showRecording() {
    const { recording, seconds } = this.#recorder;
    const whole = Math.floor(seconds);
    byId("record").setAttribute("aria-pressed", String(recording));
    byId("record-text").textContent = recording ? `Stop ${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}` : "Record";
  }
}
