/** The figures over the video. */

import { byId, make, write } from "./dom.js";

/** @typedef {import("./meter.js").Measured} Measured */

const LIMITS = {
  source: "the source: everything it sends is shown",
  model: "the model",
  network: "the network",
  "other sessions": "other sessions on this server",
};
/** Below this share of readable pictures a figure would be luck. */
const READABLE = 0.1;

/** @typedef {{stats: any, measured: Measured, roundTrip: number | null, measuring: boolean}} Figures */

/** @type {[string, (figures: Figures) => string | null][]} null: the row is left out */
const ROWS = [
  ["Shown", ({ measured }) => `${measured.fps.toFixed(1)} per second`],
  ["Glass to glass", ({ measured, measuring }) => (measuring ? glass(measured) : null)],
  ["Server", ({ stats }) => seconds(stats?.latency_p50, stats?.latency_p95)],
  ["Model", ({ stats }) => seconds(stats?.model_p50)],
  ["Round trip", ({ roundTrip }) => (roundTrip === null ? null : `${roundTrip.toFixed(0)} ms`)],
  ["Rate", ({ stats }) => stats && `${number(stats.fps_in)} in, ${number(stats.fps_out)} out`],
  ["Dropped", ({ stats }) => stats && `${stats.dropped_in ?? 0} before, ${stats.dropped_out ?? 0} after the model`],
  ["Skipped", ({ stats }) => (stats?.skipped ? `${stats.skipped} alike` : null)],
  ["Failed", ({ stats }) => (stats?.failed ? String(stats.failed) : null)],
  ["Limited by", ({ stats }) => stats && (LIMITS[/** @type {keyof typeof LIMITS} */ (stats.limited_by)] ?? stats.limited_by ?? null)],
  ["Viewers", ({ stats }) => (stats?.viewers ? String(stats.viewers) : null)],
  ["Size", ({ stats }) => (stats?.width ? `${stats.width} × ${stats.height}` : null)],
];

export class Overlay {
  #list = byId("overlay");
  /** @type {{row: HTMLElement, value: HTMLElement}[]} */
  #rows;

  constructor() {
    this.#rows = ROWS.map(([name]) => {
      const value = make("dd");
      const row = make("div", { "data-figure": name.toLowerCase().replaceAll(" ", "-") }, make("dt", {}, name), value);
      return { row, value };
    });
    this.#list.replaceChildren(...this.#rows.map(({ row }) => row));
  }

  get shown() {
    return !this.#list.hidden;
  }

  set shown(on) {
    this.#list.hidden = !on;
  }

  /** @param {Figures} figures */
  update(figures) {
    this.#rows.forEach(({ row, value }, index) => {
      const text = ROWS[index][1](figures);
      row.hidden = !text;
      if (text) write(value, text);
    });
  }
}

/** @param {Measured} measured */
function glass({ latency, late, readable }) {
  if (latency === null || late === null || readable < READABLE) return "the code cannot be read in this picture";
  return `${latency.toFixed(0)} ms (95 %: ${late.toFixed(0)})`;
}

/** @param {number | null | undefined} middle @param {number | null} [late] */
function seconds(middle, late) {
  if (middle === null || middle === undefined) return null;
  const ms = (/** @type {number} */ value) => (value * 1000).toFixed(0);
  return `${ms(middle)} ms` + (late === null || late === undefined ? "" : ` (95 %: ${ms(late)})`);
}

/** @param {unknown} value */
function number(value) {
  return typeof value === "number" ? value.toFixed(1) : "?";
}
