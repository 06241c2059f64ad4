/** Speaking HTTP to the server, and what can go wrong with it. */

/**
 * Why something did not work, in a form that the page can act on.
 *
 * - unreachable: no answer at all
 * - slow: none in time
 * - token: the server wants a token that this browser did not bring
 * - busy: full, or too many sessions opened; comes with retryAfter
 * - refused: the server understood and said no; trying again will not help
 * - server: the server ran into an error
 * - media: the picture found no way (ICE)
 * - lost: a connection that worked has ended
 *
 * @typedef {"unreachable" | "slow" | "token" | "busy" | "refused" | "server" | "media" | "lost"} Reason
 */

/** A request or connection that failed. */
export class Failure extends Error {
  /**
   * @param {Reason} reason
   * @param {string} message one line for people: the server's own where it gave one
   * @param {number | null} [retryAfter] seconds the server asked to wait
   */
  constructor(reason, message, retryAfter = null) {
    super(message);
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

const WAIT_WHEN_BUSY = 5;

/** @param {number} status @returns {Reason} */
function reasonOf(status) {
  if (status === 401) return "token";
  if (status === 503 || status === 429) return "busy";
  return status >= 500 ? "server" : "refused";
}

/**
 * Asks the server for JSON.
 *
 * @param {string} path
 * @param {{method?: string, body?: unknown, seconds?: number}} [options] body is sent as JSON; seconds is the longest wait
 * @returns {Promise<any>}
 * @throws {Failure}
 */
export async function call(path, { method = "GET", body, seconds = 15 } = {}) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), seconds * 1000);
  try {
    const response = await fetch(path, {
      method,
      signal: control.signal,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const reply = await response.json().catch(() => null);
    if (response.ok) return reply;
    const reason = reasonOf(response.status);
    const text = typeof reply?.error === "string" ? reply.error : `the server answered with status ${response.status}`;
    throw new Failure(reason, text, reason === "busy" ? Number(response.headers.get("Retry-After")) || WAIT_WHEN_BUSY : null);
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (control.signal.aborted) throw new Failure("slow", "the server takes too long to answer");
    throw new Failure("unreachable", "no answer from the server");
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Ends a session without waiting, also while the page is being closed.
 *
 * @param {string} id
 */
export function abandon(id) {
  fetch(`/api/sessions/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
}
