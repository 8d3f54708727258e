import { elementCount, type Tensor } from '../../src/core/tensor.js';
import { attnVarlen, attnWeights, attnWithKvCache, type Runtime } from '../../src/index.js';
import { attend, type Sequence } from '../../src/reference/attend.js';
import { NO_ROW } from '../../src/reference/hostTensor.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';
import { assert } from '../platforms/gpuCase.js';
import { downloadGuarded, uploadGuarded, type Guarded } from './guardedTensor.js';
import type { Random } from '../../tools/random.js';
import { checkLse, checkOut } from '../reference/tolerance.js';

/** Where the keys are. */
export type BatchKind = 'end to end' | 'pages' | 'rows of a cache' | 'pages of a cache';

const BATCH = 3;
const TOTAL_Q = 24;
const TOTAL_NEW = 12;
const TOTAL_K = 100;
/** Slots of a row, and of the pages that a row of the table names. */
const ROOM = 80;
const N_ROWS = 4;
const PAGE_SIZE = 4;
const WIDTH = ROOM / PAGE_SIZE;
const N_PAGES = 50;
/** Of a sequence of any kind. */
const MOST_KEYS = TOTAL_K;
const N_HEADS = 2;
const HEAD_DIM = 32;
/** Positions of the rotary tables, fewer than there are slots. */
const N_POSITIONS = 70;
const N_PAIRS = 4;

/** All numbers that only the GPU knows. */
interface Numbers {
  readonly cuSeqlensQ: Int32Array;
  readonly cuSeqlensK: Int32Array;
  /** sequsedK or cacheSeqlens */
  readonly used: Int32Array;
  readonly cuSeqlensKNew: Int32Array;
  readonly blockTable: Int32Array;
  readonly cacheBatchIdx: Int32Array;
  readonly cacheLeftpad: Int32Array;
  readonly maxSeqlenQ: number;
  readonly maxSeqlenK: number;
  /** Of query tokens, if they have any: positions, and a word each of a tree. */
  readonly positions: Int32Array | undefined;
  readonly treeMask: Int32Array | undefined;
}

/** An integer, valid more often than not. */
function anyInteger(random: Random, most: number): number {
  const wild = [-1, -(2 ** 31), 2 ** 31 - 1, most, most + 1, random.int(-(2 ** 31), 2 ** 31)];
  return random.int(0, 3) === 0 ? random.pick(wild) : random.int(0, most + 1);
}

function drawNumbers(random: Random): Numbers {
  const list = (length: number, most: number) => Int32Array.from({ length }, () => anyInteger(random, most));
  // Rising more often than not, or sequences would have no queries.
  const sums = (most: number) => {
    const numbers = list(BATCH + 1, most);
    return random.int(0, 3) > 0 ? numbers.toSorted() : numbers;
  };
  const blockTable = list(BATCH * WIDTH, N_PAGES - 1);
  // The padding of a fixed batch.
  if (random.int(0, 3) === 0) blockTable.fill(-1, WIDTH * random.int(0, BATCH));
  // Mostly inside of the tables, or sequences would have no keys.
  const position = () =>
    random.int(0, 40) === 0 ? anyInteger(random, N_POSITIONS) : random.int(0, N_POSITIONS);
  const perToken = (draw: () => number) =>
    random.boolean() ? Int32Array.from({ length: TOTAL_Q }, draw) : undefined;
  return {
    positions: perToken(position),
    treeMask: perToken(() => random.int(-(2 ** 31), 2 ** 31)),
    cuSeqlensQ: sums(TOTAL_Q),
    cuSeqlensK: sums(TOTAL_K),
    used: list(BATCH, ROOM),
    cuSeqlensKNew: sums(TOTAL_NEW),
    blockTable,
    cacheBatchIdx: list(BATCH, N_ROWS - 1),
    cacheLeftpad: list(BATCH, 20),
    maxSeqlenQ: random.pick([7, 2 ** 31 - 1]),
    maxSeqlenK: random.pick([3, ROOM, 2 ** 31 - 1]),
  };
}

/** What is left of a sequence once its lengths are clamped to what the tensors hold, and what is outside is none. */
interface Clamped extends Sequence {
  readonly nCached: number;
  readonly newStart: number;
}

function clamp(x: number, low: number, high: number): number {
  return Math.min(Math.max(x, low), high);
}

function clamped(kind: BatchKind, numbers: Numbers, b: number): Clamped {
  const { cuSeqlensQ, cuSeqlensK, used, cuSeqlensKNew, blockTable, cacheBatchIdx, cacheLeftpad } = numbers;
  const span = (sums: Int32Array, total: number): [start: number, length: number] => {
    const start = clamp(sums[b]!, 0, total);
    return [start, clamp(sums[b + 1]!, start, total) - start];
  };
  const [firstQuery, queries] = span(cuSeqlensQ, TOTAL_Q);
  const nQueries = Math.min(queries, numbers.maxSeqlenQ);
  const isCache = kind.endsWith('cache');
  const [kStart, keys] = kind === 'end to end' ? span(cuSeqlensK, TOTAL_K) : [0, ROOM];
  const nCached = clamp(used[b]!, 0, keys);
  const [newStart, nNew] = isCache ? span(cuSeqlensKNew, TOTAL_NEW) : [0, 0];
  const allKeys = Math.min(nCached + Math.min(nNew, keys - nCached), numbers.maxSeqlenK);
  const row = isCache ? cacheBatchIdx[b]! : b;
  const isThere = row >= 0 && row < (kind === 'rows of a cache' ? N_ROWS : BATCH);
  const lastPosition = Math.max(
    nQueries > 0 ? nCached + nQueries - 1 : -1,
    allKeys > nCached ? allKeys - 1 : -1,
  );
  const own = numbers.positions?.subarray(firstQuery, firstQuery + nQueries);
  const isBeyond = own
    ? allKeys - nCached > nQueries || own.some((position) => position < 0 || position >= N_POSITIONS)
    : lastPosition >= N_POSITIONS;
  const nKeys = isThere && !(isCache && isBeyond) ? allKeys : 0;
  const slotOf = (key: number): number => {
    if (kind === 'end to end') return kStart + key;
    if (kind === 'rows of a cache') return row * ROOM + key;
    const page = blockTable[row * WIDTH + Math.floor(key / PAGE_SIZE)]!;
    return page >= 0 && page < N_PAGES ? page * PAGE_SIZE + (key % PAGE_SIZE) : NO_ROW;
  };
  return {
    firstQuery,
    nQueries,
    keyRows: Int32Array.from({ length: nKeys }, (_, key) => slotOf(key)),
    leftpad: isCache ? clamp(cacheLeftpad[b]!, 0, nKeys) : 0,
    lseIndex: (head, i) => head * TOTAL_Q + firstQuery + i,
    nCached,
    newStart,
  };
}

const SHAPES: Readonly<Record<BatchKind, readonly number[]>> = {
  'end to end': [TOTAL_K, 1, HEAD_DIM],
  pages: [N_PAGES, PAGE_SIZE, 1, HEAD_DIM],
  'rows of a cache': [N_ROWS, ROOM, 1, HEAD_DIM],
  'pages of a cache': [N_PAGES, PAGE_SIZE, 1, HEAD_DIM],
};

/**
 * Calls attnVarlen or attnWithKvCache, then attnWeights, with malformed numbers on the GPU. Whatever tensors hold besides what these lead to is
 * NaN, and so is what lies around them: it may neither show nor change.
 */
export async function checkMalformedBatch(runtime: Runtime, kind: BatchKind, random: Random): Promise<void> {
  const { device } = runtime;
  const numbers = drawNumbers(random);
  const { positions, treeMask } = numbers;
  const numSplits = random.pick([0, 2]);
  const sequences = Array.from({ length: BATCH }, (_, b) => clamped(kind, numbers, b));
  const isCache = kind.endsWith('cache');

  const kShape = SHAPES[kind];
  const reached = new Set(sequences.flatMap(({ keyRows }) => [...keyRows].filter((row) => row !== NO_ROW)));
  const keys = () => {
    const data = new Float32Array(elementCount(kShape)).fill(NaN);
    for (const row of reached) data.set(random.normals(HEAD_DIM), row * HEAD_DIM);
    return data;
  };
  const host = {
    q: random.normals(TOTAL_Q * N_HEADS * HEAD_DIM),
    k: keys(),
    v: keys(),
    newK: random.normals(TOTAL_NEW * HEAD_DIM),
    newV: random.normals(TOTAL_NEW * HEAD_DIM),
    cos: random.uniforms(N_POSITIONS * N_PAIRS, -1, 1),
    sin: random.uniforms(N_POSITIONS * N_PAIRS, -1, 1),
  };

  const lent: Tensor[] = [];
  const lend = (
    ...args: Parameters<typeof uploadGuarded> extends [GPUDevice, ...infer Rest] ? Rest : never
  ) => {
    const tensor = uploadGuarded(device, ...args);
    lent.push(tensor);
    return tensor;
  };
  const ints = (values: Int32Array, shape: readonly number[] = [values.length]) =>
    lend(random.pick(['i32', 'u32'] as const), shape, values);
  const common = {
    q: lend('f32', [TOTAL_Q, N_HEADS, HEAD_DIM], host.q),
    cuSeqlensQ: ints(numbers.cuSeqlensQ),
    maxSeqlenQ: numbers.maxSeqlenQ,
    maxSeqlenK: numbers.maxSeqlenK,
    ...(kind.startsWith('pages') && {
      // Where lengths are not known, pages are taken as they come from the host, too, except −2³¹.
      blockTable:
        random.int(0, 2) === 0
          ? numbers.blockTable.map((page) => Math.max(page, 1 - 2 ** 31))
          : ints(numbers.blockTable, [BATCH, WIDTH]),
    }),
    causal: true,
    ...(positions && { positions: ints(positions) }),
    ...(treeMask && { treeMask: ints(treeMask, [TOTAL_Q, 1]) }),
    numSplits,
    out: lend('f32', [TOTAL_Q, N_HEADS, HEAD_DIM], 'canaries'),
    lse: lend('f32', [N_HEADS, TOTAL_Q], 'canaries'),
  };
  const k = lend('f32', kShape, host.k);
  const v = lend('f32', kShape, host.v);
  const rows = Array.from({ length: TOTAL_Q }, (_, row) => row);
  const weights = lend('f32', [TOTAL_Q, N_HEADS, MOST_KEYS], 'canaries');
  if (isCache) {
    const args = {
      ...common,
      kCache: k,
      vCache: v,
      k: lend('f32', [TOTAL_NEW, 1, HEAD_DIM], host.newK),
      v: lend('f32', [TOTAL_NEW, 1, HEAD_DIM], host.newV),
      cacheSeqlens: ints(numbers.used),
      cuSeqlensKNew: ints(numbers.cuSeqlensKNew),
      cacheBatchIdx: ints(numbers.cacheBatchIdx),
      cacheLeftpad: ints(numbers.cacheLeftpad),
      rotaryCos: lend('f32', [N_POSITIONS, N_PAIRS], host.cos),
      rotarySin: lend('f32', [N_POSITIONS, N_PAIRS], host.sin),
    };
    attnWithKvCache(runtime, args);
    const { out: _, ...ofWeights } = args;
    attnWeights(runtime, { ...ofWeights, rows, weights });
  } else {
    const args = {
      ...common,
      k,
      v,
      ...(kind === 'end to end' && { cuSeqlensK: ints(numbers.cuSeqlensK) }),
      sequsedK: ints(numbers.used),
    };
    attnVarlen(runtime, args);
    const { out: _, ...ofWeights } = args;
    attnWeights(runtime, { ...ofWeights, rows, weights });
  }
  const got = new Map<Tensor, Guarded>();
  for (const tensor of lent) {
    const guarded = await downloadGuarded(device, tensor);
    const what = `${tensor.dtype} [${tensor.shape.join(', ')}]`;
    assert(guarded.nBroken === 0, `${guarded.nBroken} canaries around a ${what} are gone`);
    got.set(tensor, guarded);
  }
  const [out, lse, gotK, gotV] = [common.out, common.lse, k, v].map((tensor) => got.get(tensor));

  const angles = (data: Float32Array) => ({ shape: [N_POSITIONS, N_PAIRS], data });
  const rotary = { cos: angles(host.cos), sin: angles(host.sin), interleaved: true };
  const rotated = (from: Float32Array, row: number, position: number): Float32Array => {
    const head = from.slice(row * HEAD_DIM, (row + 1) * HEAD_DIM);
    if (isCache) rotate(head, position, rotary);
    return head;
  };

  // New tokens. A slot that is written for two may hold either.
  const writers = new Map<number, number>();
  for (const { keyRows, nCached, newStart, firstQuery, nQueries } of sequences) {
    for (let key = nCached; key < keyRows.length; key++) {
      const [slot, fresh] = [keyRows[key]!, newStart + key - nCached];
      if (slot === NO_ROW) continue;
      const position = positions?.[firstQuery + key - keyRows.length + nQueries] ?? key;
      host.k.set(rotated(host.newK, fresh, position), slot * HEAD_DIM);
      host.v.set(host.newV.subarray(fresh * HEAD_DIM, (fresh + 1) * HEAD_DIM), slot * HEAD_DIM);
      writers.set(slot, (writers.get(slot) ?? 0) + 1);
    }
  }
  const isDisputed = (slot: number): boolean => (writers.get(slot) ?? 0) > 1;
  checkCache('k', gotK!, host.k, (slot) => (writers.has(slot) ? (isDisputed(slot) ? Infinity : 1e-5) : 0));
  checkCache('v', gotV!, host.v, (slot) => (isDisputed(slot) ? Infinity : 0));

  const owners = Array.from({ length: TOTAL_Q }, (_, token) =>
    sequences.filter(({ firstQuery, nQueries }) => token >= firstQuery && token < firstQuery + nQueries),
  );
  owners.forEach((own, token) => {
    if (own.length !== 1 || own[0]!.keyRows.length === 0) return;
    for (let head = 0; head < N_HEADS; head++) {
      const row = token * N_HEADS + head;
      const position = positions?.[token] ?? own[0]!.nCached + token - own[0]!.firstQuery;
      host.q.set(rotated(host.q, row, position), row * HEAD_DIM);
    }
  });
  const flat = (data: Float32Array) => ({ data, shape: [data.length / HEAD_DIM, 1, HEAD_DIM] });
  const want = attend({
    q: { data: host.q, shape: [TOTAL_Q, N_HEADS, HEAD_DIM] },
    k: flat(host.k),
    v: flat(host.v),
    sequences,
    lseShape: [N_HEADS, TOTAL_Q],
    options: {
      causal: true,
      ...(positions && { positions }),
      ...(treeMask && { treeMask }),
    },
  });
  checkRows(owners, isDisputed, { out: out!, lse: lse! }, { out: want.out.data, lse: want.lse.data });
  // Where sequences do not lie in order, a row may not be found.
  const areInOrder = numbers.cuSeqlensQ.every((start, b) => b === 0 || start >= numbers.cuSeqlensQ[b - 1]!);
  checkSums(areInOrder ? owners : owners.map(() => []), got.get(weights)!, lse!);
  for (const { buffer } of lent) buffer.destroy();
}

/** Each weight is one, and a row of one sequence sums up to 1, or to 0 if it sees no key. */
function checkSums(owners: readonly (readonly Sequence[])[], weights: Guarded, lse: Guarded): void {
  for (let row = 0; row < TOTAL_Q * N_HEADS; row++) {
    const [token, head] = [Math.floor(row / N_HEADS), row % N_HEADS];
    const ofRow = weights.values.subarray(row * MOST_KEYS, (row + 1) * MOST_KEYS);
    assert(
      ofRow.every((p) => p >= 0 && p <= 1),
      `a weight of token ${token} is ${String(ofRow.find((p) => !(p >= 0 && p <= 1)))}`,
    );
    if (owners[token]!.length !== 1) continue;
    const sum = ofRow.reduce((total, p) => total + p, 0);
    const expected = lse.values[head * TOTAL_Q + token] === -Infinity ? 0 : 1;
    assert(Math.abs(sum - expected) < 1e-4, `weights of token ${token} sum up to ${sum}`);
  }
}

function checkCache(
  name: string,
  got: Guarded,
  want: Float32Array,
  toleranceOf: (slot: number) => number,
): void {
  want.forEach((value, i) => {
    const slot = Math.floor(i / HEAD_DIM);
    const [tolerance, actual] = [toleranceOf(slot), got.values[i]!];
    const holds = Object.is(actual, value) || Math.abs(actual - value) <= tolerance;
    assert(holds, `slot ${slot} of ${name} holds ${actual}, expected ${value}`);
  });
}

interface Results<T> {
  readonly out: T;
  readonly lse: T;
}

/** Compares the rows of which it is known what they are; rows of no sequence must be as they were, no other may be NaN. */
function checkRows(
  owners: readonly (readonly Sequence[])[],
  isDisputed: (slot: number) => boolean,
  got: Results<Guarded>,
  want: Results<ArrayLike<number>>,
): void {
  const compared: Results<[actual: number[], reference: number[]]> = { out: [[], []], lse: [[], []] };
  owners.forEach((own, token) => {
    const isKnown = own.length === 1 && !own[0]!.keyRows.some(isDisputed);
    const check = (name: 'out' | 'lse', index: number): void => {
      const what = `element ${index} of ${name}, of token ${token}`;
      if (own.length === 0) assert(got[name].isCanary(index), `${what}, of no sequence, was written`);
      else assert(!Number.isNaN(got[name].values[index]!), `${what}, is NaN`);
      if (!isKnown) return;
      compared[name][0].push(got[name].values[index]!);
      compared[name][1].push(want[name][index]!);
    };
    for (let i = 0; i < N_HEADS * HEAD_DIM; i++) check('out', token * N_HEADS * HEAD_DIM + i);
    for (let head = 0; head < N_HEADS; head++) check('lse', head * TOTAL_Q + token);
  });
  checkOut({ actual: compared.out[0], reference: compared.out[1], dtype: 'f32' });
  checkLse({ actual: compared.lse[0], reference: compared.lse[1] });
}
