import { describe, fail } from '../core/errors.js';
import { isTensor, type Floats } from '../core/tensor.js';
import type { AttentionProblem, Masks, Slopes } from '../problem/attentionProblem.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import type { Call } from './call.js';
import { scoreScale } from '../problem/scoreScale.js';
import { checkCount, checkFloats, isFinite32 } from './checkNumbers.js';

/** Windows and chunks beyond this change nothing, and positions may still be added to them in 32 bits. */
const WIDEST_MASK = 2 ** 30;

interface Dims {
  readonly batch: number;
  readonly nHeads: number;
  readonly headDim: number;
}

/** The part of an attention problem that the common options decide. */
export function checkOptions(
  call: Call,
  options: AttentionOptions,
  { batch, nHeads, headDim }: Dims,
): Pick<AttentionProblem, 'masks' | 'softmaxScale' | 'softcap' | 'slopes' | 'sinks' | 'numSplits'> {
  const { name: caller, traits } = call;
  const { softmaxScale = 1 / Math.sqrt(headDim), softcap = 0, alibiSlopes, sinks, pass } = options;
  if (!Number.isFinite(softmaxScale))
    fail('argument', caller, `softmaxScale must be a finite number, not ${describe(softmaxScale)}.`);
  if (!Number.isFinite(softcap) || softcap < 0)
    fail('argument', caller, `softcap must be a finite number ≥ 0, not ${describe(softcap)}.`);
  checkFactors(caller, softmaxScale, softcap);
  for (const name of ['causal', 'returnLse'] as const) {
    const value = options[name];
    if (value !== undefined && typeof value !== 'boolean')
      fail('argument', caller, `${name} must be true or false, not ${describe(value)}.`);
  }
  checkPass(caller, pass);
  return {
    masks: checkMasks(caller, options),
    numSplits: checkCount(caller, 'numSplits', options.numSplits, 0),
    softmaxScale,
    softcap,
    slopes: alibiSlopes === undefined ? null : checkSlopes(call, alibiSlopes, batch, nHeads),
    sinks:
      sinks === undefined
        ? null
        : checkFloats(
            caller,
            'sinks',
            sinks,
            { dims: ['Hq'], sizes: [nHeads], mayBeMinusInfinity: true },
            traits,
          ),
  };
}

/** Checks that what kernels multiply scores by is neither infinite in f32 nor, of a softcap, nothing. */
function checkFactors(caller: string, softmaxScale: number, softcap: number): void {
  const { factor, capLog2 } = scoreScale(softmaxScale, softcap);
  if (!isFinite32(factor) || !isFinite32(capLog2) || (softcap > 0 && Math.fround(capLog2) === 0)) {
    fail(
      'argument',
      caller,
      `softmaxScale ${softmaxScale} with softcap ${softcap} is out of the range of f32. Pass less extreme numbers.`,
    );
  }
}

/** Checks that a pass, if there is one, can be recorded into. */
export function checkPass(caller: string, pass: GPUComputePassEncoder | undefined): void {
  if (pass !== undefined && typeof pass?.dispatchWorkgroups !== 'function')
    fail('argument', caller, `pass must be a GPUComputePassEncoder, not ${describe(pass)}.`);
}

/** The keys that the options let a query see. */
export function checkMasks(
  caller: string,
  options: Pick<AttentionOptions, 'causal' | 'windowSize' | 'attentionChunk'>,
): Masks {
  const { causal = false, windowSize = [-1, -1], attentionChunk } = options;
  const isWindow =
    Array.isArray(windowSize) &&
    windowSize.length === 2 &&
    Array.from(windowSize).every((bound) => Number.isInteger(bound) && bound >= -1);
  if (!isWindow) {
    fail(
      'argument',
      caller,
      `windowSize must be [left, right], whole numbers ≥ −1, not ${describe(windowSize)}.`,
    );
  }
  const [left, right] = windowSize;
  return {
    left: Math.min(left, WIDEST_MASK),
    right: causal ? 0 : Math.min(right, WIDEST_MASK),
    attentionChunk: Math.min(checkCount(caller, 'attentionChunk', attentionChunk, 0), WIDEST_MASK),
  };
}

function checkSlopes({ name: caller, traits }: Call, slopes: Floats, batch: number, nHeads: number): Slopes {
  const perSequence = isTensor(slopes) ? slopes.shape?.length === 2 : slopes?.length !== nHeads;
  const rule = perSequence
    ? { dims: ['B', 'Hq'], sizes: [batch, nHeads] }
    : { dims: ['Hq'], sizes: [nHeads] };
  return { values: checkFloats(caller, 'alibiSlopes', slopes, rule, traits), perSequence };
}
