// npm run example -- onnxruntime: two chats in one batch, each answered with the most likely tokens.
import * as ort from 'onnxruntime-web/webgpu';
import { requestDevice } from 'pageflash';
import { createDecoder } from './decoder.js';
import { decoderParts, MODEL, waves } from './model.js';

// Where this page is given its files; a bundler finds them by itself.
ort.env.wasm.wasmPaths = new URL('onnxruntime/', location.href).href;

const { vocab } = MODEL;
const device = await requestDevice();
const parts = decoderParts(waves);
const decoder = await createDecoder({ device, parts, shape: MODEL, nChats: 2, maxTokens: 16 });

const chats = [
  [1, 2, 3],
  [4, 5, 6, 7, 8],
];
let tokens = chats.map((prompt) => [...prompt]);
for (let i = 0; i < 8; i++) {
  const logits = await decoder.step(tokens);
  const numbers = await logits.getData();
  logits.dispose();
  let end = 0;
  tokens = tokens.map(({ length }, b) => {
    end += length;
    const last = numbers.slice((end - 1) * vocab, end * vocab);
    const next = last.indexOf(Math.max(...last));
    chats[b]!.push(next);
    return [next];
  });
}
for (const chat of chats) console.log(`tokens ${chat.join(' ')}`);
await decoder.destroy();
device.destroy();
