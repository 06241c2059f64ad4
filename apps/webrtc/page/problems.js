/** What is wrong and what to do about it, in plain words. Texts only; app.js shows them (showProblem) and acts. */

import { byId, make } from "./dom.js";

/**
 * @typedef {"camera" | "screen" | "file" | "now" | "reset" | "again" | "reload"} Action
 * @typedef {object} Problem
 * @property {string} title what is wrong
 * @property {string} text why, or what it means
 * @property {string[]} [steps] what to do
 * @property {[Action, string][]} [actions] buttons
 * @property {boolean} [passing] it is being dealt with; no need to do anything
 */

const AGAIN = /** @type {[Action, string]} */ (["camera", "Try the camera again"]);
const FILE = /** @type {[Action, string]} */ (["file", "Use a video file"]);
const NOW = /** @type {[Action, string]} */ (["now", "Try now"]);

/** How to allow the camera again, for the browser at hand. @returns {string[]} */
function howToAllow() {
  const agent = navigator.userAgent;
  const safari = /safari/i.test(agent) && !/chrome|chromium|crios|fxios|edg/i.test(agent);
  if (safari && /mobile/i.test(agent)) {
    return ["Tap the page button at the left of the address bar, then Website Settings, and set Camera to Allow.", "Reload this page."];
  }
  if (safari) return ["In the menu bar choose Safari, Settings for This Website, and set Camera to Allow.", "Reload this page."];
  if (/firefox|fxios/i.test(agent)) {
    return ["Click the crossed-out camera in the address bar and remove “Blocked”.", "Press “Try the camera again”."];
  }
  return ["Click the icon at the left of the address bar and switch the camera on.", "Press “Try the camera again”, or reload this page."];
}

/**
 * The browser gives the camera to pages with HTTPS and to localhost only.
 *
 * @returns {Problem}
 */
export function insecureProblem() {
  const port = location.port ? `:${location.port}` : "";
  return {
    title: "The browser hides the camera from this page",
    text: "Browsers give the camera and the screen only to pages that came over HTTPS, or from the same computer.",
    steps: [
      `If streamdiff runs on this computer, open http://localhost${port}/ instead.`,
      "If it runs on another one, start it there with “streamdiff serve --https”, and open the https address that it prints.",
    ],
    actions: [FILE],
  };
}

/**
 * Why there is no picture from a source.
 *
 * @param {import("./source.js").SourceError} error
 * @returns {Problem | null} null: the user changed their mind, which is no problem
 */
export function sourceProblem({ kind, name, message }) {
  if (kind === "file") return fileProblem();
  if (name === "Hidden") {
    if (!globalThis.isSecureContext) return insecureProblem();
    return { title: `This browser has no ${kind} for pages`, text: "It may be too old, or not let pages use it here.", actions: [FILE] };
  }
  const denied = name === "NotAllowedError" || name === "SecurityError" || name === "PermissionDeniedError";
  if (kind === "screen") {
    // Closing the browser's dialog and forbidding the system's permission look the same but for this word.
    if (denied && !/system/i.test(message)) return null;
    return {
      title: "The screen could not be shared",
      text: "The system may not allow the browser to record the screen.",
      steps: ["In the system's privacy settings allow screen recording for this browser.", "Start the browser again."],
      actions: [["screen", "Try again"], FILE],
    };
  }
  if (denied && /system/i.test(message)) {
    return {
      title: "The system does not let the browser use the camera",
      text: "The page may use it, but the system's privacy settings forbid it to the browser.",
      steps: ["Open the system's settings, Privacy, Camera, and allow this browser.", "Start the browser again."],
      actions: [AGAIN, FILE],
    };
  }
  if (denied) {
    return {
      title: "This page may not use the camera",
      text: "The browser asked, and the answer was no, now or earlier.",
      steps: howToAllow(),
      actions: [AGAIN, FILE],
    };
  }
  if (["NotFoundError", "DevicesNotFoundError", "OverconstrainedError"].includes(name)) {
    return {
      title: "No camera was found",
      text: "There is none, or it is switched off.",
      steps: ["Plug a camera in, or open its cover or switch.", "Or use a shared screen or a video file."],
      actions: [AGAIN, FILE],
    };
  }
  if (["NotReadableError", "TrackStartError", "AbortError"].includes(name)) {
    return {
      title: "The camera is used by another program",
      text: "It is there, but gives no picture.",
      steps: ["Close video calls and other programs or tabs that use it.", "If none does, unplug it and plug it in again."],
      actions: [AGAIN, FILE],
    };
  }
  return { title: "The camera did not start", text: `The browser says: ${message || name}.`, actions: [AGAIN, FILE] };
}

/** @returns {Problem} */
function fileProblem() {
  return {
    title: "This file cannot be played here",
    text: "The browser does not know its format. MP4 with H.264 and WebM play everywhere.",
    actions: [["file", "Choose another file"]],
  };
}

/**
 * A source that ended by itself.
 *
 * @param {import("./source.js").Kind} kind
 * @returns {Problem}
 */
export function endedProblem(kind) {
  if (kind === "screen") {
    return { title: "Sharing has ended", text: "The screen is not shared any more.", actions: [["screen", "Share again"]], passing: true };
  }
  return {
    title: "The camera is gone",
    text: "It was unplugged, or the system gave it to another program.",
    actions: [AGAIN, FILE],
  };
}

/**
 * What is wrong with the connection.
 *
 * @param {import("./session.js").Situation} situation
 * @returns {Problem | null} null: nothing worth a word
 */
export function connectionProblem({ state, again, failure }) {
  if (!failure || state === "idle" || state === "live") return null;
  switch (failure.reason) {
    case "token":
      return tokenProblem();
    case "refused":
      return {
        title: "The server refused to begin",
        text: `It says: ${failure.message}.`,
        actions: [["reset", "Reset the settings"], ["again", "Try again"]],
      };
    case "busy":
      return {
        title: "The server has no room just now",
        text: `It says: ${failure.message}. This page tries again by itself, and your settings are kept.`,
        actions: [NOW],
        passing: true,
      };
    case "slow":
      return {
        title: "The server is taking long",
        text: "It may still be preparing the model for this picture size, which happens once. This page tries again by itself.",
        actions: [["reset", "Reset the settings"], NOW],
      };
    case "unreachable":
      return again
        ? {
            title: "The server does not answer",
            text: "It was stopped, or the network is down. This page connects again by itself, and your settings are kept.",
            steps: ["Look whether “streamdiff serve” still runs."],
            actions: [NOW],
          }
        : serverProblem();
    case "media":
      return {
        title: "The picture finds no way to the server",
        text: `The server answers, but video cannot reach it: ${failure.message}.`,
        steps: ["Allow UDP between this device and the server: a firewall or a guest network may block it.", "Across the internet the server needs a STUN or TURN server."],
        actions: [NOW],
      };
    case "server":
      return { title: "The server ran into an error", text: `It says: ${failure.message}. This page tries again by itself.`, actions: [NOW] };
    default:
      return {
        title: "The connection was lost",
        text: "This page connects again by itself, and your settings are kept.",
        actions: [NOW],
        passing: true,
      };
  }
}

/** @returns {Problem} */
export function tokenProblem() {
  return {
    title: "This server wants a token",
    text: "This browser did not bring one, or it is not the right one any more.",
    steps: ["Open the whole address that “streamdiff serve” printed when it was started, the one with “?token=” in it."],
    actions: [["reload", "Reload"]],
  };
}

/**
 * A server that answers, but not to this page.
 *
 * @param {string} message its own words
 * @returns {Problem}
 */
export function refusalProblem(message) {
  return { title: "The server does not serve this page", text: `It says: ${message}.`, actions: [["reload", "Reload"]] };
}

/** @returns {Problem} */
export function serverProblem() {
  return {
    title: "The server does not answer",
    text: "This page tries again by itself.",
    steps: ["Look whether “streamdiff serve” still runs, and whether this device is in the same network."],
    actions: [NOW],
  };
}

/** @returns {Problem} */
export function oldBrowserProblem() {
  return {
    title: "This browser cannot do live video",
    text: "It has no WebRTC, or it is switched off.",
    steps: ["Use a current Chrome, Edge, Firefox or Safari."],
  };
}

let shown = "";
/** @type {(action: Action) => void} */
let handle = () => {};

/**
 * Shows a problem, or none.
 *
 * @param {Problem | null} problem
 * @param {(action: Action) => void} act is called for its buttons
 */
export function showProblem(problem, act) {
  const box = byId("problem");
  handle = act;
  // Said once: a screen reader would read it again with every attempt.
  const text = JSON.stringify(problem);
  if (text === shown) return;
  shown = text;
  box.hidden = !problem;
  if (!problem) {
    box.replaceChildren();
    return;
  }
  const { title, text: why, steps = [], actions = [], passing = false } = problem;
  box.dataset.tone = passing ? "passing" : "serious";
  const buttons = actions.map(([action, label]) => {
    const button = make("button", { type: "button", class: "button", "data-action": action }, label);
    button.addEventListener("click", () => handle(action));
    return button;
  });
  box.replaceChildren(
    make("h2", {}, title),
    make("p", {}, why),
    ...(steps.length ? [make("ol", {}, ...steps.map((step) => make("li", {}, step)))] : []),
    ...(buttons.length ? [make("div", { class: "row" }, ...buttons)] : []),
  );
}
