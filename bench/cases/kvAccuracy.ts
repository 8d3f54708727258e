import { roundTo, type QuantisedDType } from '../../src/core/dtype.js';
import { dequantiseHead, quantiseHead, turnHead, type Scaling } from '../../src/core/kvFormats.js';
import { attnReference, type DenseBatch, type HostTensor } from '../../src/reference/attention.js';
import { Random } from '../../tools/random.js';

// How far attention over a cache of few bits is from attention over one of f32, on the host, by the reference: what codes and
// scales lose, without what a kernel does to them.

/** Normal keys, and such of which one channel is 30 times as large, as real keys have. */
export const KEYS = ['normal', 'one channel × 30'] as const;

/** How keys and values are stored; turned by `kvRotation`. */
export const STORAGES = [
  'f16',
  'bf16',
  'i8',
  'i8, turned',
  'e4m3',
  'e4m3, scale 1',
  'i4',
  'i4, turned',
] as const;
export type Storage = (typeof STORAGES)[number];

export interface KvError {
  readonly keys: (typeof KEYS)[number];
  readonly storage: Storage;
  /** Root mean square of the error of out, of that of out. */
  readonly relative: number;
  /** The largest error of an element of out. */
  readonly worst: number;
}

const SHAPE = { nKeys: 1024, nQueries: 64, nHeads: 8, nKvHeads: 2, headDim: 128 } as const;

/** The errors of each format for both kinds of keys; values are normal. Scales are f16, of e4m3 the largest number / 448. */
export function kvErrors(
  shape: typeof SHAPE | { readonly [Key in keyof typeof SHAPE]: number } = SHAPE,
): KvError[] {
  const { nKeys, nQueries, nHeads, nKvHeads, headDim } = shape;
  return KEYS.flatMap((keys) => {
    const random = new Random(1);
    const normals = (n: number, heads: number): HostTensor => ({
      shape: [1, n, heads, headDim],
      data: random.normals(n * heads * headDim),
    });
    const [q, k, v] = [normals(nQueries, nHeads), normals(nKeys, nKvHeads), normals(nKeys, nKvHeads)];
    if (keys === 'one channel × 30') scaleChannel(k, 30);
    return STORAGES.map((storage) => ({ keys, storage, ...storageError({ q, k, v }, storage) }));
  });
}

interface Inputs extends DenseBatch {
  readonly v: HostTensor;
  readonly causal?: boolean;
}

/** How far attention to keys and values that are stored so is from that to exact ones. */
export function storageError(inputs: Inputs, storage: Storage): Pick<KvError, 'relative' | 'worst'> {
  const { k, v } = inputs;
  const exact = attnReference(inputs);
  const got = attnReference({ ...inputs, k: stored(k, storage), v: stored(v, storage) });
  return errorOf(got.out.data, exact.out.data);
}

function scaleChannel({ shape, data }: HostTensor, factor: number): void {
  const headDim = shape.at(-1)!;
  for (let at = 7; at < data.length; at += headDim) data[at]! *= factor;
}

/** What a cache gives back. */
export function stored({ shape, data }: HostTensor, storage: Storage): HostTensor {
  if (storage === 'f16' || storage === 'bf16') return { shape, data: data.map((x) => roundTo(storage, x)) };
  const largest = Float64Array.from(data, Math.abs).reduce((a, b) => Math.max(a, b), 0);
  const scaling: Scaling = { scaleDType: 'f16', scale: storage === 'e4m3' ? largest / 448 : 1 };
  const dtype = storage.split(',')[0] as QuantisedDType;
  const headDim = shape.at(-1)!;
  const out = new Float32Array(data.length);
  const turns = storage.endsWith(', turned');
  for (let at = 0; at < data.length; at += headDim) {
    const head = Float64Array.from(data.subarray(at, at + headDim));
    if (turns) turnHead(head);
    head.set(dequantiseHead(quantiseHead(dtype, head, scaling)));
    if (turns) turnHead(head);
    out.set(head, at);
  }
  return { shape, data: out };
}

function errorOf(got: ArrayLike<number>, want: ArrayLike<number>): Pick<KvError, 'relative' | 'worst'> {
  let [squares, ofError, worst] = [0, 0, 0];
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!);
    squares += want[i]! ** 2;
    ofError += error ** 2;
    worst = Math.max(worst, error);
  }
  return { relative: Math.sqrt(ofError / squares), worst };
}
