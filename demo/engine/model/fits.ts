import {
  fitKvCache,
  kvCacheBytes,
  parameterCounts,
  weightBytes,
  type CacheFit,
  type DeviceLimits,
  type FloatDType,
  type ModelShape,
} from 'pageflash';
import { formatBytes, refuse } from '../engineError.js';
import type { ModelConfig } from './config.js';

/** Bits of a weight by its format; i8 and i4 have an f16 scale for each 32 weights. */
const BITS = { f32: 32, f16: 16, bf16: 16, i8: 8.5, i4: 4.5 } as const;

type Format = keyof typeof BITS;

/** What `--weights` calls the formats that make a model smaller. */
const SMALLER = [
  { format: 'f16', option: 'f16' },
  { format: 'i8', option: 'int8' },
  { format: 'i4', option: 'int4' },
] as const;

/** What a model is to be run with, and the memory that there is. */
export interface Room {
  readonly weights: Format;
  readonly kvType: FloatDType;
  /** Tokens of a sequence, prompt and answer. */
  readonly context: number;
  /** Sequences that are in the cache at once. */
  readonly nSequences: number;
  /** Tokens of a page. */
  readonly pageSize: number;
  /** Of the cache. */
  readonly nPages: number;
  /** Bytes that steps take besides, such as activations. */
  readonly stepBytes: number;
  /** Bytes of GPU memory that the engine may take in all. */
  readonly budgetBytes: number;
  /** `device.limits` */
  readonly limits: DeviceLimits;
}

/** The memory that a model takes. */
export interface Fit {
  readonly weightBytes: number;
  readonly cacheBytes: number;
  readonly stepBytes: number;
}

/** Returns the sizes of a model under pageflash's names, as `parameterCounts` and others take them. */
export function modelShape(config: ModelConfig): ModelShape {
  const { nLayers, hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize, vocabSize } = config;
  const sizes = { nLayers, hiddenSize, nHeads, nKvHeads, headDim, feedForwardSize, vocabSize };
  return {
    ...sizes,
    biases: config.hasQkvBias ? 'qkv' : 'none',
    outputHead: config.isTied ? 'tied' : 'own',
  };
}

/**
 * Says, before anything is loaded, what memory a model takes.
 *
 * @throws EngineError with the sizes and what helps, if it does not fit
 */
export function checkFits(name: string, config: ModelConfig, room: Room): Fit {
  const { budgetBytes, stepBytes, nPages } = room;
  const weights = bytesOfWeights(config, room.weights);
  const left = budgetBytes - stepBytes - weights;
  if (left <= 0) refuseWeights(name, config, room);
  const fit = fitOf(config, room, left);
  if (nPages > fit.nPages) refuseCache({ name, config, room, left, fit });
  return { weightBytes: weights, cacheBytes: cacheBytes(config, room), stepBytes };
}

function bytesOfWeights(config: ModelConfig, format: Format): number {
  return weightBytes(parameterCounts(modelShape(config)).total, BITS[format]);
}

function fitOf(config: ModelConfig, room: Room, budgetBytes: number): CacheFit {
  const { limits, context: tokensPerSequence, pageSize, kvType: dtype } = room;
  return fitKvCache({ ...modelShape(config), dtype }, { budgetBytes, limits, tokensPerSequence, pageSize });
}

function cacheBytes(config: ModelConfig, { nPages, pageSize, kvType: dtype }: Room): number {
  return kvCacheBytes({ ...modelShape(config), dtype }, { nSequences: nPages, tokensPerSequence: pageSize });
}

/** Formats of fewer bits, with what the weights take in them. */
function smallerWeights(config: ModelConfig, room: Room): readonly { option: string; bytes: number }[] {
  return SMALLER.filter(({ format }) => BITS[format] < BITS[room.weights]).map(({ format, option }) => ({
    option,
    bytes: bytesOfWeights(config, format),
  }));
}

function refuseWeights(name: string, config: ModelConfig, room: Room): never {
  const { budgetBytes, stepBytes } = room;
  const available = budgetBytes - stepBytes;
  const smaller = smallerWeights(config, room);
  const enough = smaller.filter(({ bytes }) => bytes < available);
  const remedy =
    enough.length > 0
      ? `pass ${enough.map(({ option, bytes }) => `--weights ${option} (${formatBytes(bytes)})`).join(' or ')}.`
      : smaller.length > 0
        ? `even --weights ${smaller.at(-1)!.option} would take ${formatBytes(smaller.at(-1)!.bytes)}; take a smaller model.`
        : 'take a smaller model.';
  refuse(
    `${name} has ${formatBytes(bytesOfWeights(config, room.weights))} of weights, more than the ${formatBytes(Math.max(0, available))} of memory that there are beside ${formatBytes(stepBytes)} for activations: ${remedy}`,
  );
}

interface TooLargeCache {
  readonly name: string;
  readonly config: ModelConfig;
  readonly room: Room;
  readonly left: number;
  readonly fit: CacheFit;
}

function refuseCache({ name, config, room, left, fit }: TooLargeCache): never {
  const { nSequences, context, pageSize, nPages, limits, budgetBytes, stepBytes } = room;
  const sequences = nSequences === 1 ? 'a sequence' : `${nSequences} sequences`;
  const isForAll = nPages === nSequences * Math.ceil(context / pageSize);
  const extent = isForAll ? `for ${sequences} of ${context} tokens` : `of ${nPages} pages`;
  const bytes = cacheBytes(config, room);
  const problem = `The KV cache of ${name} ${extent} takes ${formatBytes(bytes)}`;
  const longest = Math.floor(fit.nPages / nSequences) * pageSize;
  const fewer = fit.nPages > 0 ? [`at most ${fit.nPages} pages`] : [];
  const shorter = isForAll ? (longest > 0 ? [`--context ${longest} or less`] : []) : fewer;
  if (fit.limitedBy !== 'budgetBytes') {
    const most = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
    const layer = formatBytes(bytes / config.nLayers / 2);
    const remedies = isForAll && nSequences > 1 ? [...shorter, 'fewer sequences'] : shorter;
    refuse(
      `${problem}, of which the keys of a layer are ${layer}, more than the ${formatBytes(most)} that this GPU has in one buffer: ${remedyOf(remedies)}.`,
    );
  }
  const smaller = smallerWeights(config, room).find(
    (weights) => weights.bytes + bytes <= budgetBytes - stepBytes,
  );
  const remedies = [...shorter, ...(smaller ? [`--weights ${smaller.option}`] : [])];
  refuse(
    `${problem}, but ${formatBytes(left)} are left beside ${formatBytes(bytesOfWeights(config, room.weights))} of weights: ${remedyOf(remedies)}.`,
  );
}

function remedyOf(remedies: readonly string[]): string {
  return remedies.length > 0 ? `pass ${remedies.join(', or ')}` : 'take a smaller model';
}
