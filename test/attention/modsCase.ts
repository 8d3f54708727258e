import type { DType } from '../../src/core/dtype.js';
import type { Tensor } from '../../src/core/tensor.js';
import type { MaskMod, ScoreMod } from '../../src/index.js';
import type { ModOptions } from '../../src/reference/attention.js';
import { upload } from '../../tools/deviceTensor.js';
import type { Random } from '../../tools/random.js';

// Functions of a caller's own for the cases of attention, in WGSL and in JavaScript.

export interface ModsCase {
  readonly scoreMod?: keyof typeof SCORE_MODS | undefined;
  readonly maskMod?: keyof typeof MASK_MODS | undefined;
}

/** What the functions of a case depend on. */
interface Drawn {
  readonly nHeads: number;
  /** Of the longest sequence. */
  readonly nKeys: number;
  readonly random: Random;
}

interface HostArray {
  readonly dtype: DType;
  readonly data: Float32Array | Int32Array;
}

/** A mod with numbers. */
interface DrawnMod<Run> {
  readonly code: string;
  readonly params?: readonly number[];
  readonly tensors?: Readonly<Record<string, HostArray>>;
  readonly run: Run;
}

type RunScore = NonNullable<ModOptions['scoreMod']>;
type RunMask = NonNullable<ModOptions['maskMod']>;

const FARTHEST = 20;

const SCORE_MODS = {
  /** ALiBi, with slopes in a tensor. */
  slopes({ random, nHeads }) {
    const slopes = random.uniforms(nHeads, 0, 0.3);
    return {
      code: `
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return score - slopes[h] * f32(abs(q - k));
}`,
      tensors: { slopes: { dtype: 'f32', data: slopes } },
      run: (score, _b, h, q, k) => score - slopes[h]! * Math.abs(q - k),
    };
  },

  /** A bias by distance and head, as in T5. */
  relative({ random, nHeads }) {
    const width = 2 * FARTHEST + 1;
    const table = random.normals(nHeads * width);
    return {
      code: `
const FARTHEST = ${FARTHEST}; // further apart all is alike
fn place(distance: i32) -> u32 { return u32(clamp(distance, -FARTHEST, FARTHEST) + FARTHEST); }
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return score + bias[h * (2 * FARTHEST + 1) + place(q - k)];
}`,
      tensors: { bias: { dtype: 'f32', data: table } },
      run: (score, _b, h, q, k) =>
        score + table[h * width + Math.min(Math.max(q - k, -FARTHEST), FARTHEST) + FARTHEST]!,
    };
  },

  /** A cap, by parameters. */
  cap({ random }) {
    const cap = random.pick([5, 30]);
    return {
      code: `
struct Cap { at: f32, inverse: f32 }
fn capped(x: f32) -> f32 {
  if (abs(x) < 0.1) { return x * (1.0 + x * x * (x * x * (2.0 / 15.0) - 1.0 / 3.0)); }
  return 1.0 - 2.0 / (exp2(clamp(x, -20.0, 20.0) * 2.8853900817779268) + 1.0);
}
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  let cap = Cap(mod_params[0], 1.0 / mod_params[0]);
  return cap.at * capped(score * cap.inverse);
}`,
      params: [cap],
      run: (score) => cap * Math.tanh(score / cap),
    };
  },

  /** Hides some keys, by all that hides, some of them from all heads. */
  hiding() {
    return {
      code: `
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  let kind = (u32(k) + b) % 7u;
  if (kind == 0u) { return bitcast<f32>(0xff800000u | min(b, 0u)); }
  if (kind == 1u + h % 3u) { return -3e38; }
  return select(score, bitcast<f32>(0x7fc00000u | min(b, 0u)), kind == 5u);
}`,
      run: (score, b, h, _q, k) => {
        const kind = (((k >>> 0) + b) >>> 0) % 7;
        return kind === 0 || kind === 1 + (h % 3) || kind === 5 ? -Infinity : score;
      },
    };
  },

  /** By sequence and head. */
  scaled() {
    return {
      code: `
fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32 {
  return score * (1.0 + 0.25 * f32(b % 3u)) + mod_params[7] * f32(h) + 0.01 * f32(k % 5);
}`,
      params: [0, 0, 0, 0, 0, 0, 0, -0.5],
      run: (score, b, h, _q, k) => score * (1 + 0.25 * (b % 3)) - 0.5 * h + 0.01 * (k % 5),
    };
  },
} as const satisfies Readonly<Record<string, (drawn: Drawn) => DrawnMod<RunScore>>>;

const MASK_MODS = {
  /** Tokens see those of their own document, but for some that are padding. */
  documents({ random, nKeys }) {
    let document = 0;
    const documents = Int32Array.from({ length: nKeys }, () => (document += random.int(0, 12) === 0 ? 1 : 0));
    const of = (position: number): number => documents[Math.min(Math.max(position, 0), nKeys - 1)]!;
    return {
      code: `
fn document(position: i32) -> i32 {
  return documents[clamp(position, 0, i32(arrayLength(&documents)) - 1)];
}
fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool {
  return document(q) == document(k) && document(k) % 5 != 2;
}`,
      tensors: { documents: { dtype: 'i32', data: documents } },
      run: (_b, _h, q, k) => of(q) === of(k) && of(k) % 5 !== 2,
    };
  },

  /** Those just before. */
  window({ random, nKeys }) {
    const left = random.int(0, Math.max(1, nKeys));
    return {
      code: `fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return k <= q && q - k <= i32(mod_params[0]); }`,
      params: [left],
      run: (_b, _h, q, k) => k <= q && q - k <= left,
    };
  },

  /** All of a beginning, and what is before. */
  prefix({ random, nKeys }) {
    const length = random.int(0, Math.max(1, nKeys));
    return {
      code: `
fn mask_mod(batch: u32, head: u32, query: i32, key: i32) -> bool {
  return key <= query || f32(key) < mod_params[0];
}`,
      params: [length],
      run: (_b, _h, q, k) => k <= q || k < length,
    };
  },

  /** By sequence and head; some rows see nothing. */
  stripes() {
    return {
      code: `
const seen = 3u;
fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool {
  return (u32(k / 8) + b + h) % 4u < seen && u32(q) % 5u != h;
}`,
      run: (b, h, q, k) => (((Math.trunc(k / 8) >>> 0) + b + h) >>> 0) % 4 < 3 && (q >>> 0) % 5 !== h,
    };
  },
} as const satisfies Readonly<Record<string, (drawn: Drawn) => DrawnMod<RunMask>>>;

export const SCORE_MOD_NAMES = Object.keys(SCORE_MODS) as readonly (keyof typeof SCORE_MODS)[];
export const MASK_MOD_NAMES = Object.keys(MASK_MODS) as readonly (keyof typeof MASK_MODS)[];

/** The functions of a case: in JavaScript for the reference, and in WGSL. */
export interface ModInputs extends ModOptions {
  readonly mods?: {
    readonly scoreMod?: DrawnMod<unknown> | undefined;
    readonly maskMod?: DrawnMod<unknown> | undefined;
  };
}

export function drawMods(
  random: Random,
  { scoreMod, maskMod }: ModsCase,
  of: Omit<Drawn, 'random'>,
): ModInputs {
  const drawn = { ...of, random };
  const score: DrawnMod<RunScore> | undefined = scoreMod && SCORE_MODS[scoreMod](drawn);
  const mask: DrawnMod<RunMask> | undefined = maskMod && MASK_MODS[maskMod](drawn);
  if (!score && !mask) return {};
  return {
    ...(score && { scoreMod: score.run }),
    ...(mask && { maskMod: mask.run }),
    mods: { scoreMod: score, maskMod: mask },
  };
}

/** The arguments of a call, with tensors that the caller frees. */
export function placeMods(
  device: GPUDevice,
  { scoreMod, maskMod }: ModsCase,
  { mods }: ModInputs,
): {
  readonly args: { readonly scoreMod?: ScoreMod; readonly maskMod?: MaskMod };
  readonly lent: readonly Tensor[];
} {
  const lent: Tensor[] = [];
  const place = (name: string, { code, params, tensors = {} }: DrawnMod<unknown>): ScoreMod => ({
    name,
    code,
    ...(params && { params }),
    tensors: Object.fromEntries(
      Object.entries(tensors).map(([array, { dtype, data }]) => {
        const tensor = upload(device, dtype, [data.length], data, { offset: 64 });
        lent.push(tensor);
        return [array, tensor];
      }),
    ),
  });
  const args = {
    ...(mods?.scoreMod && { scoreMod: place(scoreMod!, mods.scoreMod) }),
    ...(mods?.maskMod && { maskMod: place(maskMod!, mods.maskMod) }),
  };
  return { args, lent };
}
