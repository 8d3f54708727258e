// npm run example -- tensorflow: two chats, their prompts and then a token each, through a layer of attention.
import * as tf from '@tensorflow/tfjs-core';
import { requestDevice } from 'pageflash';
import { createAttentionLayer, SHAPE, useDevice } from './attentionLayer.js';

const { hidden, nHeads, nKvHeads, headDim } = SHAPE;
const waves = (shape: [number, number], scale: number) => {
  const numbers = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => scale * Math.sin(i * i));
  return tf.tensor2d(numbers, shape);
};

const device = await requestDevice();
await useDevice(device);
const layer = await createAttentionLayer({
  qkv: waves([(nHeads + 2 * nKvHeads) * headDim, hidden], 0.2),
  out: waves([hidden, nHeads * headDim], 0.2),
});
for (const nNew of [
  [3, 5],
  [1, 1],
]) {
  const x = waves([nNew[0]! + nNew[1]!, hidden], 1);
  const y = layer.step(x, nNew);
  const numbers = await y.data();
  console.log(`y [${y.shape.join(', ')}]: … ${Array.from(numbers.slice(-4), (n) => n.toFixed(4)).join(' ')}`);
  x.dispose();
  y.dispose();
}
layer.destroy();
device.destroy();
