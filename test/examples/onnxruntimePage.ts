import type * as ort from 'onnxruntime-web/webgpu';
import { MODEL } from '../../examples/onnxruntime/model.js';
import { countReads } from '../../tools/countReads.js';
import { assert, assertEqual } from '../platforms/gpuCase.js';
import { openDecoder, wholeLogits } from './decoderModel.js';

const { vocab } = MODEL;

/** Two prompts, a token each, and a reply to one. */
const STEPS = [
  [
    [1, 2, 3],
    [4, 5, 6, 7, 8, 9, 10, 11, 12],
  ],
  [[13], [14]],
  [[15, 16, 17, 18, 19, 20, 21], [22]],
];

globalThis.checkExample = async () => {
  const { device, decoder, errors } = await openDecoder(2);
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
      expected.push(...Array.from(await wholeLogits(all)).slice(-tokens[b]!.length * vocab));
    assertEqual(actual.length, expected.length, 'logits');
    const error = Math.max(...expected.map((value, i) => Math.abs(value - actual[i]!)));
    assert(error < 1e-4, `the step of ${n} is off by ${error}`);
  }
  await decoder.destroy();
  assertEqual(errors.join('\n'), '', 'errors of the device');
};
