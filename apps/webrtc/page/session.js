/** Keeps a connection to the server for as long as the user wants one: connects, and connects again when it breaks. */

import { abandon, call, Failure } from "./api.js";
import { Connection } from "./connection.js";

/** Seconds before the next attempt; the last one is repeated. */
const BACK_OFF = [0.5, 1, 2, 4, 8];
/** A connection that lasted this long was a good one: the next failure begins with the shortest wait again. */
const GOOD_MS = 5000;
const PING_MS = 1000;
const POLL_MS = 1000;

/**
 * @typedef {"idle" | "connecting" | "live" | "waiting" | "failed"} State
 * @typedef {{state: State, again: boolean, failure: Failure | null, seconds: number}} Situation
 *   again: it was live before; failure: why it is not; seconds: until the next attempt by itself
 */

/**
 * Events: "state" (detail: Situation), "live" (detail: the new Connection), "message" (detail: an object from the server),
 * "roundtrip" (detail: ms).
 */
export class Session extends EventTarget {
  #iceServers;
  #wanted;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** Counts starts and stops: a loop that finds another number has been overtaken and ends. */
  #turn = 0;
  /** The connection that is being made or is up. @type {Connection | null} */
  #attempt = null;
  /** Sessions on the server that are no longer used; each holds one of its few places until it is told. */
  #stale = new Set();
  /** The session of the last connection: a new one goes on under its name, so that links to it stay good. */
  #last = "";
  #wake = () => {};
  #timer = 0;
  #polledAt = 0;

  /**
   * @param {RTCIceServer[]} iceServers
   * @param {() => Record<string, unknown>} wanted the settings that a new connection begins with
   */
  constructor(iceServers, wanted) {
    super();
    this.#iceServers = iceServers;
    this.#wanted = wanted;
    /** @type {Connection | null} the one that is up */
    this.connection = null;
    /** @type {Situation} */
    this.situation = { state: "idle", again: false, failure: null, seconds: 0 };
  }

  /** Whether the user wants a connection, up or not. */
  get running() {
    return !["idle", "failed"].includes(this.situation.state);
  }

  /**
   * Connects, and stays connected until stop().
   *
   * @param {MediaStreamTrack} track what to send
   */
  start(track) {
    this.stop();
    this.#track = track;
    this.#run(++this.#turn);
  }

  /** Ends it, and tells the server. */
  stop() {
    this.#turn++;
    this.#wake();
    this.#drop(this.#attempt, this.#turn - 1);
    for (const id of this.#stale) abandon(id);
    this.#stale.clear();
    this.#become({ state: "idle", again: false, failure: null, seconds: 0 });
  }

  /** Does not wait any longer for the next attempt. */
  retryNow() {
    this.#wake();
  }

  /**
   * Sends another picture from now on; without a connection the next one sends it.
   *
   * @param {MediaStreamTrack} track
   */
  async replaceTrack(track) {
    this.#track = track;
    await this.connection?.replaceTrack(track);
  }

  /**
   * Changes settings on the server: over the data channel, or by HTTP while that is not open.
   *
   * @param {Record<string, unknown>} settings
   * @param {number} id comes back with the answer
   */
  change(settings, id) {
    const connection = this.connection;
    if (!connection || connection.send({ type: "settings", settings, id })) return;
    const tell = (/** @type {object} */ detail) => this.dispatchEvent(new CustomEvent("message", { detail }));
    call(`/api/sessions/${connection.id}/settings`, { method: "PATCH", body: settings }).then(
      (reply) => tell({ type: "settings", settings: reply, id }),
      (failure) => tell({ type: "error", error: failure.message, id }),
    );
  }

  /** @param {number} turn */
  async #run(turn) {
    let failures = 0;
    let again = false;
    while (turn === this.#turn && this.#track) {
      this.#become({ ...this.situation, state: "connecting", again });
      const connection = (this.#attempt = new Connection(this.#iceServers));
      let since = Infinity;
      /** @type {Failure} */
      let failure;
      try {
        await this.#release();
        if (turn !== this.#turn) return this.#drop(connection, turn);
        connection.addEventListener("message", (event) => this.#onMessage(/** @type {CustomEvent} */ (event).detail));
        const track = this.#track;
        await connection.connect(track, this.#wanted(), this.#last);
        this.#last = connection.id;
        if (turn !== this.#turn) return this.#drop(connection, turn);
        if (track !== this.#track) await connection.replaceTrack(this.#track);
        since = performance.now();
        this.#live(connection);
        again = true;
        failure = await connection.ended;
      } catch (error) {
        failure = asFailure(error);
      }
      this.#drop(connection, turn);
      if (turn !== this.#turn) return;
      if (failure.reason === "token" || failure.reason === "refused") {
        this.#become({ state: "failed", again, failure, seconds: 0 });
        return;
      }
      if (performance.now() - since > GOOD_MS) failures = 0;
      const seconds = failure.retryAfter ?? BACK_OFF[Math.min(failures, BACK_OFF.length - 1)];
      failures++;
      await this.#wait(turn, { state: "waiting", again, failure, seconds });
    }
  }

  /** @param {Connection} connection */
  #live(connection) {
    this.connection = connection;
    this.#become({ state: "live", again: false, failure: null, seconds: 0 });
    this.dispatchEvent(new CustomEvent("live", { detail: connection }));
    this.#timer = setInterval(() => this.#beat(connection), PING_MS);
  }

  /** Measures the round trip; and asks for the figures where the data channel does not bring them. */
  async #beat(/** @type {Connection} */ connection) {
    if (connection.send({ type: "ping", t: performance.now() })) return;
    if (performance.now() - this.#polledAt < POLL_MS) return;
    this.#polledAt = performance.now();
    const reply = await call(`/api/sessions/${connection.id}`).catch(() => null);
    if (reply && connection === this.connection) this.#onMessage({ ...reply.stats });
  }

  /** @param {any} message */
  #onMessage(message) {
    if (message?.type === "pong") {
      this.dispatchEvent(new CustomEvent("roundtrip", { detail: performance.now() - message.t }));
    } else if (message) {
      this.dispatchEvent(new CustomEvent("message", { detail: message }));
    }
  }

  /**
   * @param {Connection | null} connection
   * @param {number} turn whose it was
   */
  #drop(connection, turn) {
    if (!connection) return;
    connection.close();
    if (connection === this.#attempt) this.#attempt = null;
    if (connection === this.connection) {
      this.connection = null;
      clearInterval(this.#timer);
    }
    const { id } = connection;
    connection.id = "";
    if (!id) return;
    // After stop() nobody comes back to tell the server; otherwise the next attempt does, and waits until it knows.
    if (turn === this.#turn) this.#stale.add(id);
    else abandon(id);
  }

  /** Gives the places of old sessions back, or the server may be full of them. */
  async #release() {
    for (const id of this.#stale) {
      try {
        await call(`/api/sessions/${id}`, { method: "DELETE", seconds: 5 });
      } catch (error) {
        // One that the server no longer knows is what was wanted.
        if (asFailure(error).reason !== "refused") throw error;
      }
      this.#stale.delete(id);
    }
  }

  /**
   * @param {number} turn
   * @param {Situation} situation
   */
  async #wait(turn, situation) {
    const until = performance.now() + situation.seconds * 1000;
    let awake = false;
    for (;;) {
      const left = until - performance.now();
      if (awake || left <= 0 || turn !== this.#turn) break;
      this.#become({ ...situation, seconds: Math.ceil(left / 1000) });
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, left % 1000 || 1000));
        this.#wake = () => {
          awake = true;
          clearTimeout(timer);
          resolve(undefined);
        };
      });
    }
    this.#wake = () => {};
  }

  /** @param {Situation} situation */
  #become(situation) {
    this.situation = situation;
    this.dispatchEvent(new CustomEvent("state", { detail: situation }));
  }
}

/** @param {unknown} error @returns {Failure} */
function asFailure(error) {
  if (error instanceof Failure) return error;
  console.warn("streamdiff:", error);
  return new Failure("media", "the browser could not use the server's answer");
}
