import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, decode, encode, type FloatDType, type QuantisedDType } from '../core/dtype.js';
import type { KnownAnswer, SelfTest } from '../core/knownAnswer.js';
import { unpackCodes } from '../core/kvFormats.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import type { AttentionProblem, HostLengths } from '../problem/attentionProblem.js';
import { variantName } from '../wgsl/link.js';
import { KNOWN_CALLS, problemOf, sumOf, type KnownCall } from './knownCalls.js';
import { planAttention } from './planAttention.js';

/**
 * How far outputs, of which the largest are about 1, may be off: some times as far as they are rounded, and less than a
 * missing key makes.
 */
const TOLERANCE: Readonly<Record<FloatDType, number>> = { f16: 3e-3, bf16: 1e-2, f32: 5e-5 };

/** The same for the lse of a quantised cache, whose scores are to be exact: an operand that f16 has rounded makes more. */
const EXACT_LSE = 1e-4;

/** Plans attention: `planAttention`. */
type Plan = (
  problem: AttentionProblem<null>,
  lengths: HostLengths,
  traits: DeviceTraits,
) => readonly Dispatch[];

/** What attention must answer on a device before it may use subgroup matrices: small calls that would use them. */
export const matrixTest: SelfTest = (traits) => knownAttention(traits, planAttention);

/** Those of the calls that are planned in another way with matrices than without. */
export function* knownAttention(traits: DeviceTraits, plan: Plan): Generator<KnownAnswer> {
  for (const call of KNOWN_CALLS) {
    const { problem, lengths } = problemOf(call);
    const dispatches = plan(problem, lengths, traits);
    const without = plan(problem, lengths, { ...traits, tier: 'T1', matrices: null });
    if (namesOf(dispatches) !== namesOf(without)) yield answerOf(call, problem, lengths, dispatches);
  }
}

function namesOf(dispatches: readonly Dispatch[]): string {
  return dispatches.map(({ kernel, spec }) => variantName(kernel, spec)).join(' ');
}

function answerOf(
  call: KnownCall,
  problem: AttentionProblem<null>,
  lengths: HostLengths,
  dispatches: readonly Dispatch[],
): KnownAnswer {
  const { q, out, lse } = problem;
  const slots = slotsOf(problem, lengths);
  const queries = storedAs(q.tensor, randomNumbers(q.tensor, 0));
  const keys = drawRows('k', problem, slots, (share) => growthOf(call, share));
  const values = drawRows('v', problem, slots, (share) =>
    call.growth === 'exponential' ? growthOf(call, share) : 1,
  );
  const each = { q: queries.numbers, k: keys.numbers, v: values.numbers };
  const expected = attend(problem, lengths, slots, each);
  const tolerance = TOLERANCE[call.dtype];
  const lseTolerance = call.kvDType ? EXACT_LSE : tolerance;
  return {
    name: call.name,
    dispatches,
    inputs: new Map([...queries.inputs, ...keys.inputs, ...values.inputs]),
    outputs: [
      { name: 'out', tensor: out.tensor, expected: expected.out, tolerance },
      ...(lse ? [{ name: 'lse', tensor: lse.tensor, expected: expected.lse, tolerance: lseTolerance }] : []),
    ],
  };
}

/** What tensors hold, and the numbers that it stands for. */
interface Drawn {
  readonly inputs: readonly (readonly [Tensor, ArrayBufferView])[];
  readonly numbers: Float32Array;
}

function storedAs(tensor: Tensor, numbers: Float32Array): Drawn {
  const dtype = tensor.dtype as FloatDType;
  const stored = encode(dtype, numbers);
  return { inputs: [[tensor, stored]], numbers: decode(dtype, stored) };
}

/** Keys or values, multiplied by factors; of a quantised cache any codes, with scales that are multiplied. */
function drawRows(
  which: 'k' | 'v',
  problem: AttentionProblem<null>,
  slots: readonly (readonly number[])[],
  factorOf: (share: number) => number,
): Drawn {
  const { tensor } = problem[which];
  const seed = which === 'k' ? 1 : 2;
  const { scales } = problem;
  if (scales?.per !== 'token') {
    const numbers = randomNumbers(tensor, seed);
    scaleRows(numbers, problem, slots, factorOf);
    return storedAs(tensor, numbers);
  }
  const dtype = tensor.dtype as QuantisedDType;
  const largest = dtype === 'i8' ? 127 : 8;
  const factors = randomNumbers(scales[which].tensor, seed + 2).map((x) => (x + 3) / 4 / largest);
  scaleRows(factors, problem, slots, factorOf);
  const scaling = storedAs(scales[which].tensor, factors);
  const nBytes = elementCount(tensor.shape) * bytesPerElement(dtype);
  const bytes = Uint8Array.from(randomNumbers({ shape: [nBytes] }, seed), (x) => Math.round(x * 127));
  const codes = unpackCodes(dtype, bytes);
  const perScale = codes.length / factors.length;
  const numbers = codes.map((code, i) => code * scaling.numbers[Math.floor(i / perScale)]!);
  return { inputs: [[tensor, bytes], ...scaling.inputs], numbers };
}

/** A factor for keys, by how far in their sequence they are. */
function growthOf({ growth }: KnownCall, share: number): number {
  if (growth === 'linear') return share;
  return growth === 'exponential' ? 2 ** (MAGNITUDES * (share - 1)) : 1;
}

/** From the first key to the last: more than a tile of f16 has without scaling it again. */
const MAGNITUDES = 12;

/** Multiplies the rows of keys or values by factors. Rows of no key become NaN. */
function scaleRows(
  numbers: Float32Array,
  { k, pages }: Pick<AttentionProblem, 'k' | 'pages'>,
  slots: readonly (readonly number[])[],
  factorOf: (share: number) => number,
): void {
  const [first, second] = k.tensor.shape as [number, number];
  const nSlots = pages ? first * second : first;
  const factors = new Float64Array(nSlots).fill(NaN);
  for (const ofSequence of slots)
    ofSequence.forEach((slot, j) => (factors[slot] = factorOf(j / ofSequence.length)));
  const perSlot = numbers.length / nSlots;
  for (let slot = 0, i = 0; slot < nSlots; slot++)
    for (const end = i + perSlot; i < end; i++) numbers[i]! *= factors[slot]!;
}

/** Where the keys of each sequence lie, in tokens from the beginning of the tensor. */
function slotsOf({ pages }: AttentionProblem<null>, { kLen, kStart }: HostLengths): number[][] {
  return Array.from(kLen, (n, b) =>
    Array.from({ length: n }, (_, j) => {
      if (!pages) return kStart[b]! + j;
      const page = (pages.table as Int32Array)[b * pages.width + Math.floor(j / pages.pageSize)]!;
      return page * pages.pageSize + (j % pages.pageSize);
    }),
  );
}

/** Attention by its definition. */
function attend(
  { nHeads, nKvHeads, headDim, headDimV, masks, softmaxScale }: AttentionProblem<null>,
  { qLen, qStart, kLen }: HostLengths,
  slots: readonly (readonly number[])[],
  numbers: Readonly<Record<'q' | 'k' | 'v', Float32Array>>,
): { readonly out: Float64Array; readonly lse: Float64Array } {
  const totalQ = sumOf(qLen);
  const out = new Float64Array(totalQ * nHeads * headDimV);
  const lse = new Float64Array(nHeads * totalQ);
  const { q, k, v } = numbers;
  for (let b = 0; b < qLen.length; b++) {
    for (let i = 0; i < qLen[b]!; i++) {
      const position = i + kLen[b]! - qLen[b]!;
      const first = masks.left < 0 ? 0 : Math.max(0, position - masks.left);
      const end = masks.right < 0 ? kLen[b]! : position + 1;
      for (let head = 0; head < nHeads; head++) {
        const row = (qStart[b]! + i) * nHeads + head;
        const kvHead = Math.floor((head * nKvHeads) / nHeads);
        let maximum = -Infinity;
        const scores = new Float64Array(end - first);
        for (let j = first; j < end; j++) {
          const key = (slots[b]![j]! * nKvHeads + kvHead) * headDim;
          let score = 0;
          for (let d = 0; d < headDim; d++) score += q[row * headDim + d]! * k[key + d]!;
          scores[j - first] = score * softmaxScale;
          maximum = Math.max(maximum, score * softmaxScale);
        }
        const weights = scores.map((score) => Math.exp(score - maximum));
        const total = sumOf(weights);
        for (let j = first; j < end; j++) {
          const value = (slots[b]![j]! * nKvHeads + kvHead) * headDimV;
          const weight = weights[j - first]! / total;
          for (let d = 0; d < headDimV; d++) out[row * headDimV + d]! += weight * v[value + d]!;
        }
        lse[head * totalQ + qStart[b]! + i] = maximum + Math.log(total);
      }
    }
  }
  return { out, lse };
}

/** Numbers from −1 to 1 that are the same in every run. */
function randomNumbers({ shape }: Pick<Tensor, 'shape'>, seed: number): Float32Array {
  const numbers = new Float32Array(elementCount(shape));
  let state = seed;
  for (let i = 0; i < numbers.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    numbers[i] = state / 2 ** 31 - 1;
  }
  return numbers;
}
