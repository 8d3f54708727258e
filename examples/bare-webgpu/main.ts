// npm run example -- bare-webgpu: two chats, their prompts and then a token each, through a layer of attention.
import { createRuntime, read, requestDevice } from 'pageflash';
import { createAttentionLayer, SHAPE } from './attentionLayer.js';

const { hidden, nHeads, nKvHeads, headDim } = SHAPE;
const waves = (n: number, scale: number) =>
  Float32Array.from({ length: n }, (_, i) => scale * Math.sin(i * i));

const device = await requestDevice(); // any will do, your engine's own above all
const layer = await createAttentionLayer(device, {
  qkv: waves((nHeads + 2 * nKvHeads) * headDim * hidden, 0.2),
  out: waves(hidden * nHeads * headDim, 0.2),
});
const runtime = createRuntime(device);
for (const nNew of [
  [3, 5],
  [1, 1],
]) {
  const nTokens = nNew[0]! + nNew[1]!;
  device.queue.writeBuffer(layer.x, 0, waves(nTokens * hidden, 1));
  layer.step(nNew);
  const y = await read(runtime, { buffer: layer.y, dtype: 'f32', shape: [nTokens, hidden] });
  console.log(`y [${nTokens}, ${hidden}]: … ${Array.from(y.slice(-4), (n) => n.toFixed(4)).join(' ')}`);
}
layer.destroy();
runtime.destroy();
device.destroy();
