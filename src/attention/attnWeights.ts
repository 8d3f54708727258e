import { Call, readArgs, type ArgNames } from '../check/call.js';
import { checkRotary } from '../check/checkAppend.js';
import { checkQk } from '../check/checkAttentionTensors.js';
import { checkBlockMask } from '../check/checkBlockMask.js';
import { checkTablePages } from '../check/checkBlockTable.js';
import { checkCacheLengths } from '../check/checkCacheLengths.js';
import { checkChosenRows, type ChosenTokens } from '../check/checkChosenRows.js';
import { checkBatch, checkSeqlens, countSequences } from '../check/checkLengths.js';
import { checkKeyRows } from '../check/checkKeyRows.js';
import { checkMods, modTensors } from '../check/checkMods.js';
import { checkOptions } from '../check/checkOptions.js';
import { checkKvRotation } from '../check/checkRotation.js';
import { checkTokens } from '../check/checkTokens.js';
import { checkNoOverlapWithin, checkOwnBuffer } from '../check/checkOverlap.js';
import { checkKeyScales } from '../check/checkScales.js';
import { checkForm, checkSizedTensor, checkTensor, inBrackets, MAX_ELEMENTS } from '../check/checkTensor.js';
import { checkVarlenLengths } from '../check/checkVarlenLengths.js';
import { FLOATS, KV_DTYPES } from '../core/dtype.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import { checkDispatches } from '../plan/limits.js';
import type { Lengths } from '../plan/planBatchInfo.js';
import { planWeights, type WeightsProblem } from '../plan/planWeights.js';
import type { AttentionOptions } from '../problem/attentionArgs.js';
import type { BlockMask } from '../problem/blockMask.js';
import { hostLengths, type AttentionProblem, type BlockTable } from '../problem/attentionProblem.js';
import { DENSE, denseRows, pagedRows, RAGGED, raggedRows, type QueryLayout } from '../problem/tokenRows.js';
import { turnedQueries } from '../problem/turned.js';
import type {
  AttnWeightsArgs,
  AttnWeightsResult,
  CacheWeightsArgs,
  ChosenRows,
  DenseWeightsArgs,
  VarlenWeightsArgs,
} from '../problem/weightsArgs.js';
import type { Runtime } from '../runtime/runtime.js';
import { WEIGHTS_NAMES } from './argNames.js';
import { runPlanned } from './attentionOperation.js';
import { checkRowOrder } from './attnVarlen.js';
import { checkNoBlockMask } from './attnWithKvCache.js';

/** What to do about tensors of another number of dimensions: in a dense batch, in one end to end, and of pages. */
const DENSE_HINTS = { 3: 'For sequences end to end, pass cuSeqlensQ.' };
const RAGGED_HINTS = { 4: 'For a dense batch, leave cuSeqlensQ out.' };
const KEY_HINTS = { 4: 'For a dense batch, leave cuSeqlensQ out; for pages, pass blockTable.' };
const PAGE_HINTS = { 3: 'For keys end to end, leave blockTable out.' };

/**
 * Computes the attention probabilities of some query rows, which attention itself never stores: for row i, head h and key j
 *
 *     weights[i, h, j] = exp(s − lse)      s = softcap(softmaxScale · q k) − slope · |distance|
 *
 * if the row sees the key, else 0; of a sequence in pages or in a cache, j is the slot, left padding counted. What lies
 * beyond a sequence's keys is 0. A row sums up to 1; to less if there are sinks, which are in lse; to 0 if it sees no key.
 *
 * It takes the arguments of the attention call that gave lse, which decide what a row sees, besides `rows` and `lse`: those
 * of `attnWithKvCache` where there is a `kCache`, of `attnVarlen` where there is `cuSeqlensQ`, else of `attn`. After
 * `attnWithKvCache` the new keys are in the cache; `k` is passed again all the same, since its size says how many they are,
 * or `cacheSeqlens` counts them; with rotary embedding only the former. Neither `v` nor sinks are needed.
 *
 * The work grows with rows · keys. Where lse is far from 0 it has few digits after the point, and so have weights: one is
 * off by about |lse| · 2⁻²² of itself. A `Batch` or a `Step` can be passed whole. Rows of padding, behind the end of
 * `cuSeqlensQ`, are an error, and zeros where it is on the GPU.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const args = { q, k, v, cuSeqlensQ: [0, 3, 8], cuSeqlensK: [0, 3, 8], causal: true };
 * const { out, lse } = attnVarlen(runtime, { ...args, returnLse: true });
 * const { weights } = attnWeights(runtime, { ...args, lse, rows: [2, 7] }); // [2, Hq, 5]: the last token of each
 */
export function attnWeights(runtime: Runtime, args: AttnWeightsArgs): AttnWeightsResult {
  const call = Call.on(runtime, 'attnWeights');
  const inputs = inputsOf(call, args);
  const { given, layout, batch, heads, pages } = inputs;
  const { q, lse, rows, pass } = given;
  const { sinks: _sinks, numSplits: _numSplits, ...options } = checkOptions(call, given, batch, heads);
  const { masks, lengths } = checkTokens(call, given, {
    layout,
    masks: options.masks,
    lengths: inputs.lengths,
    newTokens: inputs.cached?.k,
    hasSections: inputs.cached?.rotarySections !== undefined,
  });
  const rowsOfKeys = checkKeyRows(call, given, { q, layout, lengths });
  const mods = checkMods(call, given);
  const blocks = checkBlockMask(call, given.blockMask, { batch, nHeads: heads.nHeads, lengths });
  if (pages) checkTablePages(call, pages, lengths, masks);
  const append = appendOf(call, { ...inputs, lengths }, masks);
  if (lse === undefined)
    call.refuse('argument', 'lse is missing. Pass returnLse: true to the attention call, and its lse here.');
  checkSizedTensor(call, 'lse', lse, { dtypes: ['f32'], dims: layout.lse, sizes: layout.lseSizes(q.shape) });
  const nQueries = layout === DENSE ? q.shape[1]! : null;
  const nRows = layout === DENSE ? batch * nQueries! : q.shape[0]!;
  const chosen = checkChosenRows(call, rows, { batch, nRows, nQueries, lengths });
  checkWeights(call, inputs, chosen);

  const attention = {
    caller: call.name,
    batch,
    ...heads,
    q: layout.rows(q),
    k: inputs.keyRows,
    lse: layout.lseRows(lse),
    pages,
    scales: inputs.scales,
    append,
    sharedPrefix: null,
    ...options,
    masks,
    ...rowsOfKeys,
    mods,
    blocks,
    sinks: null,
    numSplits: 0,
  } satisfies WeightsProblem['attention'];
  const problem = {
    attention: inputs.turns ? turnedQueries(attention) : attention,
    nQueries: nQueries ?? 0,
    rows: chosen.tokens,
  } satisfies Omit<WeightsProblem, 'weights'>;
  const { weights } = runPlanned(runtime, { name: call.name, pass }, (makeTensor) => {
    const into =
      given.weights ?? makeTensor([rows.length, heads.nHeads, chosen.nKeys], 'f32', 'attention weights');
    const dispatches =
      elementCount(into.shape) === 0
        ? []
        : planWeights({ ...problem, weights: into }, lengths, call.traits, { pace: call.pace });
    checkDispatches(call.name, dispatches, call.traits);
    return { weights: into, dispatches };
  });
  return { weights };
}

/** The arguments of a call of any kind, checked as far as they decide where queries and keys are. */
interface Inputs {
  readonly given: ChosenRows &
    Omit<AttentionOptions, 'lse'> & { readonly q: Tensor; readonly blockMask?: BlockMask | undefined };
  /** Of attnWithKvCache: its rotary embedding. */
  readonly cached: CacheWeightsArgs | null;
  readonly layout: QueryLayout;
  readonly batch: number;
  readonly heads: Pick<AttentionProblem, 'nHeads' | 'nKvHeads' | 'headDim'>;
  readonly keyRows: AttentionProblem['k'];
  readonly scales: AttentionProblem['scales'];
  /** Whether keys are turned. */
  readonly turns: boolean;
  readonly lengths: Lengths;
  readonly pages: BlockTable | null;
  /** By name, what is read. */
  readonly read: Readonly<Record<string, unknown>>;
}

function inputsOf(call: Call, args: AttnWeightsArgs): Inputs {
  // What is no object at all is refused as arguments of attn.
  const given = ((args as unknown) ?? {}) as Distinctive;
  if (given.kCache !== undefined) {
    checkNoBlockMask(call, args);
    return cacheInputs(call, read<CacheWeightsArgs>(call, args, WEIGHTS_NAMES.cache));
  }
  if (given.cuSeqlensQ !== undefined) {
    checkRowOrder(call, given);
    return varlenInputs(call, read<VarlenWeightsArgs>(call, args, WEIGHTS_NAMES.varlen));
  }
  return denseInputs(call, read<DenseWeightsArgs>(call, args, WEIGHTS_NAMES.dense));
}

/** Arguments that tell whose they are. */
interface Distinctive {
  readonly kCache?: unknown;
  readonly cuSeqlensQ?: unknown;
  readonly cacheBatchIdx?: unknown;
}

function read<Args extends ChosenRows>(call: Call, args: AttnWeightsArgs, names: ArgNames<Args>): Args {
  return readArgs<Args, Args>(call, args as ChosenRows as Args, names);
}

function denseInputs(call: Call, given: DenseWeightsArgs): Inputs {
  const { q, k } = given;
  const dims = { q: ['B', 'Sq', 'Hq', 'D'], k: ['B', 'Sk', 'Hkv', 'D'] } as const;
  const { heads, dims: sizes } = checkQk(call, { q, k, dims, hints: { q: DENSE_HINTS, kv: DENSE_HINTS } });
  const { B, Sq, Sk } = sizes;
  checkBatch(call, B);
  checkSeqlens(call, 'queries', [Sq]);
  checkSeqlens(call, 'keys', [Sk]);
  const lengths = hostLengths({ qLen: new Int32Array(B).fill(Sq), kLen: new Int32Array(B).fill(Sk) });
  const common = { given, cached: null, layout: DENSE, pages: null, read: { ...given } };
  return { ...common, batch: B, heads, keyRows: denseRows(k), scales: null, turns: false, lengths };
}

function varlenInputs(call: Call, given: VarlenWeightsArgs): Inputs {
  const { q, k, kScale, kvRotation, blockTable } = given;
  const isPaged = blockTable !== undefined;
  const keyDims = isPaged ? (['P', 'pageSize'] as const) : (['totalK'] as const);
  const dims = { q: ['totalQ', 'Hq', 'D'], k: [...keyDims, 'Hkv', 'D'] } as const;
  const hints = { q: RAGGED_HINTS, kv: isPaged ? PAGE_HINTS : KEY_HINTS };
  const { heads } = checkQk(call, { q, k, dims, hints, kDTypes: isPaged ? KV_DTYPES : FLOATS });
  const scales = checkKeyScales(call, kScale, { k, name: 'k', isPaged });
  const turns = checkKvRotation(call, kvRotation, { q, k, names: { k: 'k', v: 'v' } });
  const { batch, lengths, pages } = checkVarlenLengths(call, given);
  const common = { given, cached: null, layout: RAGGED, batch, heads, read: { ...given } };
  return { ...common, keyRows: (pages ? pagedRows : raggedRows)(k), scales, turns, lengths, pages };
}

function cacheInputs(call: Call, given: CacheWeightsArgs): Inputs {
  const { k, ...args } = given;
  const { q, kCache, kScale, kvRotation, cuSeqlensQ, blockTable } = given;
  const layout = cuSeqlensQ === undefined ? DENSE : RAGGED;
  const keyDims = blockTable === undefined ? (['Bc', 'Sc'] as const) : (['P', 'pageSize'] as const);
  const dims = { q: [...layout.tokens, 'Hq', 'D'], k: [...keyDims, 'Hkv', 'D'] } as const;
  const hints = { q: cuSeqlensQ === undefined ? DENSE_HINTS : RAGGED_HINTS };
  const { heads } = checkQk(call, { q, k: kCache, kName: 'kCache', dims, hints, kDTypes: KV_DTYPES });
  const isPaged = blockTable !== undefined;
  const scales = checkKeyScales(call, kScale, { k: kCache, name: 'kCache', isPaged });
  const names = { k: 'kCache', v: 'vCache' };
  const turns = checkKvRotation(call, kvRotation, { q, k: kCache, names });
  const batch = cuSeqlensQ === undefined ? q.shape[0]! : countSequences(call, cuSeqlensQ, q.shape[0]!);
  checkBatch(call, batch);
  if (k) checkAppended(call, k, given, batch);
  const { lengths, pages } = checkCacheLengths(call, given, batch);
  // New keys have been written: of k only the size matters.
  const common = { given, cached: given, layout, batch, heads, read: args };
  return { ...common, keyRows: (pages ? pagedRows : denseRows)(kCache), scales, turns, lengths, pages };
}

/** Checks the new tokens of a cache as far as they say how many there are. */
function checkAppended(call: Call, k: Tensor, { cuSeqlensKNew }: CacheWeightsArgs, batch: number): void {
  const dims = [...(cuSeqlensKNew === undefined ? ['B', 'Snew'] : ['totalNew']), 'Hkv', 'D'];
  checkForm(call, 'k', k, { dtypes: FLOATS, dims });
  if (cuSeqlensKNew === undefined && k.shape[0] !== batch)
    call.refuse('shape', `k is ${inBrackets(k.shape)}, but there are ${batch} sequences.`);
}

/** Queries are rotated as attnWithKvCache has rotated them; keys are as they are in the cache. */
function appendOf(
  call: Call,
  { given: { q }, cached, lengths, heads: { headDim } }: Inputs,
  masks: AttentionProblem['masks'],
): AttentionProblem['append'] {
  const rotary = cached && checkRotary(call, cached, { lengths, masks, headDim });
  if (!rotary) return null;
  // Rotated queries are stored with the strides of q, so no two may share an element.
  checkNoOverlapWithin(call, 'q', q);
  return { newK: null, newV: null, rotary, apart: false };
}

function checkWeights(
  call: Call,
  { given, read: args, heads: { nHeads } }: Inputs,
  { nKeys, tokens }: ChosenTokens,
): void {
  const { weights } = given;
  const { maxBindingBytes } = call.traits;
  const sizes = [tokens.length, nHeads, nKeys];
  if (weights === undefined) {
    const elements = elementCount(sizes);
    if (4 * elements <= maxBindingBytes && elements <= MAX_ELEMENTS) return;
    call.refuse(
      'limit',
      `weights of ${sizes[0]} rows, ${nHeads} heads and ${nKeys} keys take ${4 * elements} bytes, but this device binds at most ${maxBindingBytes}. Ask for fewer rows at a time.`,
    );
  }
  checkTensor(call, 'weights', weights, { dtypes: ['f32'], dims: ['rows', 'Hq', 'keys'] });
  const { shape } = weights;
  if (shape[0] !== sizes[0] || shape[1] !== nHeads || shape[2]! < nKeys)
    call.refuse(
      'shape',
      `weights must be [rows, Hq, keys] = ${inBrackets(sizes)}, or with more keys, not ${inBrackets(shape)}.`,
    );
  checkNoOverlapWithin(call, 'weights', weights);
  const { weights: _weights, ...others } = args;
  checkOwnBuffer(call, 'weights', weights, { ...others, ...modTensors(others) });
}
