/** The stream's settings: what the user wants, what the server has confirmed, and what lies between the two. */

import { recall, remember } from "./store.js";

/** A dragged slider changes more often than pictures come; this often is enough. */
const SPACING_MS = 60;

/** @typedef {"confirmed" | "pending" | "refused" | "offline"} Standing */

/** Events: "change" (something of it has changed), "remark" (detail: an error that belongs to no setting). */
export class Settings extends EventTarget {
  /** Names that wait to be sent. @type {Set<string>} */
  #queued = new Set();
  /** Sent and not yet answered: names by the number of the request. @type {Map<number, string[]>} */
  #pending = new Map();
  /** @type {((settings: Record<string, unknown>, id: number) => void) | null} */
  #send = null;
  #timer = 0;
  #sentAt = 0;
  #lastId = 0;
  /** The newest request whose outcome the server has told. */
  #told = 0;
  #defaults;

  /** @param {Record<string, any>} defaults all settings as a new session has them */
  constructor(defaults) {
    super();
    this.#defaults = defaults;
    const saved = recall("settings", {});
    const known = Object.entries(saved ?? {}).filter(([name]) => name in defaults);
    /** @type {Record<string, any>} */
    this.wanted = { ...defaults, ...Object.fromEntries(known) };
    /** Null while there is no session. @type {Record<string, any> | null} */
    this.confirmed = null;
    /** What the server said against a value. @type {Record<string, string>} */
    this.errors = {};
  }

  /** What a new session has to be told: only what differs from its defaults. @returns {Record<string, unknown>} */
  overrides() {
    return Object.fromEntries(Object.entries(this.wanted).filter(([name, value]) => !same(value, this.#defaults[name])));
  }

  /** @param {string} name @returns {Standing} */
  standing(name) {
    if (this.errors[name]) return "refused";
    if (!this.#send) return "offline";
    return this.#onTheWay().has(name) ? "pending" : "confirmed";
  }

  /**
   * Wants other values, and sends them where there is a session.
   *
   * @param {Record<string, unknown>} changes
   * @param {number} [quietMs] send only after this long without another change (for typing)
   */
  change(changes, quietMs = 0) {
    for (const [name, value] of Object.entries(changes)) {
      this.wanted[name] = value;
      delete this.errors[name];
      this.#queued.add(name);
    }
    this.#save();
    clearTimeout(this.#timer);
    const spacing = this.#sentAt + SPACING_MS - performance.now();
    this.#timer = setTimeout(() => this.flush(), Math.max(quietMs, spacing, 0));
    this.#tell();
  }

  /** Sends what waits, now. */
  flush() {
    clearTimeout(this.#timer);
    const names = [...this.#queued];
    this.#queued.clear();
    if (!this.#send || !names.length) return;
    this.#sentAt = performance.now();
    const id = ++this.#lastId;
    this.#pending.set(id, names);
    this.#send(Object.fromEntries(names.map((name) => [name, this.wanted[name]])), id);
    this.#tell();
  }

  /** Back to what the server begins with. */
  reset() {
    this.errors = {};
    this.change({ ...this.#defaults });
  }

  /**
   * A session has begun.
   *
   * @param {Record<string, any>} full its settings
   * @param {(settings: Record<string, unknown>, id: number) => void} send
   */
  join(full, send) {
    this.#send = send;
    this.#pending.clear();
    this.confirmed = full;
    // Whatever was changed while it was being opened, it does not know yet.
    for (const name of Object.keys(this.wanted)) {
      if (name in full && !same(full[name], this.wanted[name])) this.#queued.add(name);
    }
    this.flush();
    this.#tell();
  }

  /** The session has ended: what was wanted stays, for the next one. */
  leave() {
    if (!this.#send) return;
    this.#send = null;
    this.confirmed = null;
    this.#pending.clear();
    this.#queued.clear();
    this.#tell();
  }

  /**
   * The server told its settings.
   *
   * @param {Record<string, any>} full
   * @param {number | undefined} id of the request it answers; none: somebody else changed them
   */
  confirm(full, id) {
    if (!this.#send) return;
    // Over two ways, HTTP and the data channel, an answer may come after that to a later request.
    if (id !== undefined && id !== null) {
      if (id < this.#told) return;
      this.#told = id;
    }
    this.#settle(id);
    this.confirmed = full;
    const busy = this.#onTheWay();
    for (const [name, value] of Object.entries(full)) if (!busy.has(name)) this.wanted[name] = value;
    this.#save();
    this.#tell();
  }

  /**
   * The server refused a request: the settings are as they were before it.
   *
   * @param {string} error
   * @param {number | undefined} id
   */
  refuse(error, id) {
    const names = id === undefined ? undefined : this.#pending.get(id);
    if (!names) {
      this.dispatchEvent(new CustomEvent("remark", { detail: error }));
      return;
    }
    this.#settle(id);
    const named = names.filter((name) => new RegExp(`\\b${name}\\b`).test(error));
    const guilty = named.length ? named : names;
    const busy = this.#onTheWay();
    for (const name of guilty) {
      this.errors[name] = error;
      if (this.confirmed && !busy.has(name)) this.wanted[name] = this.confirmed[name];
    }
    this.#save();
    this.#tell();
    // A request is refused as a whole; what was right in it is asked for again.
    const innocent = names.filter((name) => !guilty.includes(name));
    if (innocent.length) this.change(Object.fromEntries(innocent.map((name) => [name, this.wanted[name]])));
  }

  /** Answers come in order: with this one, those to all earlier requests are in. @param {number | undefined} id */
  #settle(id) {
    if (id === undefined || id === null) return;
    for (const earlier of [...this.#pending.keys()]) if (earlier <= id) this.#pending.delete(earlier);
  }

  #onTheWay() {
    return new Set([...this.#queued, ...[...this.#pending.values()].flat()]);
  }

  #save() {
    remember("settings", this.overrides());
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {unknown} a @param {unknown} b */
function same(a, b) {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
