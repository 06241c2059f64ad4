/** The settings form: which controls there are, with bounds and words from the server's own schema. */

import { byId, make } from "./dom.js";
import { numberField, rangeField, selectField, similarityField, textField } from "./fields.js";

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./fields.js").Field} Field */

/** Sizes on offer, all multiples of 8; any other that the server has is added when it comes. */
const SIZES = [
  [256, 256, "square"],
  [384, 384, "square"],
  [512, 512, "square"],
  [256, 144, "wide 16:9"],
  [320, 192, "wide 5:3"],
  [512, 288, "wide 16:9"],
  [256, 384, "tall 2:3"],
];
const GUIDANCE = {
  none: "None (fastest)",
  full: "Full (twice the work)",
  self: "Self (no extra work, no negative prompt)",
  onetime: "One-time (negative at the first step)",
};
const MODES = {
  stream: "Picture by picture (earliest)",
  rolling: "Rolling window (steadiest, some pictures later)",
};
const USUAL_SIMILARITY = 0.95;
/** Beyond it a number is no longer exact in a browser. */
const MOST = Number.MAX_SAFE_INTEGER;

/**
 * Builds the form and keeps it in step with the settings.
 *
 * @param {{schema: any, styles: {prompt: string}[], modes?: string[]}} info
 * @param {Settings} settings
 */
export function buildControls(info, settings) {
  const properties = info.schema?.properties ?? {};
  const text = (/** @type {string} */ name) => String(properties[name]?.description ?? "");
  /** @param {string} name @param {number} step @param {number} low @param {number} high */
  const bounds = (name, step, low, high) => {
    const { minimum, exclusiveMinimum, maximum } = properties[name] ?? {};
    const above = exclusiveMinimum === undefined ? low : exclusiveMinimum + step;
    return { min: minimum ?? above, max: maximum ?? high, step };
  };
  /** @param {string} name @param {string} label @param {{step: number, digits: number, low: number, high: number}} scale */
  const range = (name, label, { step, digits, low, high }, hint = text(name)) =>
    rangeField({ id: dashed(name), label, names: [name], hint, digits, ...bounds(name, step, low, high) }, settings);

  const values = info.schema?.$defs?.Guidance?.enum ?? Object.keys(GUIDANCE);
  const unused = (/** @type {any} */ wanted) =>
    wanted.guidance !== "none" && wanted.guidance_scale <= 1
      ? "A scale of 1 and below means no guidance: move it up to see an effect."
      : text("guidance_scale");

  const modes = info.modes ?? [];
  place("main-fields", settings, [
    textField(
      { id: "prompt", label: "Prompt", names: ["prompt"], rows: 2, placeholder: "watercolor, at night", hint: text("prompt") },
      settings,
    ),
    range("strength", "Strength", { step: 0.01, digits: 2, low: 0.01, high: 1 }),
    range("steps", "Steps", { step: 1, digits: 0, low: 1, high: 8 }, "More steps are finer; on a CPU each costs its time."),
    ...(modes.length > 1 ? [modeField(modes, settings)] : []),
  ]);
  place("blend-fields", settings, [
    textField(
      {
        id: "second-prompt", label: "Second prompt", names: ["second_prompt"], list: "known-prompts", hint: text("second_prompt"),
      },
      settings,
    ),
    range("blend", "Blend", { step: 0.01, digits: 2, low: 0, high: 1 }),
  ]);
  place("guidance-fields", settings, [
    textField({ id: "negative-prompt", label: "Negative prompt", names: ["negative_prompt"], hint: text("negative_prompt") }, settings),
    selectField(
      {
        id: "guidance", label: "Guidance", names: ["guidance"],
        options: values.map((/** @type {keyof typeof GUIDANCE} */ value) => [value, GUIDANCE[value] ?? value]),
        read: (from) => from.guidance,
        write: (value) => ({ guidance: value }),
      },
      settings,
    ),
    rangeField(
      {
        id: "guidance-scale", label: "Guidance scale", names: ["guidance_scale"], hint: unused, digits: 1,
        ...bounds("guidance_scale", 0.1, 0, 30),
      },
      settings,
    ),
    range("delta", "Delta", { step: 0.05, digits: 2, low: 0, high: 5 }),
  ]);
  place("picture-fields", settings, [
    selectField(
      {
        id: "size", label: "Size", names: ["width", "height"],
        hint: "The first use of a size prepares the model for it, which may take half a minute.",
        options: SIZES.map(([width, height, shape]) => [`${width}x${height}`, `${width} × ${height} (${shape})`]),
        read: (from) => `${from.width}x${from.height}`,
        write: (value) => {
          const [width, height] = value.split("x").map(Number);
          return { width, height };
        },
        name: (value) => value.replace("x", " × "),
      },
      settings,
    ),
    range("calm", "Calm", { step: 0.05, digits: 2, low: 0, high: 0.95 }),
    numberField({ id: "seed", label: "Seed", names: ["seed"], min: 0, max: MOST, dice: true, hint: text("seed") }, settings),
    similarityField(
      {
        id: "similarity", thresholdId: "similarity-threshold", label: "Skip still pictures", names: ["similarity_threshold"],
        usual: USUAL_SIMILARITY, hint: "Pictures more alike than this are not painted again; it saves work in a quiet scene.",
      },
      settings,
    ),
    numberField(
      {
        id: "max-skip", label: "Most skipped in a row", names: ["max_skip"], hint: text("max_skip"),
        min: properties.max_skip?.minimum ?? 1, max: properties.max_skip?.maximum ?? MOST,
      },
      settings,
    ),
  ]);
  byId("known-prompts").replaceChildren(...info.styles.map((style) => make("option", { value: style.prompt })));
  byId("reset").addEventListener("click", () => settings.reset());
}

/**
 * How video is made; what has no effect in a mode is not shown in it (panel.css).
 *
 * @param {string[]} modes that the server can run
 * @param {Settings} settings
 */
function modeField(modes, settings) {
  const show = () => (document.documentElement.dataset.mode = settings.wanted.mode);
  settings.addEventListener("change", show);
  show();
  return selectField(
    {
      id: "mode", label: "Mode", names: ["mode"],
      hint: "A rolling window paints some pictures together and looks at those before: nothing boils. Its model is loaded at its first use.",
      options: modes.map((/** @type {any} */ mode) => [mode, MODES[/** @type {keyof typeof MODES} */ (mode)] ?? mode]),
      read: (from) => from.mode,
      write: (value) => ({ mode: value }),
    },
    settings,
  );
}

/**
 * @param {string} id of the place
 * @param {Settings} settings
 * @param {Field[]} fields
 */
function place(id, settings, fields) {
  byId(id).replaceChildren(...fields.map((field) => field.element));
  for (const { sync } of fields) {
    settings.addEventListener("change", sync);
    sync();
  }
}

/** @param {string} name */
function dashed(name) {
  return name.replaceAll("_", "-");
}
