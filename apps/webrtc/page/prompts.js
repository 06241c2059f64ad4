/** Prompts as lists of words between commas: a style (or anything else) and any number of moods. Pure functions. */

/** @typedef {{name: string, prompt: string, synonyms?: string[]}} Style */

/** @param {string} prompt @returns {string[]} */
function parts(prompt) {
  return prompt
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
}

/**
 * Whether words are one of the names of a style or mood.
 *
 * @param {string} words
 * @param {Style} style
 */
export function names(words, style) {
  const wanted = words.trim().toLowerCase();
  return [style.name, style.prompt, ...(style.synonyms ?? [])].some((name) => name.toLowerCase() === wanted);
}

/**
 * The style that a prompt asks for, if it asks for a known one.
 *
 * @template {Style} S
 * @param {string} prompt
 * @param {S[]} styles
 * @returns {S | undefined}
 */
export function styleOf(prompt, styles) {
  return styles.find((style) => parts(prompt).some((part) => names(part, style)));
}

/**
 * A prompt with another style; its moods stay.
 *
 * @param {string} prompt
 * @param {Style} style
 * @param {Style[]} moods
 */
export function withStyle(prompt, style, moods) {
  const kept = parts(prompt).filter((part) => moods.some((mood) => names(part, mood)));
  return [style.prompt, ...kept].join(", ");
}

/**
 * @param {string} prompt
 * @param {Style} mood
 */
export function hasMood(prompt, mood) {
  return parts(prompt).some((part) => names(part, mood));
}

/**
 * A prompt with a mood added at its end, or taken out.
 *
 * @param {string} prompt
 * @param {Style} mood
 */
export function toggleMood(prompt, mood) {
  const all = parts(prompt);
  const without = all.filter((part) => !names(part, mood));
  return (without.length < all.length ? without : [...all, mood.prompt]).join(", ");
}
