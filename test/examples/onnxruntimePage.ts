import * as ort from 'onnxruntime-web/webgpu';
import { requestDevice, rotaryTables } from 'pageflash';
import { createDecoder } from '../../examples/onnxruntime/decoder.js';
import { decoderParts, MODEL, wholeModel, type Weights } from '../../examples/onnxruntime/model.js';
import { countReads } from '../../tools/countReads.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual } from '../platforms/gpuCase.js';

const { vocab, headDim, nPositions } = MODEL;

/** Two prompts, a token each, and what one says in reply. */
const STEPS = [
  [
    [1, 2, 3],
    [4, 5, 6, 7, 8, 9, 10, 11, 12],
  ],
  [[13], [14]],
  [[15, 16, 17, 18, 19, 20, 21], [22]],
];

const random = new Random(15);
const drawn = new Map<string, Float32Array>();

/** The same numbers for a name each time. */
const weights: Weights = (name, dims) => {
  const size = dims.reduce((product, dim) => product * dim, 1);
  const scale = name === 'embedding' ? 1 : 1 / Math.sqrt(dims[0]!);
  const make = () =>
    dims.length === 1 ? new Float32Array(size).fill(1) : random.normals(size).map((x) => x * scale);
  const numbers = drawn.get(name) ?? Float32Array.from(make());
  drawn.set(name, numbers);
  return numbers;
};

globalThis.checkExample = async () => {
  ort.env.logLevel = 'error';
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: new URL('onnxruntime/', location.href).href });
  const device = await requestDevice();
  const errors: string[] = [];
  device.addEventListener('uncapturederror', ({ error }) => errors.push(error.message));
  const decoder = await createDecoder({
    device,
    parts: decoderParts(weights),
    shape: MODEL,
    nChats: 2,
    maxTokens: 16,
  });

  const known: number[][] = [[], []];
  for (const tokens of STEPS) {
    tokens.forEach((ofChat, b) => known[b]!.push(...ofChat));
    const n = tokens.flat().length;
    let logits: ort.Tensor | undefined;
    const reads = await countReads(device, async () => {
      logits = await decoder.step(tokens);
    });
    assertEqual(reads.buffers, 0, `buffers mapped in a step of ${n}`);
    assertEqual(reads.bytes, 0, `bytes read back in a step of ${n}`);

    let actual = new Float32Array();
    const atTheEnd = await countReads(device, async () => {
      actual = Float32Array.from(await logits!.getData());
      logits!.dispose();
    });
    assert(atTheEnd.buffers > 0 && atTheEnd.bytes >= 4 * n * vocab, 'the count sees what is read at the end');
    const expected: number[] = [];
    for (const [b, all] of known.entries())
      expected.push(...(await wholeLogits(all)).slice(-tokens[b]!.length * vocab));
    assertEqual(actual.length, expected.length, 'logits');
    const error = Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!)));
    assert(error < 1e-4, `the step of ${n} is off by ${error}`);
  }
  await decoder.destroy();
  assertEqual(errors.join('\n'), '', 'errors of the device');
};

let whole: Promise<ort.InferenceSession> | undefined;

/** [tokens · vocab] by the model in one piece, on the CPU and without a cache. */
async function wholeLogits(tokens: readonly number[]): Promise<Float32Array> {
  const { rotaryCos: cos, rotarySin: sin } = rotaryTables({ headDim, maxPositions: nPositions });
  whole ??= ort.InferenceSession.create(wholeModel(weights, { cos, sin }), { executionProviders: ['wasm'] });
  const int32 = (values: readonly number[], dims: readonly number[]) =>
    new ort.Tensor('int32', Int32Array.from(values), dims);
  const n = tokens.length;
  const { logits } = await (
    await whole
  ).run({
    ids: int32(tokens, [1, n]),
    seqlens_k: int32([n - 1], [1]),
    total_sequence_length: int32([n], [1]),
  });
  return logits!.data;
}
