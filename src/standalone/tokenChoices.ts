import { checkSectionsOf } from '../attention/servedSteps.js';
import { checkHeadDims, checkTypes } from '../check/checkModel.js';
import { checkChoice, checkCounts, checkFlags } from '../core/checkArguments.js';
import { checkCacheFormat, checkRotationOf } from '../core/checkCacheFormat.js';
import { bytesPerElement, QUANTISED, type FloatDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { canTurn, DEFAULT_SCALE_DTYPE } from '../core/kvFormats.js';
import { accessesOf, appendSpec, octetsOf, rotatedQScratch } from '../kernels/appendKv.js';
import {
  appendQuantisedSpec,
  quantisedHeadsPerWorkgroup,
  quantisedWorkgroupBytes,
} from '../kernels/appendQuantised.js';
import { wideElements } from '../kernels/shared/elements.js';
import { turnedHeadsPerWorkgroup, turnHeadsSpec } from '../kernels/turnHeads.js';
import { MAX_HEAD_DIM_V } from '../problem/attentionProblem.js';
import { problemOf } from './attentionChoices.js';
import { NO_TILE, rows, type Choices, type Stored } from './choice.js';
import type { AppendKvOptions } from './options.js';

/** Kernels that take heads of new tokens. */
export const TOKEN_CHOICES: Choices<'append_kv' | 'append_quantised' | 'turn_heads'> = {
  append_kv(caller, options) {
    const { dtype, kvDType = dtype, qDType = dtype, unaligned = false } = options;
    const { paged = false, rotary = false, queries = false, appends = !queries } = options;
    checkTypes(caller, { dtype, qDType, kvDType });
    const problem = problemOf(caller, { ...options, dtype: qDType, kvDType }, dtype);
    const { positions = false, rotarySections = false } = options;
    checkFlags(caller, { rotary, queries, appends, unaligned, positions, rotarySections });
    checkPositionsOf(caller, options);
    const alone = queries && !appends;
    if (queries && (!rotary || (alone && (paged || kvDType !== dtype))))
      fail(
        'argument',
        caller,
        'queries are rotated to memory that is laid out like q: pass rotary: true, and neither paged nor another kvDType.',
      );
    if (!queries && !appends)
      fail('argument', caller, 'there is nothing to do: pass appends: true, queries: true or both.');
    const { newK, newV } = problem.append!;
    const writes = {
      newK: appends ? newK : null,
      newV: appends ? newV : null,
      rotatedQ: queries ? rotatedQScratch(problem) : null,
    };
    const accesses = unaligned ? { wide: false, wholeWords: false } : accessesOf(problem, writes);
    const { wide, wholeWords } = accesses;
    const aligned = (type: FloatDType, words = false): Stored =>
      rows(type, wide ? wideElements(type) : words && bytesPerElement(type) === 2 ? 2 : 1);
    return {
      spec: appendSpec({ appends, queries, rotary, paged, positions, sections: rotarySections, ...accesses }),
      stored: {
        q: aligned(qDType, wholeWords),
        new_k: aligned(dtype),
        new_v: aligned(dtype),
        k_cache: aligned(kvDType, wholeWords),
        v_cache: aligned(kvDType, wholeWords),
        rotated_q: aligned(qDType, wholeWords),
      },
      ...NO_TILE,
    };
  },

  append_quantised(caller, options) {
    const { headDim, dtype, kvDType, scaleDType, side = 'keys', unaligned = false } = options;
    const { paged = false, rotary = false, positions = false, rotarySections = false, kvRotation } = options;
    checkHeadDim(caller, headDim);
    checkTypes(caller, { dtype });
    checkChoice(caller, 'kvDType', kvDType, QUANTISED);
    checkCacheFormat(caller, { kvDType, scaleDType, headDim, headDimV: headDim });
    checkRotationOf(caller, { kvRotation, kvDType, headDim, headDimV: headDim });
    checkChoice(caller, 'side', side, ['keys', 'values']);
    checkFlags(caller, { paged, rotary, positions, rotarySections, unaligned });
    if (rotary && side === 'values')
      fail('argument', caller, 'values are not rotated: leave rotary out, or ask for keys.');
    checkPositionsOf(caller, options);
    const isWide = !unaligned && headDim % wideElements(dtype) === 0;
    const perWord = 4 / bytesPerElement(kvDType);
    const isWhole = !unaligned && headDim % perWord === 0;
    const spec = appendQuantisedSpec({
      side: side === 'keys' ? 'k' : 'v',
      dtype: kvDType,
      scaleDType: scaleDType ?? DEFAULT_SCALE_DTYPE,
      headDim,
      rotary,
      positions,
      sections: rotarySections,
      turned: kvRotation !== undefined,
      paged,
      wide: isWide,
      wholeWords: isWhole,
    });
    const fresh = rows(dtype, isWide ? wideElements(dtype) : 1);
    const scales = rows(kvDType === 'e4m3' ? 'f32' : (scaleDType ?? DEFAULT_SCALE_DTYPE));
    return {
      spec,
      tile: null,
      workgroupBytes: quantisedWorkgroupBytes(spec),
      stored: {
        new_k: fresh,
        new_v: fresh,
        // Quantised caches begin with a whole word.
        codes: { dtype: kvDType, alignment: isWhole ? 4 : Math.max(1, bytesPerElement(kvDType)) },
        scales,
        head_scales: scales,
      },
      // Whole heads.
      jobsPerWorkgroup: quantisedHeadsPerWorkgroup(spec) * octetsOf(headDim),
    };
  },

  turn_heads(caller, options) {
    const { headDim, dtype, heads = 'queries', unaligned = false } = options;
    const { rotary = false, positions = false, rotarySections = false } = options;
    checkHeadDim(caller, headDim);
    if (!canTurn(headDim)) fail('shape', caller, `headDim is ${headDim}; turned heads have a power of two.`);
    checkTypes(caller, { dtype });
    checkChoice(caller, 'heads', heads, ['queries', 'outputs']);
    checkFlags(caller, { rotary, positions, rotarySections, unaligned });
    if (rotary && heads === 'outputs')
      fail('argument', caller, 'outputs are not rotated: leave rotary out, or ask for queries.');
    checkPositionsOf(caller, options);
    const isWide = (type: FloatDType): boolean => !unaligned && headDim % wideElements(type) === 0;
    const isQueries = heads === 'queries';
    const [from, to]: readonly FloatDType[] = isQueries ? [dtype, 'f32'] : ['f32', dtype];
    const outWide = !unaligned && headDim % 4 === 0;
    const spec = turnHeadsSpec({
      heads: isQueries ? 'q' : 'out',
      headDim,
      rotary,
      positions,
      sections: rotarySections,
      wide: isWide(from!),
      outDType: to!,
      outWide,
    });
    return {
      spec,
      stored: {
        q: rows(from!, isWide(from!) ? wideElements(from!) : 1),
        out: rows(to!, outWide ? 4 : 1),
      },
      ...NO_TILE,
      // Whole heads.
      jobsPerWorkgroup: turnedHeadsPerWorkgroup(spec) * octetsOf(headDim),
    };
  },
};

/** Checks the size of heads of either side. */
function checkHeadDim(caller: string, headDim: number): void {
  checkCounts(caller, { headDim });
  checkHeadDims(caller, { headDim, headDimV: Math.min(headDim, MAX_HEAD_DIM_V) });
}

/** Refuses positions that nothing is rotated by, and sections of none. */
function checkPositionsOf(
  caller: string,
  options: Pick<AppendKvOptions, 'rotary' | 'positions' | 'rotarySections'>,
): void {
  if (options.positions && !options.rotary)
    fail('argument', caller, 'positions of tokens are what heads are rotated by: pass rotary: true, too.');
  checkSectionsOf(caller, options);
}
