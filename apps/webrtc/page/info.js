/** What the server is and has: asked for at the start, until it answers. */

import { call, Failure } from "./api.js";
import { status } from "./dom.js";
import { refusalProblem, serverProblem, showProblem, tokenProblem } from "./problems.js";

const BACK_OFF_MS = [500, 1000, 2000, 4000, 8000];

/**
 * @typedef {object} Info
 * @property {string} version
 * @property {string} model
 * @property {import("./prompts.js").Style[]} styles
 * @property {import("./prompts.js").Style[]} moods
 * @property {Record<string, any>} defaults
 * @property {any} schema
 * @property {RTCIceServer[]} ice_servers
 * @property {boolean} preview
 */

/** @returns {Promise<Info>} */
export async function infoOf() {
  for (let failures = 0; ; failures++) {
    try {
      return await call("/api/info");
    } catch (error) {
      const failure = error instanceof Failure ? error : new Failure("server", String(error));
      // Waiting does not bring a token; only another address or cookie does.
      const final = failure.reason === "token" || failure.reason === "refused";
      status(final ? "stopped" : "waiting for the server");
      await new Promise((resolve) => {
        showProblem(problemOf(failure), (action) => (action === "reload" ? location.reload() : resolve(undefined)));
        if (!final) setTimeout(resolve, BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)]);
      });
    }
  }
}

/** @param {Failure} failure */
function problemOf(failure) {
  if (failure.reason === "token") return tokenProblem();
  return failure.reason === "refused" ? refusalProblem(failure.message) : serverProblem();
}
