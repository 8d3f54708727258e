import type { KnownAnswer, KnownOutput } from '../core/knownAnswer.js';
import type { Dispatch } from '../core/dispatch.js';
import { bytesPerElement, decode, type DType, type FloatDType } from '../core/dtype.js';
import { elementCount, type Tensor } from '../core/tensor.js';
import { nextTurn, type Variant } from './pipelines.js';
import type { BoundLayer, Recording } from './recording.js';
import { writeBytes, type Transfer } from './transfers.js';

/** As much of a runtime as it takes to run work and to read what came out. */
interface Workplace {
  readonly device: GPUDevice;
  compile(caller: string, variants: readonly Variant[], options: { signal: AbortSignal }): Promise<void>;
  createTensor(shape: readonly number[], dtype: DType, label: string): Tensor;
  createRecording(): Recording;
  submitLayer(caller: string, recording: Recording, layer: BoundLayer): void;
  inNameOf<T>(caller: string, work: () => T): T;
  read(caller: string, transfers: readonly Transfer[]): Promise<void>;
}

/** What outputs hold before they are written: NaN in every type, then numbers that are far off. */
const LEFTOVERS = [0xff, 0x5a];

/**
 * Runs work and compares what comes out with what is known. Everything runs twice, with other leftovers in the outputs and
 * in scratch memory, and must give the same bits.
 *
 * @returns what the first wrong number is; undefined if all are right
 * @throws what the runtime throws; the reason of `signal`, once it is aborted
 */
export async function firstWrongAnswer(
  runtime: Workplace,
  caller: string,
  answers: Iterable<KnownAnswer>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const all: KnownAnswer[] = [];
  for (const answer of answers) {
    all.push(answer);
    await nextTurn();
    signal.throwIfAborted();
  }
  if (all.length === 0) return 'no kernel would use them';
  await runtime.compile(
    caller,
    all.flatMap(({ dispatches }) => dispatches),
    { signal },
  );
  const tensors = new TestTensors(runtime, caller);
  // One for all, whose scratch memory holds what the work before has left there.
  const recording = runtime.createRecording();
  try {
    const rounds: Results[] = [];
    for (const leftover of LEFTOVERS) {
      const results = all.map((answer) => {
        const outputs = answer.outputs.map(({ tensor }) => tensors.filled(tensor, leftover));
        const instead = new Map(answer.outputs.map(({ tensor }, i) => [tensor, outputs[i]!]));
        for (const [tensor, contents] of answer.inputs) instead.set(tensor, tensors.input(tensor, contents));
        submit(runtime, caller, recording, answer.dispatches, instead);
        return outputs;
      });
      rounds.push(results);
    }
    const [first, second] = await tensors.read(rounds);
    return firstDifference(all, first!, second!);
  } finally {
    recording.destroy();
    tensors.destroy();
  }
}

/** The tensors of the outputs of each answer. */
type Results = readonly (readonly Tensor[])[];

function submit(
  runtime: Workplace,
  caller: string,
  recording: Recording,
  dispatches: readonly Dispatch[],
  instead: ReadonlyMap<Tensor, Tensor>,
): void {
  const layer = runtime.inNameOf(caller, () => {
    recording.update(dispatches);
    return recording.bind(instead);
  });
  runtime.submitLayer(caller, recording, layer);
}

/** Tensors that stand in for placeholders. */
class TestTensors {
  readonly #runtime: Workplace;
  readonly #caller: string;
  readonly #inputs = new Map<Tensor, Tensor>();
  readonly #all: Tensor[] = [];

  constructor(runtime: Workplace, caller: string) {
    this.#runtime = runtime;
    this.#caller = caller;
  }

  /** One that holds what the placeholder is said to hold. */
  input(placeholder: Tensor, contents: ArrayBufferView): Tensor {
    let tensor = this.#inputs.get(placeholder);
    if (tensor) return tensor;
    this.#inputs.set(placeholder, (tensor = this.#make(placeholder)));
    const bytes = new Uint8Array(tensor.buffer.size);
    bytes.set(new Uint8Array(contents.buffer, contents.byteOffset, contents.byteLength));
    writeBytes(this.#runtime.device, [{ buffer: tensor.buffer, offset: 0, bytes }]);
    return tensor;
  }

  filled(placeholder: Tensor, byte: number): Tensor {
    const tensor = this.#make(placeholder);
    const bytes = new Uint8Array(tensor.buffer.size).fill(byte);
    writeBytes(this.#runtime.device, [{ buffer: tensor.buffer, offset: 0, bytes }]);
    return tensor;
  }

  /** The bytes of each output of each round, read at once. */
  async read(rounds: readonly Results[]): Promise<Uint8Array[][][]> {
    const transfers: Transfer[] = [];
    const bytes = rounds.map((results) =>
      results.map((outputs) =>
        outputs.map(({ buffer, dtype, shape }) => {
          const whole = new Uint8Array(buffer.size);
          transfers.push({ buffer, offset: 0, bytes: whole });
          return whole.subarray(0, elementCount(shape) * bytesPerElement(dtype));
        }),
      ),
    );
    await this.#runtime.read(this.#caller, transfers);
    return bytes;
  }

  destroy(): void {
    for (const { buffer } of this.#all) buffer.destroy();
  }

  #make({ shape, dtype }: Tensor): Tensor {
    const tensor = this.#runtime.createTensor(shape, dtype, 'a self-test');
    this.#all.push(tensor);
    return tensor;
  }
}

function firstDifference(
  answers: readonly KnownAnswer[],
  first: readonly (readonly Uint8Array[])[],
  second: readonly (readonly Uint8Array[])[],
): string | undefined {
  for (const [i, { name, outputs }] of answers.entries()) {
    for (const [j, output] of outputs.entries()) {
      const [once, again] = [first[i]![j]!, second[i]![j]!];
      const wrong = wrongNumber(output, once) ?? wrongNumber(output, again);
      if (wrong) return `${name}: ${wrong}`;
      if (once.some((byte, at) => byte !== again[at]))
        return `${name}: ${output.name} had other bits when it ran again`;
    }
  }
  return undefined;
}

function wrongNumber(
  { name, tensor, expected, tolerance }: KnownOutput,
  bytes: Uint8Array,
): string | undefined {
  const numbers = decode(tensor.dtype as FloatDType, storedNumbers(tensor.dtype, bytes));
  // This way round, a NaN is wrong.
  const at = numbers.findIndex((x, i) => !(Math.abs(x - expected[i]!) <= tolerance));
  if (at < 0) return undefined;
  return `${name}[${at}] was ${numbers[at]!.toPrecision(4)}, not ${expected[at]!.toPrecision(4)}`;
}

function storedNumbers(dtype: DType, { buffer, byteOffset, byteLength }: Uint8Array) {
  return dtype === 'f32'
    ? new Float32Array(buffer, byteOffset, byteLength / 4)
    : new Uint16Array(buffer, byteOffset, byteLength / 2);
}
