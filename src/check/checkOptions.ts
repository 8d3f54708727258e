import { isTensor, type Floats } from '../core/tensor.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import { scoreScale, type AttentionProblem, type Masks, type Slopes } from '../problem/attentionProblem.js';
import { checkPass, type Call } from './call.js';
import { checkFloats, isFinite32 } from './checkNumbers.js';
import type { SizeRule } from './checkTensor.js';

/** Windows and chunks beyond this change nothing, and positions may still be added to them in 32 bits. */
export const WIDEST_MASK = 2 ** 30;

/** The part of an attention problem that the common options decide. */
export function checkOptions(
  call: Call,
  options: Omit<AttentionOptions, 'out' | 'lse'>,
  batch: number,
  heads: Pick<AttentionProblem, 'nHeads' | 'headDim'>,
): OptionsProblem {
  const { softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks } = options;
  const { attentionChunk, firstKeys, numSplits, returnLse, pass } = options;
  const of = [softmaxScale, causal, windowSize, softcap, alibiSlopes, sinks, attentionChunk, firstKeys];
  return call.memory.keep('options', [...of, numSplits, returnLse, pass, batch, heads], () =>
    optionsProblem(call, options, batch, heads),
  );
}

type OptionsProblem = Pick<
  AttentionProblem,
  'masks' | 'softmaxScale' | 'softcap' | 'slopes' | 'sinks' | 'numSplits'
>;

function optionsProblem(
  call: Call,
  options: Omit<AttentionOptions, 'out' | 'lse'>,
  batch: number,
  { nHeads, headDim }: Pick<AttentionProblem, 'nHeads' | 'headDim'>,
): OptionsProblem {
  const { softmaxScale = 1 / Math.sqrt(headDim), softcap = 0, alibiSlopes, sinks } = options;
  if (!Number.isFinite(softmaxScale)) call.refuseValue('softmaxScale', 'a finite number', softmaxScale);
  if (!Number.isFinite(softcap) || softcap < 0) call.refuseValue('softcap', 'a finite number ≥ 0', softcap);
  checkFactors(call, softmaxScale, softcap);
  call.flag('causal', options.causal);
  call.flag('returnLse', options.returnLse);
  checkPass(call, options.pass);
  const perHead = { dims: ['Hq'], sizes: [nHeads] };
  return {
    masks: checkMasks(call, options),
    numSplits: call.count('numSplits', options.numSplits, 0),
    softmaxScale,
    softcap,
    slopes: alibiSlopes === undefined ? null : checkSlopes(call, alibiSlopes, batch, perHead),
    sinks:
      sinks === undefined
        ? null
        : checkFloats(call, 'sinks', sinks, { ...perHead, mayBeMinusInfinity: true }),
  };
}

/** Checks that what kernels multiply scores by is finite in f32, and that a softcap does not round to 0. */
function checkFactors(call: Call, softmaxScale: number, softcap: number): void {
  const { factor, capLog2 } = scoreScale(softmaxScale, softcap);
  if (!isFinite32(factor) || !isFinite32(capLog2) || (softcap > 0 && Math.fround(capLog2) === 0)) {
    call.refuse(
      'argument',
      `softmaxScale ${softmaxScale} with softcap ${softcap} is out of the range of f32. Pass less extreme numbers.`,
    );
  }
}

/** The keys that the options let a query see. */
export function checkMasks(
  call: Call,
  options: Pick<AttentionOptions, 'causal' | 'windowSize' | 'attentionChunk' | 'firstKeys'>,
): Masks {
  const { causal = false, windowSize = [-1, -1], attentionChunk } = options;
  const isWindow =
    Array.isArray(windowSize) &&
    windowSize.length === 2 &&
    Array.from(windowSize).every((bound) => Number.isInteger(bound) && bound >= -1);
  if (!isWindow) call.refuseValue('windowSize', '[left, right], whole numbers ≥ −1', windowSize);
  const [left, right] = windowSize;
  const chunk = Math.min(call.count('attentionChunk', attentionChunk, 0), WIDEST_MASK);
  const firstKeys = Math.min(call.count('firstKeys', options.firstKeys, 0), WIDEST_MASK);
  // Else they are seen anyway.
  const areHidden = left >= 0 || (right >= 0 && !causal) || chunk > 0;
  return {
    left: Math.min(left, WIDEST_MASK),
    right: causal ? 0 : Math.min(right, WIDEST_MASK),
    attentionChunk: chunk,
    firstKeys: areHidden ? firstKeys : 0,
    causal,
  };
}

function checkSlopes(call: Call, slopes: Floats, batch: number, perHead: SizeRule): Slopes {
  const perSequence = isTensor(slopes) ? slopes.shape?.length === 2 : slopes?.length !== perHead.sizes[0];
  const rule = perSequence ? { dims: ['B', ...perHead.dims], sizes: [batch, ...perHead.sizes] } : perHead;
  return { values: checkFloats(call, 'alibiSlopes', slopes, rule), perSequence };
}
