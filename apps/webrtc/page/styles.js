/** Style buttons with pictures, and moods as chips: both only write the prompt, and show what it says. */

import { byId, make } from "./dom.js";
import { hasMood, styleOf, toggleMood, withStyle } from "./prompts.js";

/** @typedef {import("./prompts.js").Style} Style */
/** @typedef {import("./settings.js").Settings} Settings */

/**
 * @param {{styles: Style[], moods: Style[], preview: boolean}} info
 * @param {Settings} settings
 * @returns {{step: (by: number) => void}} step goes to the next style, or with -1 to the one before
 */
export function buildStyles({ styles, moods, preview }, settings) {
  const choose = (/** @type {Style} */ style) => settings.change({ prompt: withStyle(settings.wanted.prompt, style, moods) });
  const tiles = styles.map((style) => tile(style, preview, () => choose(style)));
  const chips = moods.map((mood) => {
    const chip = make("button", { type: "button", class: "chip", "data-mood": mood.name }, mood.name);
    chip.addEventListener("click", () => settings.change({ prompt: toggleMood(settings.wanted.prompt, mood) }));
    return chip;
  });
  byId("styles").replaceChildren(...tiles);
  byId("moods").replaceChildren(...chips);
  byId("styles-section").hidden = !styles.length;
  byId("moods-section").hidden = !moods.length;

  const sync = () => {
    const { prompt } = settings.wanted;
    const current = styleOf(prompt, styles);
    tiles.forEach((element, index) => element.setAttribute("aria-pressed", String(styles[index] === current)));
    chips.forEach((element, index) => element.setAttribute("aria-pressed", String(hasMood(prompt, moods[index]))));
  };
  settings.addEventListener("change", sync);
  sync();

  return {
    step(by) {
      if (!styles.length) return;
      const current = styleOf(settings.wanted.prompt, styles);
      const from = current ? styles.indexOf(current) : by > 0 ? -1 : styles.length;
      const next = (from + by + styles.length) % styles.length;
      choose(styles[next]);
      tiles[next].scrollIntoView({ block: "nearest", inline: "nearest" });
    },
  };
}

/**
 * @param {Style} style
 * @param {boolean} preview whether the server draws examples
 * @param {() => void} choose
 */
function tile(style, preview, choose) {
  const button = make("button", {
    type: "button", class: "style", "data-style": style.name, "aria-label": `Style: ${style.name}`, title: style.prompt,
  });
  if (preview) {
    const source = `/api/preview?style=${encodeURIComponent(style.name)}`;
    const picture = make("img", { src: source, alt: `Example in the style ${style.name}`, loading: "lazy", decoding: "async" });
    picture.addEventListener("error", () => picture.remove()); // the name alone does it too
    button.append(picture);
  }
  button.append(make("span", {}, style.name));
  button.addEventListener("click", choose);
  return button;
}
