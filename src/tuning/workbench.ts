import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, decode, type FloatDType } from '../core/dtype.js';
import type { Load } from '../core/pace.js';
import { planAttention } from '../plan/planAttention.js';
import {
  hostLengths,
  NO_MASKS,
  type AttentionProblem,
  type HostLengths,
} from '../problem/attentionProblem.js';
import { pagedRows, raggedRows } from '../problem/tokenRows.js';
import type { Runtime } from '../runtime/runtime.js';
import {
  fillTensor,
  makeTensors,
  PAGE_SIZE,
  type BenchTensors,
  type Room,
  type TunedModel,
} from './benchTensors.js';

/** Attention to be planned in several ways, over tensors that are there. */
export interface Exercise {
  readonly name: string;
  readonly problem: AttentionProblem<null>;
  readonly lengths: HostLengths;
  /** The kernel to run alone. Default: all that are planned. */
  readonly only?: string;
}

/** At either end of an output. */
const COMPARED_BYTES = 2 ** 18;

/** Tensors with random numbers, and attention over parts of them. */
export class Workbench {
  readonly model: TunedModel;
  readonly room: Room;
  readonly #runtime: Runtime;
  readonly #caller: string;
  readonly #tensors: BenchTensors;
  /** Pages in random order. */
  readonly #pages: Int32Array;

  constructor(runtime: Runtime, caller: string, model: TunedModel, room: Room) {
    this.#runtime = runtime;
    this.#caller = caller;
    this.model = model;
    this.room = { ...room, keys: Math.ceil(room.keys / PAGE_SIZE) * PAGE_SIZE };
    this.#tensors = makeTensors(runtime, caller, model, this.room);
    this.#pages = shuffled(this.room.keys / PAGE_SIZE);
  }

  /** A prompt of so many tokens, causal. */
  prompt(nTokens: number): Exercise {
    // In one piece, since chunks of keys are another kernel.
    return this.#exercise(`a prompt of ${nTokens}`, [nTokens], [nTokens], 1);
  }

  /** A step of so many sequences with as many keys each, and so many new tokens of each. */
  step(nSequences: number, nKeys: number, nTokens = 1): Exercise {
    const each = (n: number): number[] => Array.from({ length: nSequences }, () => n);
    return this.#exercise(`${nSequences} × ${nKeys} keys`, each(nTokens), each(nKeys), 0);
  }

  /** Overwrites the output with NaN, so that what a kernel leaves out shows. */
  spoilOutput(): void {
    fillTensor(this.#runtime, this.#tensors.out, new Uint8Array(2 ** 16).fill(255));
  }

  /** The first and the last numbers of the output: all of them would keep the thread busy for long. */
  async readOutput({ lengths }: Exercise): Promise<Float32Array> {
    const { buffer, dtype, shape } = this.#tensors.out;
    const nTokens = lengths.qLen.reduce((sum, n) => sum + n, 0);
    const end = Math.ceil((nTokens * shape[1]! * shape[2]! * bytesPerElement(dtype)) / 4) * 4;
    const length = Math.min(end, COMPARED_BYTES);
    const bytes = new Uint8Array(2 * length);
    await this.#runtime.read(this.#caller, [
      { buffer, offset: 0, bytes: bytes.subarray(0, length) },
      { buffer, offset: end - length, bytes: bytes.subarray(length) },
    ]);
    return decode(
      dtype as FloatDType,
      dtype === 'f32' ? new Float32Array(bytes.buffer) : new Uint16Array(bytes.buffer),
    );
  }

  destroy(): void {
    this.#tensors.destroy();
  }

  #exercise(name: string, qLens: readonly number[], kLens: readonly number[], numSplits: number): Exercise {
    const { nHeads, nKvHeads, headDim, headDimV, paged } = this.model;
    const { q, k, v, out, scales } = this.#tensors;
    const batch = qLens.length;
    const width = Math.ceil(Math.max(...kLens) / PAGE_SIZE);
    const keyRows = paged ? pagedRows : raggedRows;
    return {
      name,
      problem: {
        caller: this.#caller,
        batch,
        nHeads,
        nKvHeads,
        headDim,
        headDimV,
        q: raggedRows(q),
        k: keyRows(k),
        v: keyRows(v),
        out: raggedRows(out),
        lse: null,
        scales,
        pages: paged
          ? {
              pageSize: PAGE_SIZE,
              nPages: this.#pages.length,
              table: this.#pages.subarray(0, batch * width),
              nRows: batch,
              width,
              stride: width,
            }
          : null,
        masks: { ...NO_MASKS, right: 0 },
        softmaxScale: 1 / Math.sqrt(headDim),
        softcap: 0,
        slopes: null,
        sinks: null,
        mask: null,
        bias: null,
        mods: null,
        blocks: null,
        numSplits,
        append: null,
        sharedPrefix: null,
      },
      lengths: hostLengths({
        qLen: Int32Array.from(qLens),
        kLen: Int32Array.from(kLens),
        qStart: starts(qLens),
        ...(!paged && { kStart: starts(kLens) }),
      }),
    };
  }
}

/** The dispatches of an exercise on a device with such traits, and all that they have to do. */
export function planOf(
  { problem, lengths, only }: Exercise,
  traits: DeviceTraits,
): { readonly dispatches: readonly Dispatch[]; readonly load: Load } {
  const planned = planAttention(problem, lengths, traits);
  const dispatches = only ? planned.filter(({ kernel }) => kernel.name === only) : planned;
  const load = { macs: 0, bytes: 0 };
  for (const dispatch of dispatches) {
    load.macs += dispatch.load?.macs ?? 0;
    load.bytes += dispatch.load?.bytes ?? 0;
  }
  return { dispatches, load };
}

function starts(lengths: readonly number[]): Int32Array {
  let sum = 0;
  return Int32Array.from(lengths, (n) => (sum += n) - n);
}

function shuffled(n: number): Int32Array {
  const numbers = Int32Array.from({ length: n }, (_, i) => i);
  let state = 1;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = state % (i + 1);
    [numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!];
  }
  return numbers;
}
