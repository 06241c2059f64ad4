/** Redraws a video into a canvas that can be sent: for files, and to stamp pictures with the time (latency mode). */

import { everyFrame } from "./frames.js";
import { draw, valueOf } from "./timecode.js";

const RATE = 30;
/** The shorter side of what is sent, at least: smaller pictures lose their code to the video codec. */
const SHORT_SIDE = 256;

export class Mirror {
  #canvas = document.createElement("canvas");
  #context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d", { alpha: false }));
  #video;
  #stop = () => {};
  /** Whether pictures carry the time they were drawn at. */
  stamped = false;

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
    /** What can be sent; black while nothing is drawn. @type {MediaStreamTrack} */
    this.track = this.#canvas.captureStream(RATE).getVideoTracks()[0];
  }

  /** Whether this browser can do it. */
  static get possible() {
    return "captureStream" in HTMLCanvasElement.prototype;
  }

  /**
   * Takes the shape of the stylised picture: what is sent is what is painted, and no code is cut off at the sides.
   *
   * @param {number} width
   * @param {number} height
   */
  shape(width, height) {
    const scale = Math.max(1, SHORT_SIDE / Math.min(width, height));
    const [wide, high] = [width, height].map((side) => Math.round((side * scale) / 16) * 16);
    if (this.#canvas.width === wide && this.#canvas.height === high) return;
    this.#canvas.width = wide;
    this.#canvas.height = high;
  }

  /** Begins to draw. */
  start() {
    this.#stop();
    this.#stop = everyFrame(this.#video, () => this.#draw());
  }

  /** Draws no more; the track stays as it is. */
  pause() {
    this.#stop();
    this.#stop = () => {};
  }

  #draw() {
    const { videoWidth, videoHeight } = this.#video;
    const { width, height } = this.#canvas;
    if (!videoWidth || !videoHeight) return;
    // As the server does: scaled to cover, cut to the middle.
    const scale = Math.max(width / videoWidth, height / videoHeight);
    const [wide, high] = [width / scale, height / scale];
    this.#context.drawImage(this.#video, (videoWidth - wide) / 2, (videoHeight - high) / 2, wide, high, 0, 0, width, height);
    if (!this.stamped) return;
    draw(this.#context, width, height, valueOf(performance.now()));
  }
}
