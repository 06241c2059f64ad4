/** Measures what the user sees: pictures shown per second, and the time from the camera to the screen. */

import { everyFrame } from "./frames.js";
import { ageOf, COLUMNS, read, ROWS } from "./timecode.js";

const WINDOW_MS = 2000;
const CELL = 16;
const WIDE = COLUMNS * CELL;
const HIGH = ROWS * CELL;
/** More than this is a misread code: a stream that late has been given up. */
const MOST_MS = 10_000;

/**
 * @typedef {object} Measured
 * @property {number} fps pictures shown per second
 * @property {number | null} latency median of the last seconds, in ms
 * @property {number | null} late 95th percentile, in ms
 * @property {number} readable share of the pictures whose code could be read
 */

export class Meter {
  #video;
  #canvas = document.createElement("canvas");
  #context;
  /** @type {{at: number, frames: number}[]} */
  #shown = [];
  /** @type {{at: number, latency: number | null}[]} */
  #reads = [];
  #presented = 0;
  #lastValue = -1;
  #measuring = false;

  /** @param {HTMLVideoElement} video what the user sees */
  constructor(video) {
    this.#video = video;
    this.#canvas.width = WIDE;
    this.#canvas.height = HIGH;
    this.#context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d", { alpha: false, willReadFrequently: true }));
    everyFrame(video, (now, about) => this.#onFrame(now, about));
  }

  /** Whether time codes are looked for. */
  get measuring() {
    return this.#measuring;
  }

  set measuring(on) {
    this.#measuring = on;
    this.#reads = [];
  }

  /** Forgets what was: another stream is shown. */
  restart() {
    this.#shown = [];
    this.#reads = [];
    this.#presented = 0;
  }

  /** @returns {Measured} */
  now() {
    const since = performance.now() - WINDOW_MS;
    this.#shown = this.#shown.filter(({ at }) => at > since);
    this.#reads = this.#reads.filter(({ at }) => at > since);
    const latencies = this.#reads.flatMap(({ latency }) => latency ?? []).sort((a, b) => a - b);
    const at = (/** @type {number} */ share) => latencies[Math.floor(share * (latencies.length - 1))] ?? null;
    return {
      fps: rate(this.#shown),
      latency: at(0.5),
      late: at(0.95),
      readable: this.#reads.length ? latencies.length / this.#reads.length : 0,
    };
  }

  /** @param {number} now @param {Partial<VideoFrameCallbackMetadata>} about */
  #onFrame(now, about) {
    // The page may be called for fewer pictures than were shown; the browser counts all of them.
    const presented = about.presentedFrames ?? this.#presented + 1;
    const frames = presented > this.#presented && this.#presented ? presented - this.#presented : 1;
    this.#presented = presented;
    this.#shown.push({ at: now, frames });
    // Nobody may be looking at the figures, for days.
    while (this.#shown[0].at < now - WINDOW_MS) this.#shown.shift();
    if (this.#measuring) this.#read(now);
  }

  /** @param {number} now */
  #read(now) {
    const { videoWidth: width, videoHeight: height } = this.#video;
    const strip = (width / COLUMNS) * ROWS;
    if (!width || height < strip) return;
    this.#context.drawImage(this.#video, 0, height - strip, width, strip, 0, 0, WIDE, HIGH);
    const value = read(this.#context.getImageData(0, 0, WIDE, HIGH));
    // A picture shown twice is late the second time by no fault of the way it came.
    if (value !== null && value === this.#lastValue) return;
    if (value !== null) this.#lastValue = value;
    const latency = value === null ? null : ageOf(value, now);
    const plausible = latency !== null && latency < MOST_MS ? latency : null;
    this.#reads.push({ at: now, latency: plausible });
    while (this.#reads[0].at < now - WINDOW_MS) this.#reads.shift();
    // For whoever measures from outside (scripts/measure_latency.py).
    this.#video.dispatchEvent(new CustomEvent("latency", { detail: plausible }));
  }
}

/** Pictures per second between the first and the last of them. @param {{at: number, frames: number}[]} shown */
function rate(shown) {
  if (shown.length < 2) return 0;
  const frames = shown.slice(1).reduce((sum, one) => sum + one.frames, 0);
  // Counted up to now, so that it falls when no more come.
  const end = Math.max(shown[shown.length - 1].at, performance.now() - 250);
  return (frames * 1000) / (end - shown[0].at);
}
