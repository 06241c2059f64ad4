/** The page: puts the parts together. Each part knows its own job; what one means for another is written here. */

import { buildControls } from "./controls.js";
import { byId, status, toast, write } from "./dom.js";
import { infoOf } from "./info.js";
import { Meter } from "./meter.js";
import { Mirror } from "./mirror.js";
import { Overlay } from "./overlay.js";
import { Picker } from "./picker.js";
import * as problems from "./problems.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { listen } from "./shortcuts.js";
import { canShareScreen, SourceError } from "./source.js";
import { Stage } from "./stage.js";
import { buildStyles } from "./styles.js";
import { themeButton } from "./theme.js";
import { Toolbar } from "./toolbar.js";

const STRENGTH_STEP = 0.05;
const NARROW = "(max-width: 60rem)";

const input = /** @type {HTMLVideoElement} */ (byId("input"));
const output = /** @type {HTMLVideoElement} */ (byId("output"));

/** Everything the page does with a server whose info is known. */
class App {
  #info;
  #settings;
  #session;
  #styles;
  #toolbar;
  #stage = new Stage();
  #picker = new Picker();
  #meter = new Meter(output);
  /** Made when first needed: not every browser can. @type {Mirror | null} */
  #mirror = null;
  /** What is being sent. @type {import("./source.js").Source | null} */
  #source = null;
  /** What is wrong with it. @type {problems.Problem | null} */
  #trouble = null;
  /** The source that the browser is being asked for. @type {string | null} */
  #opening = null;
  /** Counts such questions, and stops: an answer to an earlier one comes too late. */
  #asked = 0;
  #measuring = false;
  /** The server's newest figures. */
  #stats = null;
  /** @type {number | null} */
  #roundTrip = null;

  /** @param {any} info of /api/info */
  constructor(info) {
    this.#info = info;
    this.#settings = new Settings(info.defaults);
    this.#session = new Session(info.ice_servers ?? [], () => this.#settings.overrides());
    buildControls(info, this.#settings);
    this.#styles = buildStyles(info, this.#settings);
    this.#toolbar = new Toolbar(new Overlay(), {
      words: () => this.#settings.wanted.prompt,
      link: () => (this.#session.connection ? new URL(this.#session.connection.view, location.href).href : ""),
      figures: () => ({
        stats: this.#stats, measured: this.#meter.now(), roundTrip: this.#roundTrip, measuring: this.#measuring,
      }),
    });
    this.#listenToSession();
    this.#listenToUser();
    this.#settings.addEventListener("change", () => this.#reshape());
    this.#settings.addEventListener("remark", (event) => toast(/** @type {CustomEvent} */ (event).detail));
    this.#reshape();
    if (!("RTCPeerConnection" in globalThis)) this.#trouble = problems.oldBrowserProblem();
    else if (!navigator.mediaDevices) this.#trouble = problems.insecureProblem();
    else /** @type {HTMLButtonElement} */ (byId("start")).disabled = false;
    this.#onState();
  }

  /** @param {string} [key] which source; none: the chosen one */
  async #start(key = this.#picker.key) {
    // The browser's question may stay open for ever: another source is asked for beside it, and the late answer is dropped.
    if (this.#opening === key) {
      toast("The browser is still asking; answer it, or choose another source.");
      return;
    }
    this.#opening = key;
    const asked = ++this.#asked;
    this.#trouble = null;
    this.#showProblem();
    if (!this.#session.running && key !== "file") status(key === "screen" ? "asking for the screen" : "asking for the camera");
    try {
      const source = await this.#open(key);
      // Stopped, or another one chosen, while the browser's question was open: the late answer starts nothing.
      if (source && asked !== this.#asked) source.stop();
      else if (source) await this.#use(source);
    } catch (error) {
      if (asked === this.#asked) this.#onSourceError(error);
    } finally {
      if (asked === this.#asked) this.#opening = null;
      if (this.#source?.track?.readyState === "ended") this.#stop();
      this.#onState();
    }
  }

  /**
   * Opens a source. Many phones open one camera at a time: there the one in use is given up for the other.
   *
   * @param {string} key
   */
  async #open(key) {
    try {
      return await this.#picker.open(key);
    } catch (error) {
      const taken = error instanceof SourceError && ["NotReadableError", "TrackStartError", "AbortError"].includes(error.name);
      if (!taken || this.#source?.kind !== "camera") throw error;
      this.#source.stop();
      return await this.#picker.open(key);
    }
  }

  /** Sends a source from now on. @param {import("./source.js").Source} source */
  async #use(source) {
    const before = this.#source;
    this.#source = source;
    // Some browsers end a camera themselves when another one is opened; whether that worked is seen afterwards.
    source.addEventListener("ended", () => source === this.#source && !this.#opening && this.#onSourceEnded(source));
    try {
      await source.show(input);
      this.#trouble = null;
      await this.#send();
      before?.stop();
      await this.#picker.settle(source);
    } catch (error) {
      source.stop();
      this.#source = before;
      await before?.show(input);
      throw error;
    }
  }

  /** Lets the session send what there is to send, starting it where it does not run. */
  async #send() {
    const track = this.#outgoing();
    if (!track) return;
    if (this.#session.running) await this.#session.replaceTrack(track);
    else this.#session.start(track);
  }

  /** The source's own track; or its redrawn pictures, for files and for time stamps. */
  #outgoing() {
    const source = this.#source;
    if (!source) return null;
    if (source.track && !this.#measuring) {
      this.#mirror?.pause();
      return source.track;
    }
    this.#mirror ??= new Mirror(input);
    this.#mirror.stamped = this.#measuring;
    this.#reshape();
    this.#mirror.start();
    return this.#mirror.track;
  }

  #stop() {
    this.#asked++;
    this.#opening = null;
    this.#session.stop();
    this.#source?.stop();
    this.#source = null;
    this.#mirror?.pause();
    for (const video of [input, output]) {
      video.srcObject = null;
      video.removeAttribute("src");
      video.load();
    }
    this.#onState();
  }

  #listenToSession() {
    const session = this.#session;
    session.addEventListener("state", () => this.#onState());
    session.addEventListener("roundtrip", (event) => (this.#roundTrip = /** @type {CustomEvent} */ (event).detail));
    session.addEventListener("live", (event) => {
      /** @type {import("./connection.js").Connection} */
      const connection = /** @type {CustomEvent} */ (event).detail;
      output.srcObject = connection.stream;
      this.#stage.state = "waiting";
      output.onloadeddata = () => (this.#stage.state = "live");
      output.play().catch(({ name }) => name === "NotAllowedError" && toast("Tap the picture to play it."));
      this.#meter.restart();
      this.#settings.join(connection.settings, (settings, id) => session.change(settings, id));
    });
    session.addEventListener("message", (event) => {
      const message = /** @type {CustomEvent} */ (event).detail;
      if (message.type === "settings") this.#settings.confirm(message.settings, message.id);
      else if (message.type === "error") this.#settings.refuse(String(message.error), message.id);
      else if (message.type === "notice") toast(String(message.text));
      else if (message.type === "stats") this.#stats = message;
    });
    addEventListener("online", () => session.retryNow());
    document.addEventListener("visibilitychange", () => !document.hidden && session.retryNow());
    addEventListener("pagehide", () => this.#stop());
    // A recording becomes a file when it has ended, and not any more when the page goes.
    addEventListener("beforeunload", (event) => this.#toolbar.recording && event.preventDefault());
  }

  #listenToUser() {
    const on = (/** @type {string} */ id, /** @type {() => void} */ act) => byId(id).addEventListener("click", act);
    on("start", () => this.#start());
    on("start-screen", () => this.#start("screen"));
    on("start-file", () => this.#start("file"));
    on("stop", () => this.#stop());
    on("fullscreen", () => this.#fullScreen());
    on("measure", () => this.#measure());
    on("panes", () => output.paused && output.srcObject && output.play().catch(() => {}));
    byId("start-screen").hidden = !canShareScreen();
    this.#picker.addEventListener("choose", () => {
      if (this.#session.running) return this.#start();
      this.#picker.keep();
      this.#onState();
    });
    this.#picker.addEventListener("file", (event) => {
      this.#asked++;
      this.#opening = null;
      this.#use(/** @type {CustomEvent} */ (event).detail).catch((error) => this.#onSourceError(error));
    });
    const strength = (/** @type {number} */ by) => {
      const value = Math.round((this.#settings.wanted.strength + by) * 100) / 100;
      this.#settings.change({ strength: Math.min(1, Math.max(STRENGTH_STEP, value)) });
    };
    listen({
      " ": () => (this.#session.running ? this.#stop() : this.#start()),
      f: () => this.#fullScreen(),
      v: () => this.#stage.turn(),
      o: () => this.#toolbar.toggleOverlay(),
      r: () => this.#session.connection && this.#toolbar.record(),
      s: () => this.#session.connection && this.#toolbar.snapshot(),
      arrowup: () => strength(STRENGTH_STEP),
      arrowdown: () => strength(-STRENGTH_STEP),
      arrowleft: () => this.#styles.step(-1),
      arrowright: () => this.#styles.step(1),
      "?": () => byId("help-open").click(),
    });
  }

  #fullScreen() {
    this.#stage.fullScreen().catch(() => toast("The browser does not give full screen here."));
  }

  #measure() {
    if (!Mirror.possible) {
      toast("This browser cannot measure: it does not let a page send what it draws.");
      return;
    }
    this.#measuring = this.#meter.measuring = !this.#measuring;
    byId("measure").setAttribute("aria-pressed", String(this.#measuring));
    if (this.#measuring) this.#toolbar.toggleOverlay(true);
    const track = this.#outgoing();
    if (track) this.#session.replaceTrack(track).catch(() => toast("The picture could not be changed; stop and start again."));
  }

  #reshape() {
    const { width, height } = this.#settings.confirmed ?? this.#settings.wanted;
    this.#stage.shape(width, height);
    this.#mirror?.shape(width, height);
  }

  /** Shows what the session is doing. */
  #onState() {
    const { situation, running } = this.#session;
    const { state, again, seconds, failure } = situation;
    const live = state === "live";
    if (!live) {
      this.#settings.leave();
      this.#stats = this.#roundTrip = null;
      this.#stage.state = running ? "waiting" : "idle";
    }
    this.#toolbar.live = live;
    byId("start").hidden = running;
    byId("stop").hidden = !running && !this.#source; // a camera that is on can be switched off
    write(byId("start"), this.#picker.invitation);
    byId("status").dataset.state = state;
    const waiting = failure?.reason === "busy" ? "server full, trying again" : again ? "reconnecting" : "trying again";
    if (live) status("live");
    else if (state === "connecting") status(again ? "reconnecting" : "connecting");
    else if (state === "waiting") status(waiting, seconds > 0 ? ` in ${seconds} s` : "");
    else if (!this.#opening) status(failure ? "stopped" : "ready");
    this.#showProblem();
  }

  /** @param {import("./source.js").Source} source */
  #onSourceEnded(source) {
    this.#stop();
    this.#trouble = problems.endedProblem(source.kind);
    this.#showProblem();
    this.#picker.refresh();
  }

  /** @param {unknown} error */
  #onSourceError(error) {
    console.info("streamdiff:", error);
    const known = error instanceof SourceError ? error : new SourceError("camera", "Error", String(error));
    this.#trouble = problems.sourceProblem(known);
    if (!this.#trouble) toast("Nothing was shared.");
    this.#picker.refresh(); // shows again what is in use
    this.#onState();
  }

  #showProblem() {
    problems.showProblem(this.#trouble ?? problems.connectionProblem(this.#session.situation), (action) => this.#act(action));
  }

  /** @param {problems.Action} action of a problem's buttons */
  #act(action) {
    if (action === "camera") this.#start(this.#picker.key.startsWith("camera") ? this.#picker.key : "camera");
    else if (action === "screen" || action === "file") this.#start(action);
    else if (action === "now") this.#session.retryNow();
    else if (action === "reload") location.reload();
    else {
      if (action === "reset") this.#settings.reset();
      this.#send();
    }
  }
}

themeButton(byId("theme"));
const help = /** @type {HTMLDialogElement} */ (byId("help"));
byId("help-open").addEventListener("click", () => help.showModal());
byId("help-close").addEventListener("click", () => help.close());
// A phone has no room for everything at once.
if (matchMedia(NARROW).matches) for (const group of document.querySelectorAll("details")) group.open = false;
const info = await infoOf();
write(byId("model"), info.model);
new App(info);
