import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { isQuantised, type DType, type FloatDType, type KvDType } from '../core/dtype.js';
import { fail } from '../core/errors.js';
import { scaleShape, type ScaleDType } from '../core/kvFormats.js';
import { contiguousStrides, type Tensor } from '../core/tensor.js';
import { maskTilesKernel } from '../kernels/maskTiles.js';
import { planCachedAttention } from '../plan/planAppend.js';
import { planWeights } from '../plan/planWeights.js';
import { MAX_DECODE_ROWS } from '../plan/attentionWork.js';
import { representativeSteps, type SequenceStep, type StepBounds } from '../plan/representativeSteps.js';
import {
  deviceLengths,
  hostLengths,
  type AttentionProblem,
  type DeviceLengths,
  type HostLengths,
  type KvScales,
  type Masks,
  type Mods,
  type SmallFloats,
} from '../problem/attentionProblem.js';
import { sparesMaskMod, type BlockLists, type Blocks } from '../problem/blockMask.js';
import { denseRows, pagedRows, RAGGED, raggedRows } from '../problem/tokenRows.js';
import { turnedProblem } from '../problem/turned.js';
import type { Variant } from '../runtime/pipelines.js';
import { MOD_PARAMS } from '../wgsl/mods.js';

/** Whether numbers are on the host or on the GPU; null where there are none. */
export type Whereabouts = 'host' | 'gpu' | null;

/** A model and how it is served, as far as the choice of kernels depends on it. */
export interface Served extends StepBounds {
  /** The public function, for errors. */
  readonly caller: string;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
  readonly headDimV: number;
  /** Whether values are a view of keys; new tokens are keys alone. Default false. */
  readonly valuesInKeys?: boolean;
  /** Of q and out. */
  readonly dtype: FloatDType;
  /** Of the cache. */
  readonly kvDType: KvDType;
  /** Of the scales of an i8 or i4 cache. */
  readonly scaleDType: ScaleDType;
  /** Whether heads of the cache are turned. Default false. */
  readonly turns?: boolean;
  /** Of the new tokens; null if none are appended. */
  readonly newDType: FloatDType | null;
  readonly paged: boolean;
  readonly rotary: boolean;
  /** Whether calls ask for the lse. */
  readonly returnLse: boolean;
  readonly tokens: ServedTokens;
  readonly softcap: boolean;
  readonly slopes: Whereabouts;
  readonly sinks: Whereabouts;
  readonly mask: boolean;
  /** Whether calls pass `blockMask`, on the GPU. */
  readonly blocks: boolean;
  /** Null without one. */
  readonly bias: FloatDType | null;
  /** Null without any. */
  readonly mods: Pick<Mods, 'scoreMod' | 'maskMod'> | null;
  readonly lengths: 'host' | 'gpu';
  readonly masks: Masks;
  readonly numSplits: number;
  /** Whether calls may pass `sharedPrefix`. */
  readonly sharedPrefix: boolean;
}

/** What calls say of their query tokens. */
export interface ServedTokens {
  readonly positions: Whereabouts;
  readonly tree: Whereabouts;
  /** Whether a token has three positions. */
  readonly sections: boolean;
}

/** Refuses sections without what they need. */
export function checkSectionsOf(
  caller: string,
  {
    rotarySections,
    rotary,
    positions,
  }: Readonly<Partial<Record<'rotarySections' | 'rotary' | 'positions', unknown>>>,
): void {
  if (rotarySections && (!rotary || !positions))
    fail('argument', caller, 'rotarySections needs rotary and positions: pass both, or leave it out.');
}

export const NO_TOKENS: ServedTokens = { positions: null, tree: null, sections: false };

/** A number of keys and of new tokens that is as good as no bound: beyond it, the same kernels run. */
export const UNLIMITED = 2 ** 24;

/** A step, and the kernels that it runs. */
export interface ServedStep {
  readonly step: SequenceStep;
  /** Sequences, all with these tokens. Several begin with the same keys: all that are cached. */
  readonly batch: number;
  readonly variants: readonly Variant[];
}

/**
 * Steps that together run every kernel which any step within the bounds runs, as the planner plans them. They are planned
 * one by one, as they are asked for.
 */
export function* servedSteps(served: Served, traits: DeviceTraits): Generator<ServedStep> {
  for (const problem of servedProblems(served)) {
    for (const step of representativeSteps(problem, served, traits)) {
      const dispatches = planCachedAttention(problem, lengthsOf(served, step), traits);
      yield { step, batch: 1, variants: neededOf(served, dispatches) };
      if (!served.sharedPrefix || served.lengths === 'gpu') continue;
      for (const batch of batchesOf(problem, step)) {
        const longest = { ...step, kLen: served.maxContext };
        const cascade = planCachedAttention(...sharingStep(problem, longest, batch, served), traits);
        yield { step: longest, batch, variants: neededOf(served, cascade) };
      }
    }
  }
}

/** The variants of dispatches, without gathers that are not needed: numbers of tokens are planned as if they were on the GPU. */
function neededOf(served: Served, dispatches: readonly Dispatch[]): readonly Variant[] {
  const isNeeded = ({ perStep, kernel }: Dispatch): boolean =>
    !perStep || kernel.name === maskTilesKernel.name || !isOnHost(served);
  const needed = dispatches.filter(isNeeded);
  return needed.map(({ kernel, spec }) => ({ kernel, spec }));
}

/** Whether nothing has to be gathered. */
function isOnHost({ lengths, slopes, sinks, tokens, kvDType, blocks }: Served): boolean {
  const areScalesOnHost = kvDType !== 'e4m3';
  return (
    areScalesOnHost && !blocks && ![lengths, slopes, sinks, tokens.positions, tokens.tree].includes('gpu')
  );
}

function numbersOfTokens({ tokens }: Pick<Served, 'tokens'>): Pick<HostLengths, 'tokens'> {
  const { positions, tree, sections } = tokens;
  if (!positions && !tree) return {};
  return {
    tokens: {
      positions: positions && standIn('i32', sections ? [3, 1] : [1]),
      tree: tree && standIn('u32', [1, 1]),
    },
  };
}

/**
 * One problem; with a bias two, as rows of any number of keys begin at a multiple of four numbers or do not, and twice as
 * many where lists of full blocks spare maskMod or are not given.
 */
function servedProblems(served: Served): readonly AttentionProblem[] {
  const problem = servedProblem(served);
  const { bias, blocks } = problem;
  const problems = sparesMaskMod(problem)
    ? [problem, { ...problem, blocks: { ...blocks!, full: null } }]
    : [problem];
  if (!bias) return problems;
  const anywhere = RAGGED.keyRows(standIn(served.bias!, [1, 1, 1]));
  return problems.flatMap((each) => [each, { ...each, bias: anywhere }]);
}

/** Numbers of sequences with which the rows of all of them need different tiles: more than `MAX_DECODE_ROWS` have one. */
function* batchesOf({ nHeads, nKvHeads }: AttentionProblem, { qLen }: SequenceStep): Generator<number> {
  const group = nHeads / nKvHeads;
  const most = qLen === 1 ? Math.floor(MAX_DECODE_ROWS / group) + 1 : 2;
  for (let batch = 2; batch <= Math.max(2, most); batch++) yield batch;
}

/** A step of sequences that share all that is cached. */
function sharingStep(
  problem: AttentionProblem,
  { qLen, kLen }: SequenceStep,
  batch: number,
  served: Served,
): [AttentionProblem, HostLengths] {
  const of = (n: number) => new Int32Array(batch).fill(n);
  const nKeys = served.newDType ? kLen - qLen : kLen;
  const sharedPrefix = nKeys > 0 ? { nKeys, table: Int32Array.of(0) } : null;
  const row = of(0);
  const qStart = row.map((_, b) => b * qLen);
  const lengths = { qStart, qLen: of(qLen), kLen: of(kLen), nCached: of(nKeys), row };
  return [
    { ...problem, batch, sharedPrefix },
    hostLengths({ ...lengths, newStart: qStart, ...numbersOfTokens(served) }),
  ];
}

/** The kernels of `attnWeights` for such calls. */
export function weightsVariants(served: Served, traits: DeviceTraits): Variant[] {
  return servedProblems(served).flatMap((problem) => weightsVariantsOf(problem, served, traits));
}

function weightsVariantsOf(
  { append, ...problem }: AttentionProblem,
  served: Served,
  traits: DeviceTraits,
): Variant[] {
  const rotary = append?.rotary ?? null;
  const attention = {
    ...problem,
    lse: RAGGED.lseRows(standIn('f32', [served.nHeads, 1])),
    append: rotary && { newK: null, newV: null, rotary, apart: false },
    ...(problem.turned && { turned: { ...problem.turned, out: null } }),
  };
  const one = Int32Array.of(1);
  const dispatches = planWeights(
    {
      attention,
      nQueries: 0,
      rows: [{ row: 0, sequences: [0, 1] }],
      weights: standIn('f32', [1, served.nHeads, 1]),
    },
    hostLengths({ qLen: one, kLen: one, ...numbersOfTokens(served) }),
    traits,
  );
  return dispatches.map(({ kernel, spec }) => ({ kernel, spec }));
}

/** What of a served model its problem depends on. */
type ProblemOptions = Omit<Served, keyof StepBounds | 'lengths' | 'sharedPrefix'>;

/** An attention problem of a served model, with placeholders for tensors. */
export function servedProblem(served: ProblemOptions): AttentionProblem {
  const { nHeads, nKvHeads, headDim, headDimV, dtype, kvDType, newDType, rotary, paged, tokens } = served;
  const { valuesInKeys = false, turns = false } = served;
  const keyRows = paged ? pagedRows : denseRows;
  const keys = [1, 1, nKvHeads, headDim];
  const values = standIn(kvDType, [1, 1, nKvHeads, headDimV]);
  const fresh = (size: number) => (newDType ? denseRows(standIn(newDType, [1, 1, nKvHeads, size])) : null);
  const problem: AttentionProblem = {
    caller: served.caller,
    batch: 1,
    nHeads,
    nKvHeads,
    headDim,
    headDimV,
    q: raggedRows(standIn(dtype, [1, nHeads, headDim])),
    k: keyRows(standIn(kvDType, keys)),
    v: keyRows(valuesInKeys ? { ...values, strides: contiguousStrides(keys) } : values),
    out: raggedRows(standIn(dtype, [1, nHeads, headDimV])),
    lse: served.returnLse ? RAGGED.lseRows(standIn('f32', [nHeads, 1])) : null,
    pages: paged ? { pageSize: 1, nPages: 1, table: Int32Array.of(0), nRows: 1, width: 1, stride: 1 } : null,
    scales: scalesOf(served),
    masks: { ...served.masks, ...tokenLayout(tokens) },
    softmaxScale: 1,
    softcap: served.softcap ? 1 : 0,
    slopes: served.slopes && { values: numbersAt(served.slopes, nHeads), perSequence: false },
    sinks: served.sinks && numbersAt(served.sinks, nHeads),
    mask: served.mask ? RAGGED.keyRows(standIn('u32', [1, 1, 1])) : null,
    bias: served.bias && RAGGED.keyRows(standIn(served.bias, [1, 1, 4])),
    mods: served.mods && { ...served.mods, params: new Float32Array(2 * MOD_PARAMS) },
    blocks: served.blocks ? anyBlocks() : null,
    numSplits: served.numSplits,
    append:
      newDType || rotary
        ? {
            newK: fresh(headDim),
            newV: valuesInKeys ? null : fresh(headDimV),
            rotary: rotary ? { ...anyRotary(headDim), ...(tokens.sections && ANY_SECTIONS) } : null,
            apart: false,
          }
        : null,
    sharedPrefix: null,
  };
  return turns ? turnedProblem(problem) : problem;
}

/** Scales of e4m3 may be on the GPU, where they take a kernel more than on the host. */
function scalesOf({
  kvDType,
  scaleDType,
  nKvHeads,
  headDim,
  headDimV,
  valuesInKeys = false,
  paged,
}: ProblemOptions): KvScales | null {
  if (!isQuantised(kvDType)) return null;
  if (kvDType === 'e4m3')
    return { per: 'head', k: numbersAt('gpu', nKvHeads), v: numbersAt('gpu', nKvHeads) };
  const rows = paged ? pagedRows : denseRows;
  const of = (size: number) => rows(standIn(scaleDType, scaleShape(kvDType, [1, 1, nKvHeads, size])));
  const ofKeys = of(headDim);
  return { per: 'token', k: ofKeys, v: valuesInKeys ? ofKeys : of(headDimV) };
}

/** A placeholder for a tensor: planning does not look at its buffer. */
function standIn(dtype: DType, shape: readonly number[]): Tensor {
  return { buffer: {} as GPUBuffer, dtype, shape };
}

function numbersAt(where: 'host' | 'gpu', count: number): SmallFloats {
  return where === 'gpu' ? standIn('f32', [count]) : new Float32Array(count);
}

function anyBlocks(): Blocks {
  const lists: BlockLists = {
    counts: standIn('i32', [1, 1, 1]),
    indices: standIn('i32', [1, 1, 1, 1]),
    countShape: [1, 1, 1],
    indexShape: [1, 1, 1, 1],
  };
  const sizes = { sequences: 1, heads: 1, nRows: 1, nColumns: 1, rowTokens: 1, columnKeys: 1 };
  return { ...sizes, listed: lists, full: lists };
}

function anyRotary(headDim: number) {
  const angles = new Float32Array(1);
  return {
    cos: angles,
    sin: angles,
    nPositions: 1,
    pairs: headDim / 2,
    interleaved: true,
    queriesAdvance: true,
  };
}

const ANY_SECTIONS = { sections: { pairs: [1, 0, 0], interleaved: false } } as const;

function tokenLayout({ positions, tree, sections }: ServedTokens): Pick<Masks, 'tokens'> {
  if (!positions && !tree) return {};
  const positionRows = positions ? (sections ? 3 : 1) : 0;
  return {
    tokens: { nTokens: 1, sequenceTokens: 0, positionRows, treeWords: tree ? 1 : 0 },
  };
}

function lengthsOf(served: Served, { qLen, kLen }: SequenceStep): HostLengths | DeviceLengths {
  const tokens = numbersOfTokens(served);
  if (served.lengths === 'host') {
    return hostLengths({
      ...tokens,
      qLen: Int32Array.of(qLen),
      kLen: Int32Array.of(kLen),
      nCached: Int32Array.of(kLen - qLen),
    });
  }
  return deviceLengths({
    ...tokens,
    totalQ: qLen,
    keysInRows: true,
    totalK: kLen,
    totalNew: qLen,
    maxNew: qLen,
    nRows: 1,
    maxSeqlenQ: qLen,
    maxSeqlenK: kLen,
  });
}
