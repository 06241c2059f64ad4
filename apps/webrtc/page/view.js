/** The bare player: a session's stylised video over WHEP, full window, muted, for ever. Made for OBS's browser source. */

import { gathered, preferCodecs, showAtOnce } from "./connection.js";

const BACK_OFF_MS = [500, 1000, 2000, 4000, 8000];
const GRACE_MS = 2000;
const CONNECT_MS = 15_000;
/** So long the last picture stays when the stream has broken off; then there is nothing, which OBS shows through. */
const HOLD_MS = 5000;

const video = /** @type {HTMLVideoElement} */ (document.getElementById("output"));
const session = location.pathname.split("/").filter(Boolean).pop() ?? "";
const ANSWER_MS = 15_000;
/** Where this viewer is ended; the server knows it by that. */
let place = "";

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** STUN and TURN servers, where the server names any; without them it works in the same network. */
async function iceServers() {
  try {
    const info = await (await fetch("/api/info", { signal: AbortSignal.timeout(ANSWER_MS) })).json();
    return info.ice_servers ?? [];
  } catch {
    return [];
  }
}

/** Tells the server that nobody watches here any more. */
function leave() {
  if (place) fetch(place, { method: "DELETE", keepalive: true }).catch(() => {});
  place = "";
}

/**
 * Watches until the stream breaks off.
 *
 * @returns {Promise<boolean>} whether a picture could flow
 */
async function watch() {
  const pc = new RTCPeerConnection({ iceServers: await iceServers() });
  try {
    const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
    preferCodecs(transceiver);
    showAtOnce(transceiver.receiver);
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc);
    const response = await fetch(`/whep/${encodeURIComponent(session)}`, {
      method: "POST",
      signal: AbortSignal.timeout(ANSWER_MS),
      headers: { "Content-Type": "application/sdp" },
      body: pc.localDescription?.sdp,
    });
    if (!response.ok) throw new Error(`the server answered with status ${response.status}`);
    place = response.headers.get("Location") ?? "";
    await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    return await untilLost(pc, new MediaStream([transceiver.receiver.track]));
  } finally {
    pc.close();
    leave();
  }
}

/**
 * @param {RTCPeerConnection} pc
 * @param {MediaStream} stream
 * @returns {Promise<boolean>}
 */
function untilLost(pc, stream) {
  return new Promise((resolve) => {
    let connected = false;
    let timer = setTimeout(() => resolve(false), CONNECT_MS);
    const look = () => {
      const state = pc.connectionState;
      clearTimeout(timer);
      if (state === "connected") {
        connected = true;
        show(stream);
      } else if (state === "failed" || state === "closed") {
        resolve(connected);
      } else {
        timer = setTimeout(() => resolve(connected), state === "disconnected" ? GRACE_MS : CONNECT_MS);
      }
    };
    pc.addEventListener("connectionstatechange", look);
    // The server ends the track when the session ends, which it may do without ending the connection.
    stream.getVideoTracks()[0].addEventListener("ended", () => resolve(connected));
  });
}

let hide = 0;

/** @param {MediaStream} stream */
function show(stream) {
  clearTimeout(hide);
  video.srcObject = stream;
  video.play().catch(() => {});
  document.body.dataset.state = "live";
  document.title = "streamdiff: live";
}

async function watchForEver() {
  let failures = 0;
  for (;;) {
    const watched = await watch().catch((error) => {
      console.info("streamdiff:", error.message);
      return false;
    });
    document.title = "streamdiff: waiting for the stream";
    if (watched) {
      failures = 0;
      hide = setTimeout(() => delete document.body.dataset.state, HOLD_MS);
    }
    await pause(BACK_OFF_MS[Math.min(failures++, BACK_OFF_MS.length - 1)]);
  }
}

// OBS's own style for transparency is refused by the page's security policy.
if ("obsstudio" in window) document.documentElement.dataset.obs = "true";
if (new URLSearchParams(location.search).get("fit") === "cover") document.body.dataset.fit = "cover";
addEventListener("pagehide", leave);
watchForEver();
