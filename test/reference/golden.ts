import { decode, type FloatDType } from '../../src/core/dtype.js';
import { parseSafeTensors, type SafeTensor } from '../model/safetensors.js';

/** Real numbers as stored (`raw`: halves as bits) and as f32 (`data`). */
export interface GoldenFloats {
  readonly dtype: FloatDType;
  readonly shape: readonly number[];
  readonly raw: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
  readonly data: Float32Array<ArrayBuffer>;
}

export interface GoldenInts {
  readonly shape: readonly number[];
  readonly data: Int32Array<ArrayBuffer>;
}

/** The arguments of a case that are not tensors, by the names of the contract. */
export interface GoldenArgs {
  readonly causal?: boolean;
  readonly windowSize?: readonly [number, number];
  readonly softcap?: number;
  readonly rotaryInterleaved?: boolean;
}

interface GoldenCommon<Fn extends string, Floats extends string, Ints extends string> {
  readonly name: string;
  readonly fn: Fn;
  /** Of q, k, v and the caches; the answers are f32 except `wantK` and `wantV`. */
  readonly dtype: FloatDType;
  readonly args: GoldenArgs;
  /** The program that computed the answers, and how. */
  readonly origin: string;
  readonly floats: Readonly<Record<'q' | 'out' | 'lse' | Floats, GoldenFloats>> & {
    readonly [optional: string]: GoldenFloats | undefined;
  };
  readonly ints: Readonly<Record<Ints, GoldenInts>> & { readonly [optional: string]: GoldenInts | undefined };
}

export type GoldenVarlen = GoldenCommon<'attnVarlen', 'k' | 'v', 'cuSeqlensQ'>;

/** `wantK`, `wantV`: the cache afterwards, sequence after sequence, valid slots only; NaN where leftpad hides. */
export type GoldenKvCache = GoldenCommon<
  'attnWithKvCache',
  'kCache' | 'vCache' | 'wantK' | 'wantV',
  'cacheSeqlens'
>;

export type GoldenCase = GoldenVarlen | GoldenKvCache;

// Inlined as data URLs, so that the same line works in Node and in a bundled page.
const urls = import.meta.glob<string>('../golden/*.safetensors', { query: '?url&inline', import: 'default' });

const pathOf = (name: string): string => `../golden/${name}.safetensors`;

export const goldenNames: readonly string[] = Object.keys(urls).map((path) =>
  path.slice(pathOf('').lastIndexOf('/') + 1, -'.safetensors'.length),
);

export async function loadGolden(name: string): Promise<GoldenCase> {
  const load = urls[pathOf(name)];
  if (!load) throw new Error(`There is no golden case ${name}; there are ${goldenNames.join(', ')}.`);
  const response = await fetch(await load());
  return parseGolden(name, await response.arrayBuffer());
}

const FLOAT_DTYPES: Readonly<Record<string, FloatDType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

export function parseGolden(name: string, file: ArrayBuffer): GoldenCase {
  const { metadata, tensors } = parseSafeTensors(file);
  const floats: Record<string, GoldenFloats> = {};
  const ints: Record<string, GoldenInts> = {};
  for (const [tensorName, tensor] of Object.entries(tensors)) {
    if (tensor.dtype === 'I32')
      ints[tensorName] = { shape: tensor.shape, data: new Int32Array(tensor.bytes) };
    else floats[tensorName] = floatsOf(tensor);
  }
  const { fn, dtype, origin, args = '{}' } = metadata;
  return { name, fn, dtype, origin, args: JSON.parse(args) as GoldenArgs, floats, ints } as GoldenCase;
}

function floatsOf({ dtype: spelling, shape, bytes }: SafeTensor): GoldenFloats {
  const dtype = FLOAT_DTYPES[spelling];
  if (!dtype) throw new Error(`A golden tensor has dtype ${spelling}; only F32, F16, BF16 and I32 are read.`);
  const raw = dtype === 'f32' ? new Float32Array(bytes) : new Uint16Array(bytes);
  return { dtype, shape, raw, data: decode(dtype, raw) };
}
