/**
 * A time code that survives a painter: 16 bits as large black and white cells along the bottom of a picture.
 *
 * Two rows of 16 cells. The four corners are guards (black and white, known), the other 28 cells hold the value and a
 * 12-bit check. A style may turn black into yellow and white into blue: the guards say what they became, and every other
 * cell is measured along the line between them. Pure functions and no DOM at import, so that node can test them.
 */

/** Cells in a row; at 256 pixels a cell is 16 wide, two of the latent pixels that the model paints with. */
export const COLUMNS = 16;
/** Rows of cells. */
export const ROWS = 2;
/** The value counts units of this many milliseconds ... */
export const UNIT_MS = 4;
/** ... and starts again after this many of them (262 s). */
export const RANGE = 1 << 16;

// Any two codes differ in at least 6 of the 28 cells (found by trying all polynomials of this length): one wrong cell
// can be put right, and four are still noticed.
const POLYNOMIAL = 0x10f7;
const CHECK_BITS = 12;
const DATA_BITS = 16;
const CODE_BITS = DATA_BITS + CHECK_BITS;
// Flips half of the cells, so that small values are not long runs of black, which styles fill with texture.
const WHITENING = 0x5a5a5a5;

const CELLS = COLUMNS * ROWS;
const BLACK_GUARDS = [0, CELLS - 1];
const WHITE_GUARDS = [COLUMNS - 1, COLUMNS];
const CODE_CELLS = [...Array(CELLS).keys()].filter((n) => !BLACK_GUARDS.includes(n) && !WHITE_GUARDS.includes(n));

/** Below this distance between the guards (RGB, of 441) black and white have become the same, and nothing is read. */
const LEAST_CONTRAST = 20;

/** @param {number} data @returns {number} remainder of data * x^12 */
function check(data) {
  let rest = data << CHECK_BITS;
  for (let bit = CODE_BITS - 1; bit >= CHECK_BITS; bit--) {
    if (rest & (1 << bit)) rest ^= POLYNOMIAL << (bit - CHECK_BITS);
  }
  return rest;
}

/** @param {number} value @returns {number} 28 bits */
function encode(value) {
  const data = value & (RANGE - 1);
  return ((data << CHECK_BITS) | check(data)) ^ WHITENING;
}

/** @param {number} code @returns {number | null} the value, with at most one wrong bit put right */
function decode(code) {
  const plain = code ^ WHITENING;
  const right = (/** @type {number} */ word) => check(word >>> CHECK_BITS) === (word & ((1 << CHECK_BITS) - 1));
  if (right(plain)) return plain >>> CHECK_BITS;
  for (let bit = 0; bit < CODE_BITS; bit++) {
    const repaired = plain ^ (1 << bit);
    if (right(repaired)) return repaired >>> CHECK_BITS;
  }
  return null;
}

/** @param {number} value @returns {boolean[]} which of the 32 cells are white */
function cellsOf(value) {
  const white = Array(CELLS).fill(false);
  for (const cell of WHITE_GUARDS) white[cell] = true;
  const code = encode(value);
  CODE_CELLS.forEach((cell, index) => (white[cell] = Boolean((code >>> (CODE_BITS - 1 - index)) & 1)));
  return white;
}

/**
 * Paints the code of a value over the bottom of a picture.
 *
 * @param {Pick<CanvasRenderingContext2D, "fillRect" | "fillStyle">} ctx
 * @param {number} width of the picture
 * @param {number} height of the picture
 * @param {number} value whole number; only its 16 low bits count
 */
export function draw(ctx, width, height, value) {
  const edge = (/** @type {number} */ n) => Math.round((n * width) / COLUMNS);
  cellsOf(value).forEach((white, cell) => {
    const [column, row] = [cell % COLUMNS, Math.floor(cell / COLUMNS)];
    const [left, top] = [edge(column), height - edge(ROWS - row)];
    ctx.fillStyle = white ? "#ffffff" : "#000000";
    ctx.fillRect(left, top, edge(column + 1) - left, edge(ROWS - row) - edge(ROWS - row - 1));
  });
}

/**
 * Reads the code at the bottom of a picture (the picture itself, or only its strip: what lies above is not looked at).
 *
 * @param {Pick<ImageData, "data" | "width" | "height">} image
 * @returns {number | null} the value; null where there is none to be read
 */
export function read(image) {
  const size = image.width / COLUMNS;
  if (size < 4 || image.height < Math.floor(ROWS * size)) return null;
  const colours = [...Array(CELLS).keys()].map((cell) => middleOf(image, cell, size));
  const black = mean(BLACK_GUARDS.map((cell) => colours[cell]));
  const white = mean(WHITE_GUARDS.map((cell) => colours[cell]));
  const axis = white.map((value, n) => value - black[n]);
  const length = Math.hypot(...axis);
  if (length < LEAST_CONTRAST) return null;
  /** Where a colour lies between the guards: 0 is black's, 1 is white's, whatever colours those are by now. */
  const place = (/** @type {number[]} */ colour) =>
    colour.reduce((sum, value, n) => sum + (value - black[n]) * axis[n], 0) / length ** 2;
  let code = 0;
  for (const cell of CODE_CELLS) code = (code << 1) | (place(colours[cell]) > 0.5 ? 1 : 0);
  return decode(code);
}

/**
 * Mean colour of the middle of a cell: its rim belongs to outlines, blur and the neighbours.
 *
 * @param {Pick<ImageData, "data" | "width" | "height">} image
 * @param {number} cell
 * @param {number} size
 */
function middleOf(image, cell, size) {
  const left = (cell % COLUMNS) * size;
  const top = image.height - (ROWS - Math.floor(cell / COLUMNS)) * size;
  const [x0, x1] = [Math.round(left + size / 4), Math.round(left + (size * 3) / 4)];
  const [y0, y1] = [Math.max(0, Math.round(top + size / 4)), Math.round(top + (size * 3) / 4)];
  const sum = [0, 0, 0];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const at = (y * image.width + x) * 4;
      for (let channel = 0; channel < 3; channel++) sum[channel] += image.data[at + channel];
    }
  }
  return sum.map((value) => value / Math.max(1, (x1 - x0) * (y1 - y0)));
}

/** @param {number[][]} colours */
function mean(colours) {
  return colours[0].map((_, n) => colours.reduce((sum, colour) => sum + colour[n], 0) / colours.length);
}

/** @param {number} ms a performance.now() @returns {number} the value that stands for it */
export function valueOf(ms) {
  return Math.floor(ms / UNIT_MS) % RANGE;
}

/**
 * Milliseconds from the moment a value stands for until another moment.
 *
 * @param {number} value
 * @param {number} ms a performance.now() after it
 */
export function ageOf(value, ms) {
  return ((((ms / UNIT_MS - value) % RANGE) + RANGE) % RANGE) * UNIT_MS;
}
