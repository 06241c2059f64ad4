/** Being called for each picture that a video shows. */

const HIDDEN_MS = 40;

/**
 * Calls back for each new picture of a video, until told to stop. Where browsers lack requestVideoFrameCallback, and while
 * the page is hidden and they call nobody, a timer takes its place.
 *
 * @param {HTMLVideoElement} video
 * @param {(now: number, about: Partial<VideoFrameCallbackMetadata>) => void} onFrame now: when it is or was shown, on the
 *   clock of performance.now()
 * @returns {() => void} stops it
 */
export function everyFrame(video, onFrame) {
  let stopped = false;
  let handle = 0;
  let lastTime = -1;
  const precise = "requestVideoFrameCallback" in video;

  /** @param {number} now @param {VideoFrameCallbackMetadata} about */
  const onPrecise = (now, about) => {
    if (stopped) return;
    handle = video.requestVideoFrameCallback(onPrecise);
    const shown = about.expectedDisplayTime;
    // The screen may be late by a refresh or two, never by a second: some browsers leave this empty or use another clock.
    onFrame(shown > now && shown < now + 1000 ? shown : now, about);
  };
  const onTimer = () => {
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.currentTime === lastTime) return;
    lastTime = video.currentTime;
    onFrame(performance.now(), {});
  };
  const onAnimation = () => {
    if (stopped) return;
    handle = requestAnimationFrame(onAnimation);
    onTimer();
  };
  if (precise) handle = video.requestVideoFrameCallback(onPrecise);
  else handle = requestAnimationFrame(onAnimation);
  const timer = setInterval(() => document.hidden && onTimer(), HIDDEN_MS);

  return () => {
    stopped = true;
    clearInterval(timer);
    if (precise) video.cancelVideoFrameCallback(handle);
    else cancelAnimationFrame(handle);
  };
}
