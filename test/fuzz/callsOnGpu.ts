import { isTensor, type Tensor } from '../../src/core/tensor.js';
import { createRuntime, PageflashError, type AttentionResult, type Runtime } from '../../src/index.js';
import { attnReference, attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { downloadBuffer, placesOf } from '../../tools/deviceTensor.js';
import { assert } from '../platforms/gpuCase.js';
import type { Args, PublicCall } from './callMaker.js';
import { drawPlainCall } from './validCalls.js';
import { mutate } from './mutations.js';
import { Random } from '../../tools/random.js';
import { strictDevice } from '../runtime/strictDevice.js';
import { checkOut } from '../reference/tolerance.js';

/** What was in a buffer before the call. */
type Memory = Map<GPUBuffer, Uint32Array<ArrayBuffer>>;

/** Bytes of all buffers of a call that are worth being made. */
const MOST_BYTES = 2 ** 24;

/** The changed call of this seed if it is taken all the same; undefined if it is refused or was not changed. */
function takenCall(seed: number): PublicCall | undefined {
  const random = new Random(seed);
  const call = drawPlainCall(random);
  const mutation = mutate(random, call.args);
  if (mutation.what === 'nothing' || !isTaken(call)) return undefined;
  // A changed code is another function, if it is one.
  if ('scoreMod' in call.args || 'maskMod' in call.args) return undefined;
  // Numbers on the GPU are zeros here, which tells little.
  const tensors = Object.entries(call.args).filter(([, value]) => isTensor(value));
  const isPlain = tensors.every(
    ([name, tensor]) => ['q', 'k', 'v', 'out', 'lse'].includes(name) && (tensor as Tensor).dtype === 'f32',
  );
  const bytes = tensors.reduce((sum, [, tensor]) => sum + (tensor as Tensor).buffer.size, 0);
  return isPlain && !('blockMask' in call.args) && bytes < MOST_BYTES ? call : undefined;
}

function isTaken({ args, run }: PublicCall): boolean {
  const runtime = createRuntime(strictDevice().device);
  try {
    run(runtime, args);
    return true;
  } catch (error) {
    if (error instanceof PageflashError) return false;
    throw error;
  } finally {
    runtime.destroy();
  }
}

/** Run changed calls that are taken on a real device, from a seed on, and compare with the reference. */
export async function checkTakenCalls(runtime: Runtime, firstSeed: number, nCalls: number): Promise<void> {
  for (let seed = firstSeed, done = 0; done < nCalls; seed++) {
    const call = takenCall(seed);
    if (!call) continue;
    done++;
    try {
      await checkTaken(runtime, call, new Random(seed));
    } catch (error) {
      throw new Error(`${call.name} of seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}

async function checkTaken(runtime: Runtime, call: PublicCall, random: Random): Promise<void> {
  const { device } = runtime;
  const memory: Memory = new Map();
  const args = withRealBuffers(device, call.args, memory, random);
  const { out, lse } = call.run(runtime, args) as AttentionResult;
  await runtime.done();

  const own = new Set(
    Object.values(args)
      .filter(isTensor)
      .map(({ buffer }) => buffer),
  );
  const written = new Map<GPUBuffer, Set<number>>();
  for (const tensor of [out, lse]) if (tensor) written.set(tensor.buffer, new Set(placesOf(tensor)));
  for (const [buffer, before] of memory) {
    const after = new Uint32Array(await downloadBuffer(device, buffer));
    const changed = after.findIndex((word, at) => word !== before[at] && !written.get(buffer)?.has(at));
    assert(changed < 0, `word ${changed} beside what is written has changed`);
  }
  const results = new Float32Array(await downloadBuffer(device, out.buffer));
  const actual = Float32Array.from(placesOf(out), (at) => results[at]!);
  const reference = Float32Array.from(referenceOf(call.name, args, memory));
  // Rows behind the last query are padding, and stay as they were.
  const cuSeqlensQ = args['cuSeqlensQ'] as ArrayLike<number> | undefined;
  if (cuSeqlensQ && memory.has(out.buffer)) {
    const row = reference.length / out.shape[0]!;
    const end = cuSeqlensQ[cuSeqlensQ.length - 1]! * row;
    reference.set(hostOf(out, memory).data.subarray(end), end);
  }
  checkOut({ actual, reference, dtype: 'f32' });
  for (const { buffer } of [out, ...(lse ? [lse] : [])]) if (!own.has(buffer)) buffer.destroy();
  for (const buffer of memory.keys()) buffer.destroy();
}

/** The arguments with buffers of the device, full of numbers. Tensors that shared one share one again. */
function withRealBuffers(device: GPUDevice, args: Args, memory: Memory, random: Random): Args {
  const made = new Map<GPUBuffer, GPUBuffer>();
  const realOf = (fake: GPUBuffer): GPUBuffer => {
    const found = made.get(fake);
    if (found) return found;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const size = Math.ceil(fake.size / 4) * 4;
    const buffer = device.createBuffer({ size, usage });
    const words = new Uint32Array(random.normals(size / 4).buffer);
    device.queue.writeBuffer(buffer, 0, words);
    memory.set(buffer, words);
    made.set(fake, buffer);
    return buffer;
  };
  return Object.fromEntries(
    Object.entries(args).map(([name, value]) => [
      name,
      isTensor(value) ? { ...value, buffer: realOf(value.buffer) } : value,
    ]),
  );
}

function referenceOf(name: string, args: Args, memory: Memory): ArrayLike<number> {
  const { q, k, v, ...rest } = args;
  const views = Object.fromEntries(
    Object.entries({ q, k, v }).map(([tensor, view]) => [tensor, hostOf(view as Tensor, memory)]),
  );
  const all = { ...rest, ...views } as never;
  return (name === 'attn' ? attnReference(all) : attnVarlenReference(all)).out.data;
}

function hostOf(tensor: Tensor, memory: Memory): HostTensor {
  const all = new Float32Array(memory.get(tensor.buffer)!.buffer);
  return { shape: tensor.shape, data: Float32Array.from(placesOf(tensor), (at) => all[at]!) };
}
