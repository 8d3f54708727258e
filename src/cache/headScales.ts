import { isHostArray, type Call } from '../check/call.js';
import { describe } from '../core/errors.js';
import type { KvDType } from '../core/dtype.js';
import { WINDOW_ALIGNMENT } from '../core/tensor.js';
import { crc32 } from './crc32.js';

/** The scales of an e4m3 cache, which are given: a number for each layer, or one for each of its kv heads. */
export type ScalesByLayer = readonly (number | readonly number[] | Float32Array)[];

export interface LayerScales {
  /** Of keys, e4m3 only. Default 1. */
  readonly kScale?: ScalesByLayer | undefined;
  /** Of values, e4m3 only. Default 1; with `valuesInKeys` they have those of keys. */
  readonly vScale?: ScalesByLayer | undefined;
}

/** Scales that were checked. */
export interface HeadScalesOfLayers {
  /** 2, or 1 where values have the scales of keys. */
  readonly nSides: number;
  /** Of each layer the scales of its keys [Hkv], then those of its values, at multiples of `scaleRoom` bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Different for other scales. */
  readonly checksum: string;
}

/** The bytes from the scales of a layer's keys to those of its values. */
export function scaleRoom(nKvHeads: number): number {
  return Math.ceil((nKvHeads * Float32Array.BYTES_PER_ELEMENT) / WINDOW_ALIGNMENT) * WINDOW_ALIGNMENT;
}

interface ScaledCache {
  readonly dtype: KvDType;
  readonly nLayers: number;
  readonly nKvHeads: number;
  readonly valuesInKeys: boolean;
}

/** Checks the scales that are given for an e4m3 cache. Returns null if none are. */
export function layerScales(
  call: Call,
  { kScale, vScale }: LayerScales,
  { dtype, nLayers, nKvHeads, valuesInKeys }: ScaledCache,
): HeadScalesOfLayers | null {
  const given = Object.entries({ kScale, vScale }).filter(([, scales]) => scales !== undefined);
  if (given.length === 0) return null;
  if (dtype !== 'e4m3')
    call.refuse(
      'argument',
      `${given[0]![0]} is for caches of e4m3, but dtype is ${dtype}${dtype === 'i8' || dtype === 'i4' ? ', whose scales are those of its tokens' : ''}. Leave it out.`,
    );
  if (valuesInKeys && vScale !== undefined)
    call.refuse(
      'argument',
      'vScale is given, but values are a part of keys, whose kScale serves both. Leave it out.',
    );
  const sides = valuesInKeys ? [kScale] : [kScale, vScale];
  const room = scaleRoom(nKvHeads);
  const numbers = new Float32Array((nLayers * sides.length * room) / Float32Array.BYTES_PER_ELEMENT);
  const step = room / Float32Array.BYTES_PER_ELEMENT;
  sides.forEach((scales, side) => {
    const name = side === 0 ? 'kScale' : 'vScale';
    if (scales !== undefined && (!Array.isArray(scales) || scales.length !== nLayers))
      call.refuse(
        'argument',
        `${name} must be an array with one entry for each of ${nLayers} layers, a number or ${nKvHeads} numbers, not ${Array.isArray(scales) ? `${scales.length} entries` : describe(scales)}.`,
      );
    for (let layer = 0; layer < nLayers; layer++)
      numbers.set(
        scalesOfHeads(call, `${name}[${layer}]`, scales ? scales[layer] : 1, nKvHeads),
        (sides.length * layer + side) * step,
      );
  });
  const bytes = new Uint8Array(numbers.buffer);
  return { nSides: sides.length, bytes, checksum: crc32(bytes).toString(16).padStart(8, '0') };
}

function scalesOfHeads(call: Call, name: string, scales: unknown, nKvHeads: number): ArrayLike<number> {
  if (isScale(scales)) return new Float32Array(nKvHeads).fill(scales);
  if (isHostArray(scales) && scales.length === nKvHeads && Array.from(scales).every(isScale)) return scales;
  call.refuseValue(name, `a number from 2⁻¹²⁶ to 2¹²⁶, or ${nKvHeads} of them`, scales);
}

function isScale(value: unknown): value is number {
  return typeof value === 'number' && value >= 2 ** -126 && value <= 2 ** 126;
}
