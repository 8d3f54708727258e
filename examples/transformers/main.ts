// npm run example -- transformers: a prompt, and the most likely tokens after it, by the loop of transformers.js.
import { Tensor } from '@huggingface/transformers';
import * as ort from 'onnxruntime-web/webgpu';
import { requestDevice } from 'pageflash';
import { createDecoder } from '../onnxruntime/decoder.js';
import { decoderParts, MODEL, waves } from '../onnxruntime/model.js';
import { causalLM } from './causalLM.js';

// Where this page is given its files; a bundler finds them by itself.
ort.env.wasm.wasmPaths = new URL('onnxruntime/', location.href).href;

const device = await requestDevice();
const parts = decoderParts(waves);
const decoder = await createDecoder({ device, parts, shape: MODEL, nChats: 1, maxTokens: 16 });
const model = causalLM(
  {
    model_type: 'llama',
    vocab_size: MODEL.vocab,
    num_hidden_layers: MODEL.nLayers,
    num_attention_heads: MODEL.nHeads,
    hidden_size: MODEL.hidden,
    eos_token_id: null,
  },
  decoder,
);

// A tokenizer gives both.
const prompt = [1n, 2n, 3n];
const tensor = (numbers: readonly bigint[]) =>
  new Tensor('int64', BigInt64Array.from(numbers), [1, prompt.length]);
const sequences = await model.generate({
  input_ids: tensor(prompt),
  attention_mask: tensor(prompt.map(() => 1n)),
  max_new_tokens: 8,
  do_sample: false,
});
console.log(`tokens ${[...sequences.data].join(' ')}`);
await model.dispose();
device.destroy();
