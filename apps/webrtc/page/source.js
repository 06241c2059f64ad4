/** Where pictures come from: a camera, a shared screen, or a video file. */

/** A modest size: the server paints at some 256 to 512 pixels, and a small picture is sooner there. */
const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
const SCREEN = { width: { max: 1280 }, height: { max: 1280 }, frameRate: { ideal: 30 } };

/** @typedef {"camera" | "screen" | "file"} Kind */

/** Why there are no pictures; `name` is the browser's own name of the error. */
export class SourceError extends Error {
  /** @param {Kind} kind @param {string} name @param {string} message */
  constructor(kind, name, message) {
    super(message);
    this.kind = kind;
    this.name = name;
  }
}

/** Something that gives pictures, shown in the page's input video. Event: "ended" (by itself, not by stop). */
export class Source extends EventTarget {
  #stream;
  #url;

  /**
   * @param {Kind} kind
   * @param {string} key names it in the list of sources, such as "camera:<device id>"
   * @param {{stream?: MediaStream, url?: string}} what
   */
  constructor(kind, key, { stream, url }) {
    super();
    this.kind = kind;
    this.key = key;
    this.#stream = stream ?? null;
    this.#url = url ?? null;
    // Told when a camera is unplugged or the sharing is stopped in the browser's own bar.
    this.track?.addEventListener("ended", () => this.dispatchEvent(new Event("ended")));
  }

  /** The track as it comes; a file has none and is drawn (mirror.js). @returns {MediaStreamTrack | null} */
  get track() {
    return this.#stream?.getVideoTracks()[0] ?? null;
  }

  /**
   * Shows it.
   *
   * @param {HTMLVideoElement} video
   */
  async show(video) {
    video.loop = this.kind === "file";
    if (this.#stream) {
      video.removeAttribute("src");
      video.srcObject = this.#stream;
    } else if (this.#url) {
      video.srcObject = null;
      video.src = this.#url;
    }
    try {
      await video.play();
    } catch (error) {
      const { name } = /** @type {Error} */ (error);
      // AbortError: another source has taken its place meanwhile, whose own play() counts.
      if (name === "AbortError") return;
      throw new SourceError(this.kind, name, "the video does not play");
    }
  }

  /** Gives the camera, the screen or the file back. */
  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#url) URL.revokeObjectURL(this.#url);
  }
}

/**
 * @param {string} [deviceId] none: whichever the browser prefers
 * @returns {Promise<Source>}
 * @throws {SourceError}
 */
export async function openCamera(deviceId) {
  if (!navigator.mediaDevices?.getUserMedia) throw new SourceError("camera", "Hidden", "the browser hides the camera");
  const device = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...CAMERA, ...device } });
    const used = stream.getVideoTracks()[0]?.getSettings().deviceId ?? deviceId;
    return new Source("camera", used ? `camera:${used}` : "camera", { stream });
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error);
    // The remembered camera is not there any more: any other is better than none.
    if (deviceId && (name === "OverconstrainedError" || name === "NotFoundError")) return openCamera();
    throw new SourceError("camera", name, message);
  }
}

/** Whether this browser can share a screen (phones cannot). */
export function canShareScreen() {
  return Boolean(navigator.mediaDevices?.getDisplayMedia);
}

/**
 * @returns {Promise<Source>}
 * @throws {SourceError}
 */
export async function openScreen() {
  if (!canShareScreen()) throw new SourceError("screen", "Hidden", "the browser does not share screens here");
  try {
    return new Source("screen", "screen", { stream: await navigator.mediaDevices.getDisplayMedia({ audio: false, video: SCREEN }) });
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error);
    throw new SourceError("screen", name, message);
  }
}

/**
 * @param {File} file
 * @returns {Source}
 */
export function openFile(file) {
  return new Source("file", "file", { url: URL.createObjectURL(file) });
}

/**
 * The cameras there are; without names until the user has allowed one.
 *
 * @returns {Promise<{key: string, name: string}[]>}
 */
export async function listCameras() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  return devices
    .filter((device) => device.kind === "videoinput" && device.deviceId)
    .map((device, index) => ({ key: `camera:${device.deviceId}`, name: device.label || `Camera ${index + 1}` }));
}
