/** Recordings and snapshots of the stylised video, as files for the user. */

import { download } from "./dom.js";

/** VP8 first: it costs least, and the model needs the processor. Safari takes the last ones. */
const TYPES = ["video/webm;codecs=vp8", "video/webm;codecs=vp9", "video/webm", "video/mp4;codecs=avc1", "video/mp4"];
const PIECE_MS = 1000;
const BITS = 6_000_000;

/** Event: "change" (recording has begun or ended; detail: why it ended, where nobody asked for it). */
export class Recorder extends EventTarget {
  /** @type {MediaRecorder | null} */
  #recorder = null;
  #since = 0;

  /** Whether this browser can record. */
  static get possible() {
    return "MediaRecorder" in globalThis;
  }

  get recording() {
    return this.#recorder !== null;
  }

  /** Seconds recorded so far. */
  get seconds() {
    return this.recording ? (performance.now() - this.#since) / 1000 : 0;
  }

  /**
   * Records until stop(), or until the stream ends; the file is saved either way.
   *
   * @param {MediaStream} stream
   * @param {string} name of the file, without its ending
   */
  start(stream, name) {
    const type = TYPES.find((one) => MediaRecorder.isTypeSupported?.(one)) ?? "";
    const recorder = new MediaRecorder(stream, { videoBitsPerSecond: BITS, ...(type ? { mimeType: type } : {}) });
    /** @type {Blob[]} */
    const pieces = [];
    let why = "";
    recorder.ondataavailable = ({ data }) => data.size && pieces.push(data);
    recorder.onerror = () => (why = "The browser could not go on recording");
    recorder.onstop = () => {
      if (this.#recorder === recorder) {
        this.#recorder = null;
        why ||= "The stream ended";
      }
      const kind = (recorder.mimeType || type || "video/webm").split(";")[0];
      if (pieces.length) download(new Blob(pieces, { type: kind }), `${name}.${kind.endsWith("mp4") ? "mp4" : "webm"}`);
      this.dispatchEvent(new CustomEvent("change", { detail: why }));
    };
    recorder.start(PIECE_MS);
    this.#recorder = recorder;
    this.#since = performance.now();
    this.dispatchEvent(new CustomEvent("change", { detail: "" }));
  }

  /** Ends the recording and saves it. */
  stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    if (recorder && recorder.state !== "inactive") recorder.stop();
  }
}

/**
 * Saves what a video shows now as a PNG, in its own size.
 *
 * @param {HTMLVideoElement} video
 * @param {string} name of the file, without its ending
 * @returns {Promise<boolean>} false: there is no picture
 */
export async function snapshot(video, name) {
  if (!video.videoWidth) return false;
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d")?.drawImage(video, 0, 0);
  /** @type {Blob | null} */
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob) download(blob, `${name}.png`);
  return blob !== null;
}

/**
 * A name for a file made now.
 *
 * @param {string} words such as the style
 */
export function fileName(words) {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000);
  const time = local.toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "-");
  const plain = words.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40);
  return ["streamdiff", plain, time].filter(Boolean).join(" ");
}
