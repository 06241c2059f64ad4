/** One WebRTC connection to the server, from its offer to its end. Trying again is session.js's job. */

import { call, Failure } from "./api.js";

const GATHER_MS = 1000;
const CONNECT_MS = 15_000;
/** A connection that reports "disconnected" often comes back by itself within this time. */
const GRACE_MS = 2000;
/** The first use of a picture size compiles the model for it, which the answer waits for. */
const ANSWER_SECONDS = 300;
const MOST_BITS = 2_500_000;

/** Events: "message" (detail: an object from the server), "channel" (the data channel has opened). */
export class Connection extends EventTarget {
  #pc;
  #channel;
  /** @type {RTCRtpSender | undefined} */
  #sender;
  /** @type {(failure: Failure) => void} */
  #lose = () => {};
  #grace = 0;

  /** @param {RTCIceServer[]} iceServers */
  constructor(iceServers) {
    super();
    this.id = "";
    /** Address of the bare player of this session. */
    this.view = "";
    /** What the server said to begin with. @type {Record<string, unknown>} */
    this.settings = {};
    /** Resolves with the reason once the connection has ended. @type {Promise<Failure>} */
    this.ended = new Promise((resolve) => (this.#lose = resolve));
    this.#pc = new RTCPeerConnection({ iceServers });
    this.#channel = this.#pc.createDataChannel("control", { ordered: true });
    this.#channel.onopen = () => this.dispatchEvent(new Event("channel"));
    this.#channel.onclose = () => this.#lose(new Failure("lost", "the control channel was closed"));
    this.#channel.onmessage = ({ data }) => this.#onMessage(data);
  }

  /** Whether messages can be sent now. */
  get open() {
    return this.#channel.readyState === "open";
  }

  /** What the server sends back. @type {MediaStream | null} */
  stream = null;

  /**
   * Connects; returns once pictures can flow.
   *
   * @param {MediaStreamTrack} track
   * @param {Record<string, unknown>} settings
   * @param {string} [previous] id of this page's session before, whose links go on working
   * @throws {Failure}
   */
  async connect(track, settings, previous = "") {
    const pc = this.#pc;
    const transceiver = pc.addTransceiver(track, { direction: "sendrecv", streams: [new MediaStream([track])] });
    this.#sender = transceiver.sender;
    preferCodecs(transceiver);
    showAtOnce(transceiver.receiver);
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc);
    const reply = await call("/api/sessions", {
      method: "POST",
      body: { sdp: pc.localDescription?.sdp, settings, previous: previous || null },
      seconds: ANSWER_SECONDS,
    });
    this.id = reply.id;
    this.view = reply.view;
    this.settings = reply.settings;
    if (pc.signalingState === "closed") throw new Failure("lost", "stopped meanwhile");
    await pc.setRemoteDescription({ type: "answer", sdp: reply.sdp });
    this.stream = new MediaStream([transceiver.receiver.track]);
    await this.#tune(track);
    await this.#connected();
    pc.onconnectionstatechange = () => this.#onState();
    this.#onState();
  }

  /**
   * Sends another picture from now on, without a new negotiation.
   *
   * @param {MediaStreamTrack} track
   */
  async replaceTrack(track) {
    await this.#sender?.replaceTrack(track);
    await this.#tune(track);
  }

  /**
   * @param {object} message
   * @returns {boolean} whether it was sent
   */
  send(message) {
    if (!this.open) return false;
    this.#channel.send(JSON.stringify(message));
    return true;
  }

  /** Ends the connection on this side; the server is told by api.abandon or a DELETE. */
  close() {
    clearTimeout(this.#grace);
    this.#channel.onclose = null;
    this.#pc.onconnectionstatechange = null;
    this.#pc.close();
    this.#lose(new Failure("lost", "stopped"));
  }

  /** @param {unknown} data */
  #onMessage(data) {
    try {
      const message = JSON.parse(String(data));
      if (message.type === "settings") this.#shape(message.settings);
      this.dispatchEvent(new CustomEvent("message", { detail: message }));
    } catch (error) {
      console.warn("streamdiff: a message could not be used", error);
    }
  }

  /** The size of the stylised picture may have changed, and with it what is worth sending. @param {any} settings */
  #shape(settings) {
    const before = this.settings;
    this.settings = settings;
    const track = this.#sender?.track;
    if (track && (before.width !== settings.width || before.height !== settings.height)) this.#tune(track);
  }

  /**
   * Smooth motion before sharpness, a bounded rate, and no more pixels than the server paints: encoding and decoding
   * them would take the processor's time from the model.
   */
  async #tune(/** @type {MediaStreamTrack} */ track) {
    const sender = this.#sender;
    if (!sender) return;
    if ("contentHint" in track) track.contentHint = "motion";
    const { width = 0, height = 0 } = track.getSettings();
    const [wide, high] = [Number(this.settings.width), Number(this.settings.height)];
    try {
      const parameters = sender.getParameters();
      parameters.degradationPreference = "maintain-framerate";
      for (const encoding of parameters.encodings ?? []) {
        encoding.maxBitrate = MOST_BITS;
        // What the page draws has its size already, which track settings may tell late.
        const drawn = "canvas" in track;
        encoding.scaleResolutionDownBy = drawn ? 1 : Math.max(1, Math.min(width / wide, height / high) || 1);
      }
      await sender.setParameters(parameters);
    } catch (error) {
      // A wish only: older browsers refuse parts of it, and the stream works all the same.
      console.info("streamdiff: the sender keeps its own parameters", error);
    }
  }

  async #connected() {
    const pc = this.#pc;
    let timer = 0;
    const failed = new Promise((_, reject) => {
      const fail = (/** @type {string} */ why) => reject(new Failure("media", why));
      timer = setTimeout(() => fail("no connection within 15 seconds"), CONNECT_MS);
      pc.onconnectionstatechange = () => ["failed", "closed"].includes(pc.connectionState) && fail("no way was found");
    });
    const connected = new Promise((resolve) => {
      const look = () => pc.connectionState === "connected" && resolve(undefined);
      pc.addEventListener("connectionstatechange", look);
      look();
    });
    const closed = this.ended.then((failure) => Promise.reject(failure));
    await Promise.race([connected, failed, closed]).finally(() => clearTimeout(timer));
  }

  #onState() {
    clearTimeout(this.#grace);
    const state = this.#pc.connectionState;
    const lost = () => this.#lose(new Failure("lost", "the connection was lost"));
    if (state === "failed" || state === "closed") lost();
    if (state === "disconnected") this.#grace = setTimeout(lost, GRACE_MS);
  }
}

/**
 * H.264 first (encoded by hardware on many machines), then VP8; the rest, retransmission included, stays behind them.
 *
 * @param {RTCRtpTransceiver} transceiver
 */
export function preferCodecs(transceiver) {
  const codecs = globalThis.RTCRtpReceiver?.getCapabilities?.("video")?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const rank = (/** @type {RTCRtpCodec} */ codec) => {
    const type = codec.mimeType.toLowerCase();
    if (type === "video/h264") return codec.sdpFmtpLine?.includes("packetization-mode=1") ? 0 : 1;
    return type === "video/vp8" ? 2 : 3;
  };
  try {
    transceiver.setCodecPreferences([...codecs].sort((a, b) => rank(a) - rank(b)));
  } catch (error) {
    console.info("streamdiff: the browser keeps its own order of codecs", error);
  }
}

/**
 * Asks the browser not to hold pictures back for smoothness.
 *
 * @param {RTCRtpReceiver} receiver
 */
export function showAtOnce(receiver) {
  if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
  if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = 0;
}

/**
 * Waits until all candidates are known, or long enough: one interface without a way out must not hold up the rest.
 *
 * @param {RTCPeerConnection} pc
 * @returns {Promise<void>}
 */
export function gathered(pc) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      pc.removeEventListener("icegatheringstatechange", look);
      resolve();
    };
    const look = () => pc.iceGatheringState === "complete" && done();
    const timer = setTimeout(done, GATHER_MS);
    pc.addEventListener("icegatheringstatechange", look);
    look();
  });
}
