// npm run build && node scripts/runTs.mjs --needs vulkan bench/cli/kvModel.ts: what the model of the repository says over a
// cache of each format, as a table for the guide.
import { readFile } from 'node:fs/promises';
import { createRuntime, requestDevice } from 'pageflash';
import { loadLlama } from '../../examples/mini-llama/weights.js';
import { threeDigits } from '../../tools/format.js';
import { createNodeGpu, pollSparingly } from '../../tools/nodeDevice.js';
import { storageError, type Storage } from '../cases/kvAccuracy.js';
import { agreementOf, ownHeads, type Conversation, type Format } from '../cases/kvModel.js';

const FOLDER = 'demo/model';
const turned = { kvRotation: 'hadamard' } as const;
const FORMATS: readonly (readonly [name: string, format: Format, storage?: Storage])[] = [
  ['f32', { dtype: 'f32' }],
  ['f16', { dtype: 'f16' }, 'f16'],
  ['bf16', { dtype: 'bf16' }, 'bf16'],
  ['i8', { dtype: 'i8' }, 'i8'],
  ['i8, turned', { dtype: 'i8', ...turned }, 'i8, turned'],
  ['e4m3, scale 1', { dtype: 'e4m3' }, 'e4m3, scale 1'],
  ['i4', { dtype: 'i4' }, 'i4'],
  ['i4, turned', { dtype: 'i4', ...turned }, 'i4, turned'],
];

pollSparingly();
const gpu = createNodeGpu();
const device = await requestDevice({ gpu });
const runtime = createRuntime(device);
const llama = await loadLlama(FOLDER);
const { cases } = JSON.parse(await readFile(`${FOLDER}/golden.json`, 'utf8')) as {
  readonly cases: readonly Conversation[];
};
const layers = (
  await Promise.all(cases.map((conversation) => ownHeads(runtime, llama, conversation)))
).flat();

console.log('| cache | error of attention | greedy tokens | perplexity |\n| --- | --- | --- | --- |');
for (const [name, format, storage] of FORMATS) {
  const { nSame, nTokens, perplexity } = await agreementOf(runtime, llama, cases, format);
  const errors = layers.map((heads) =>
    storage ? storageError({ ...heads, causal: true }, storage).relative : 0,
  );
  const error = Math.sqrt(errors.reduce((sum, each) => sum + each ** 2, 0) / errors.length);
  const shown = storage ? `${threeDigits(100 * error)} %` : '';
  console.log(`| ${name} | ${shown} | ${nSame} of ${nTokens} | ${perplexity.toFixed(4)} |`);
}
runtime.destroy();
device.destroy();
