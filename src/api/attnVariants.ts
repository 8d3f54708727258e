import { checkNames } from '../core/checkNames.js';
import type { FloatDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { decodeSpec, attnDecodeKernel } from '../kernels/attnDecode.js';
import { appendKvKernel, appendSpec } from '../kernels/appendKv.js';
import type { AttentionFeatures } from '../kernels/attention.js';
import { attnPrefillKernel, prefillSpec } from '../kernels/attnPrefill.js';
import { gatherHeadsKernel } from '../kernels/gatherHeads.js';
import { gatherLengthsKernel } from '../kernels/gatherLengths.js';
import { mergeSpec, mergeStatesKernel } from '../kernels/mergeStates.js';
import { wideElements } from '../kernels/wideRows.js';
import { decodeTile } from '../plan/decodeTile.js';
import { prefillTile } from '../plan/prefillTile.js';
import type { Variant } from '../runtime/pipelines.js';
import type { Runtime } from '../runtime/runtime.js';
import { checkChoice, checkCounts } from '../sizing/check.js';
import { FLOATS, MAX_HEAD_DIM } from './checkQkv.js';
import { checkRuntime } from './checkRuntime.js';

const CALLER = 'attnVariants';

const NAMES = [
  'headDim',
  'headDimV',
  'dtype',
  'kvDType',
  'paged',
  'softcap',
  'alibi',
  'group',
  'decodeTokens',
  'newDType',
  'rotary',
];

/** What decides which kernels a call of `attn`, `attnVarlen` or `attnWithKvCache` runs. */
export interface AttnVariantOptions {
  readonly headDim: number;
  /** Default `headDim`. */
  readonly headDimV?: number | undefined;
  /** Of q and out. */
  readonly dtype: FloatDType;
  /** Of k and v, or of the caches. Default `dtype`. */
  readonly kvDType?: FloatDType | undefined;
  /** Whether calls pass `blockTable`. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether calls pass `softcap`. Default false. */
  readonly softcap?: boolean | undefined;
  /** Whether calls pass `alibiSlopes`. Default false. */
  readonly alibi?: boolean | undefined;
  /** Query heads that share a kv head, for kernels of few queries. Default: only those of many queries. */
  readonly group?: number | undefined;
  /** Query tokens of the sequences that have few, such as decoding ones. Default 1. */
  readonly decodeTokens?: number | undefined;
  /** Type of the new tokens that calls append. Default: none are. */
  readonly newDType?: FloatDType | undefined;
  /** Whether calls pass `rotaryCos` and `rotarySin`. Default false. */
  readonly rotary?: boolean | undefined;
}

/**
 * The kernels of calls with contiguous tensors, for `runtime.prepare`. Everything that is not an option here, lengths
 * and masks above all, needs no kernel of its own.
 *
 * @example
 * await runtime.prepare(attnVariants(runtime, { headDim: 128, dtype: 'f16', group: 4, paged: true }));
 */
export function attnVariants(runtime: Runtime, options: AttnVariantOptions): Variant[] {
  checkRuntime(CALLER, runtime);
  checkVariantOptions(options);
  const { headDim, headDimV = headDim, dtype, kvDType = dtype } = options;
  const { paged = false, softcap = false, alibi = false, group, decodeTokens = 1 } = options;
  const features: AttentionFeatures = {
    qDType: dtype,
    kvDType,
    qWide: headDim % wideElements(dtype) === 0,
    kvWide: headDim % wideElements(kvDType) === 0 && headDimV % wideElements(kvDType) === 0,
    outWide: headDimV % 4 === 0,
    paged,
    softcap,
    alibi,
  };
  const prefillArgs = { headDim, headDimV, qDType: dtype, kvDType, paged };
  const prefill = prefillTile(runtime.traits, prefillArgs, CALLER);
  const variants: Variant[] = [
    { kernel: attnPrefillKernel, spec: prefillSpec(prefill, features, false) },
    { kernel: attnPrefillKernel, spec: prefillSpec(prefill, features, true) },
    { kernel: mergeStatesKernel, spec: mergeSpec(dtype, features.outWide) },
    { kernel: gatherLengthsKernel, spec: {} },
    { kernel: gatherHeadsKernel, spec: {} },
  ];
  if (group !== undefined) {
    const decodeArgs = { headDim, headDimV, nRows: group * decodeTokens, paged };
    const decode = decodeTile(runtime.traits, decodeArgs, CALLER);
    variants.push(
      { kernel: attnDecodeKernel, spec: decodeSpec(decode, features, false) },
      { kernel: attnDecodeKernel, spec: decodeSpec(decode, features, true) },
    );
  }
  return [...variants, ...appendVariants(options)];
}

function checkVariantOptions(options: AttnVariantOptions): void {
  checkNames(CALLER, options, NAMES);
  const { headDim, headDimV = headDim, dtype, kvDType = dtype, newDType = dtype } = options;
  const { paged = false, softcap = false, alibi = false, rotary = false } = options;
  const { group = 1, decodeTokens = 1 } = options;
  checkCounts(CALLER, { headDim, headDimV, group, decodeTokens });
  for (const [name, size] of Object.entries({ headDim, headDimV })) {
    if (size > MAX_HEAD_DIM) fail('shape', CALLER, `${name} is ${size}; it must be 1 to ${MAX_HEAD_DIM}.`);
  }
  for (const [name, type] of Object.entries({ dtype, kvDType, newDType }))
    checkChoice(CALLER, name, type, FLOATS);
  for (const [name, value] of Object.entries({ paged, softcap, alibi, rotary }))
    checkChoice(CALLER, name, value, [true, false]);
}

function appendVariants(options: AttnVariantOptions): Variant[] {
  const {
    headDim,
    headDimV = headDim,
    dtype,
    kvDType = dtype,
    newDType,
    paged = false,
    rotary = false,
  } = options;
  const variants: Variant[] = [];
  if (newDType) {
    const to = { from: newDType, to: kvDType, paged, queries: false };
    variants.push(
      { kernel: appendKvKernel, spec: appendSpec({ ...to, wholeWords: headDim % 2 === 0, rotary }) },
      { kernel: appendKvKernel, spec: appendSpec({ ...to, wholeWords: headDimV % 2 === 0, rotary: false }) },
    );
  }
  if (rotary) {
    const to = { from: dtype, to: dtype, paged: false, rotary: true, queries: true };
    variants.push({ kernel: appendKvKernel, spec: appendSpec({ ...to, wholeWords: headDim % 2 === 0 }) });
  }
  return variants;
}
