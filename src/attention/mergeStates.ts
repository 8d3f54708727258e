import { Call, checkPass, readArgs, type ArgNames } from '../check/call.js';
import { checkOutputs, checkOutputsApart, type GivenOutputs } from '../check/checkAttentionTensors.js';
import { checkDims, checkTensor, MAX_ELEMENTS, type DimsOf } from '../check/checkTensor.js';
import { namesOf } from '../core/checkArguments.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch, Scratch } from '../core/dispatch.js';
import { bytesPerElement, FLOATS } from '../core/dtype.js';
import { contiguousStrides, elementCount, stridesOf, windowOf, type Tensor } from '../core/tensor.js';
import { mergeStatesDispatch, type States } from '../kernels/mergeStates.js';
import type { AttentionResult } from '../problem/attentionArgs.js';
import { DENSE, RAGGED, type QueryLayout } from '../problem/tokenRows.js';
import type { Runtime } from '../runtime/runtime.js';
import { runOperation, type Operation, type Outputs } from './attentionOperation.js';

/** The result of attention over some of the keys. */
export interface AttentionState {
  /** [B, Sq, Hq, Dv] or [totalQ, Hq, Dv] in f32, f16 or bf16 */
  readonly out: Tensor;
  /**
   * f32 [B, Hq, Sq] or [Hq, totalQ]; −∞ where the part saw no key; its out may be anything there. With +∞ or NaN, the
   * row's result is undefined.
   */
  readonly lse: Tensor;
}

export interface MergeStatesArgs {
  /** Attention of the same queries over parts of the keys, one or more. */
  readonly parts: readonly AttentionState[];
  /** Where to write; a tensor of the first part's type. Default: a new one, whose buffer the caller destroys. */
  readonly out?: Tensor | undefined;
  /** Where to write the lse, f32. Default: a new one. */
  readonly lse?: Tensor | undefined;
  /** A pass to record into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

const NAMES: ArgNames<MergeStatesArgs> = {
  used: namesOf<MergeStatesArgs>({ parts: true, out: true, lse: true, pass: true }),
  unused: [],
};

/**
 * Combines attention over parts of the keys, such as a shared prefix and each sequence's own, into attention over all of
 * them: with w_c = exp(lse_c − lse),
 *
 *     lse = ln Σ_c exp(lse_c)      out = Σ_c w_c · out_c
 *
 * Pass sinks to one part only. Parts that are equally spaced views of one buffer are merged by one dispatch.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * const { out, lse } = mergeStates(runtime, { parts: [overPrefix, overOwnKeys] });
 */
export function mergeStates(runtime: Runtime, args: MergeStatesArgs): Required<AttentionResult> {
  const call: Call = Call.on(runtime, 'mergeStates');
  const { parts, ...rest } = readArgs(call, args, NAMES);
  checkPass(call, rest.pass);
  if (!Array.isArray(parts) || parts.length === 0)
    call.refuseValue('parts', 'an array of { out, lse }, at least one', parts);
  for (let i = 0; i < parts.length; i++) {
    const part: unknown = parts[i];
    if (typeof part !== 'object' || part === null) call.refuseValue(`parts[${i}]`, '{ out, lse }', part);
  }
  const operation = mergeOperation(call, parts, rest);
  const { out, lse } = runOperation(runtime, { ...rest, returnLse: true }, operation);
  return { out, lse: lse! };
}

function mergeOperation(call: Call, parts: readonly AttentionState[], outputs: GivenOutputs): Operation {
  const layout = layoutOf(parts[0]?.out);
  const dims = { out: [...layout.tokens, 'Hq', 'Dv'], lse: layout.lse };
  const tensors: Record<string, DimsOf[string]> = {};
  parts.forEach((part, i) => {
    const [outName, lseName] = [`parts[${i}].out`, `parts[${i}].lse`];
    checkTensor(call, outName, part.out, { dims: dims.out, dtypes: FLOATS });
    checkTensor(call, lseName, part.lse, { dims: dims.lse, dtypes: ['f32'] });
    tensors[outName] = [part.out, ...dims.out];
    tensors[lseName] = [part.lse, ...dims.lse];
  });
  const { Dv } = checkDims<'Dv'>(call, tensors);
  if (Dv === 0) call.refuse('shape', 'parts[0].out has heads of no elements.');
  const first = parts[0]!;
  const rules = {
    out: { dims: dims.out, sizes: first.out.shape },
    dtype: first.out.dtype,
    lse: { dims: dims.lse, sizes: first.lse.shape },
  };
  checkOutputs(call, outputs, rules);
  const read = Object.fromEntries(Object.entries(tensors).map(([name, [tensor]]) => [name, tensor]));
  checkOutputsApart(call, outputs, read);
  const plan = ({ out, lse }: Outputs): Dispatch[] =>
    elementCount(first.out.shape) === 0 ? [] : planMerge(call, parts, { out, lse: lse! });
  return { call, rules, plan };
}

function canBind(tensor: Tensor, { maxBindingBytes }: DeviceTraits): boolean {
  const { size } = windowOf(tensor);
  return size <= maxBindingBytes && size <= MAX_ELEMENTS * bytesPerElement(tensor.dtype);
}

/** One dispatch for equally spaced parts and for two, else one fewer than there are parts. */
function planMerge(call: Call, parts: readonly AttentionState[], into: AttentionState): Dispatch[] {
  const { traits } = call;
  const { shape } = into.out;
  const [nHeads, headDim] = shape.slice(-2) as [number, number];
  const [batch, nTokens] = shape.length === 4 ? [shape[0]!, shape[1]!] : [1, shape[0]!];
  const sizes = { batch, nTokens, nHeads, headDim, traits };
  const target = rowsOf(into);

  const stack = stacked(parts);
  if (stack && canBind(stack.out.tensor, traits) && canBind(stack.lse.tensor, traits))
    return [mergeStatesDispatch({ ...sizes, parts: { stack }, ...target })];

  const scratchBytes = Math.max(4, 8 / headDim) * elementCount(shape);
  if (parts.length > 2 && scratchBytes > traits.maxBindingBytes) {
    call.refuse(
      'limit',
      `merging ${parts.length} parts needs ${scratchBytes} bytes in f32; this device binds at most ${traits.maxBindingBytes}. Merge fewer tokens at a time.`,
    );
  }
  const dispatches: Dispatch[] = [];
  // As a binary tree, so that a result is rounded log2(n) times. One part after the other, it would be rounded n times,
  // which for a hundred parts is visible.
  const combine = (some: readonly AttentionState[], result: States, depth: number): void => {
    const middle = Math.ceil(some.length / 2);
    const pair = [some.slice(0, middle), some.slice(middle)].map((half, side) => {
      if (half.length === 1) return rowsOf(half[0]!);
      const state = scratchStates(sizes, 2 * depth + side);
      combine(half, state, depth + 1);
      return state;
    }) as [States, States];
    dispatches.push(mergeStatesDispatch({ ...sizes, parts: { pair }, ...result }));
  };
  combine(parts, target, 0);
  return dispatches;
}

function rowsOf({ out, lse }: AttentionState): States {
  const layout = layoutOf(out);
  return { out: layout.rows(out), lse: layout.lseRows(lse), hasTotals: false };
}

function layoutOf(out: Tensor | undefined): QueryLayout {
  return out?.shape?.length === 3 ? RAGGED : DENSE;
}

/** Scratch memory for the merged result of half of the parts. */
function scratchStates(
  { batch, nTokens, nHeads, headDim }: { batch: number; nTokens: number; nHeads: number; headDim: number },
  place: number,
): States {
  const nRows = batch * nTokens * nHeads;
  const scratch = (what: string, elements: number): Scratch => ({
    scratch: `merged ${what} ${place}`,
    bytes: 4 * elements,
  });
  const [outSequence, outToken, outHead] = contiguousStrides([batch, nTokens, nHeads, headDim]) as [
    number,
    number,
    number,
  ];
  const [lseSequence, lseToken, lseHead] = contiguousStrides([batch, nTokens, nHeads, 2]) as [
    number,
    number,
    number,
  ];
  return {
    out: {
      tensor: scratch('out', nRows * headDim),
      sequenceStride: outSequence,
      tokenStride: outToken,
      headStride: outHead,
    },
    lse: {
      tensor: scratch('sums', 2 * nRows),
      sequenceStride: lseSequence,
      tokenStride: lseToken,
      headStride: lseHead,
    },
    hasTotals: true,
  };
}

/** All parts as one stack, if they are equally spaced in one buffer. */
function stacked(parts: readonly AttentionState[]) {
  const out = stackOf(parts.map((part) => part.out));
  const lse = stackOf(parts.map((part) => part.lse));
  if (!out || !lse) return null;
  const rows = rowsOf(parts[0]!);
  return {
    out: { ...rows.out, tensor: out.tensor },
    lse: { ...rows.lse, tensor: lse.tensor },
    hasTotals: false,
    n: parts.length,
    outPart: out.step,
    lsePart: lse.step,
  };
}

function stackOf(tensors: readonly Tensor[]): { readonly tensor: Tensor; readonly step: number } | null {
  const [first, second = first] = tensors as [Tensor, Tensor?];
  const start = first.offset ?? 0;
  const step = (second.offset ?? 0) - start;
  const strides = stridesOf(first);
  const isStack = tensors.every(
    (tensor, i) =>
      tensor.buffer === first.buffer &&
      tensor.dtype === first.dtype &&
      (tensor.offset ?? 0) === start + i * step &&
      stridesOf(tensor).every((stride, axis) => stride === strides[axis]),
  );
  if (!isStack || step < 0) return null;
  return {
    tensor: { ...first, shape: [tensors.length, ...first.shape], strides: [step, ...strides] },
    step,
  };
}
