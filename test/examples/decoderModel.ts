import * as ort from 'onnxruntime-web/webgpu';
import { requestDevice, rotaryTables } from 'pageflash';
import { createDecoder, type Decoder } from '../../examples/onnxruntime/decoder.js';
import { decoderParts, MODEL, wholeModel, type Weights } from '../../examples/onnxruntime/model.js';
import { Random } from '../../tools/random.js';

const { headDim, nPositions } = MODEL;

const random = new Random(15);
const drawn = new Map<string, Float32Array>();

/** The same numbers for a name each time. */
const weights: Weights = (name, dims) => {
  const size = dims.reduce((product, dim) => product * dim, 1);
  const scale = name === 'embedding' ? 1 : 1 / Math.sqrt(dims[0]!);
  const numbers =
    drawn.get(name) ??
    (dims.length === 1
      ? new Float32Array(size).fill(1)
      : Float32Array.from(random.normals(size), (x) => x * scale));
  drawn.set(name, numbers);
  return numbers;
};

export interface TestedDecoder {
  readonly device: GPUDevice;
  readonly decoder: Decoder;
  /** Errors of the device that no error scope caught. */
  readonly errors: readonly string[];
}

/** A decoder of random weights on a device of its own. */
export async function openDecoder(nChats: number): Promise<TestedDecoder> {
  ort.env.logLevel = 'error';
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: new URL('onnxruntime/', location.href).href });
  const device = await requestDevice();
  const errors: string[] = [];
  device.addEventListener('uncapturederror', ({ error }) => errors.push(error.message));
  const parts = decoderParts(weights);
  const decoder = await createDecoder({ device, parts, shape: MODEL, nChats, maxTokens: 16 });
  return { device, decoder, errors };
}

let whole: Promise<ort.InferenceSession> | undefined;

/** [tokens · vocab]: the logits by the model in one piece, on the CPU and without a cache. */
export async function wholeLogits(tokens: readonly number[]): Promise<ArrayLike<number>> {
  const { rotaryCos: cos, rotarySin: sin } = rotaryTables({ headDim, maxPositions: nPositions });
  whole ??= ort.InferenceSession.create(wholeModel(weights, { cos, sin }), { executionProviders: ['wasm'] });
  const int32 = (values: readonly number[], dims: readonly number[]) =>
    new ort.Tensor('int32', Int32Array.from(values), dims);
  const n = tokens.length;
  const session = await whole;
  const { logits } = await session.run({
    ids: int32(tokens, [1, n]),
    seqlens_k: int32([n - 1], [1]),
    total_sequence_length: int32([n], [1]),
  });
  return logits!.data as Float32Array;
}
