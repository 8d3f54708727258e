import { fitKvCache, kvBytesPerToken, parameterCounts, weightBytes, type DeviceLimits } from 'pageflash';
import { formatBytes } from '../../engine/engineError.js';
import { modelShape } from '../../engine/model/fits.js';
import type { OpenModel } from '../../engine/model/openModel.js';
import type { WeightFormat } from '../../engine/model/weightFormats.js';
import { settingsOf } from '../../engine/serving/engineOptions.js';
import { checkMemory } from '../../engine/serving/memory.js';
import { formatCount } from '../formatCount.js';
import type { FitReport } from '../protocol.js';

/** Bits of a weight by its format; i8 and i4 have an f16 scale for each 32 weights. */
const BITS: Readonly<Record<WeightFormat, number>> = { f32: 32, f16: 16, bf16: 16, i8: 8.5, i4: 4.5 };

/** What people call the formats. */
export const FORMAT_NAMES: Readonly<Record<WeightFormat, string>> = {
  f32: 'f32',
  f16: 'f16',
  bf16: 'bf16',
  i8: '8 bits',
  i4: '4 bits',
};

/** Conversations that are computed at once, and how many of them have room at their full length. */
const N_SEQUENCES = 8;
const N_FULL = 4;

/** What an engine is made with, so that a model fits. */
export interface Room {
  readonly weights: WeightFormat;
  readonly weightBytes: number;
  readonly nParameters: number;
  readonly context: number;
  readonly nPages: number;
  readonly pageSize: number;
  readonly nSequences: number;
}

export interface FitArgs {
  readonly name: string;
  readonly model: OpenModel;
  readonly weights: WeightFormat | undefined;
  readonly budgetBytes: number;
  readonly limits: DeviceLimits;
}

/** Says whether a model fits into the memory that it may take, and what room for conversations remains. */
export function fitModel(args: FitArgs): FitReport & { readonly room: Room | undefined } {
  const { name, model, budgetBytes, limits } = args;
  const { config } = model;
  // It begins a sentence.
  const subject = name.replace(/^the /, 'The ');
  // With the least cache there can be: what steps take does not depend on it.
  const settings = settingsOf({ model, weights: args.weights, nSequences: N_SEQUENCES, nPages: 1 });
  const { weights, context, pageSize } = settings;
  const { stepBytes } = checkMemory(model, settings, { budgetBytes: Number.MAX_SAFE_INTEGER, limits });
  const shape = modelShape(config);
  const nParameters = parameterCounts(shape).total;
  const bytesIn = (format: WeightFormat): number => weightBytes(nParameters, BITS[format]);
  const bytes = bytesIn(weights);
  const stored = `${formatBytes(bytes)} of weights in ${FORMAT_NAMES[weights]}`;
  const left = budgetBytes - bytes - stepBytes;
  const cacheShape = { ...shape, dtype: 'f16' } as const;
  const fit =
    left > 0
      ? fitKvCache(cacheShape, { budgetBytes: left, limits, tokensPerSequence: context, pageSize })
      : undefined;
  const nRoom = (fit?.nPages ?? 0) * pageSize;
  // A conversation of less is none.
  if (nRoom < Math.min(context, 256)) {
    const smaller = (['f16', 'i8', 'i4'] as const).find(
      (format) => BITS[format] < BITS[weights] && bytesIn(format) + stepBytes < budgetBytes * 0.95,
    );
    const remedy = smaller
      ? `Choose weights in ${FORMAT_NAMES[smaller]}: ${formatBytes(bytesIn(smaller))}.`
      : 'Choose a smaller model, or allow more memory.';
    const why = `${subject} does not fit: it has ${stored}, and steps take ${formatBytes(stepBytes)}, of ${formatBytes(budgetBytes)} that it may take. ${remedy}`;
    return { fits: false, sentence: why, room: undefined };
  }
  const nWanted = N_FULL * Math.ceil(context / pageSize);
  const nPages = Math.min(nWanted, fit!.nPages);
  const taken = nPages * pageSize * kvBytesPerToken(cacheShape);
  const longest = Math.min(context, nPages * pageSize);
  const remains =
    nPages < nWanted
      ? `the cache is as large as it can be, ${formatCount(nRoom)} tokens`
      : `${formatCount(nRoom)} tokens of cache would fit; ${formatCount(nPages * pageSize)} are set aside, ${formatBytes(taken)}`;
  const sentence = `${subject} fits: ${formatCount(nParameters)} parameters, ${stored}. Beside them, ${remains}, and a conversation may have ${formatCount(longest)}.`;
  const room = {
    weights,
    weightBytes: bytes,
    nParameters,
    context: longest,
    nPages,
    pageSize,
    nSequences: N_SEQUENCES,
  };
  return { fits: true, sentence, room };
}
