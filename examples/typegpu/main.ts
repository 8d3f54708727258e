// npm run example -- typegpu: two chats, their prompts and then a token each, through a layer of attention.
import { requestDevice } from 'pageflash';
import { d, tgpu } from 'typegpu';
import { createAttentionLayer, MAX_TOKENS, SHAPE } from './attentionLayer.js';

const { hidden, nHeads, nKvHeads, headDim } = SHAPE;
const waves = (n: number, scale: number) => Array.from({ length: n }, (_, i) => scale * Math.sin(i * i));

// A device with all that makes pageflash faster. That of `tgpu.init()` will do, too.
const device = await requestDevice();
const root = tgpu.initFromDevice({ device });
const matrix = (n: number) => root.createBuffer(d.arrayOf(d.f32, n), waves(n, 0.2)).$usage('storage');
const layer = await createAttentionLayer(root, {
  qkv: matrix((nHeads + 2 * nKvHeads) * headDim * hidden),
  out: matrix(hidden * nHeads * headDim),
});
for (const nNew of [
  [3, 5],
  [1, 1],
]) {
  const nTokens = nNew[0]! + nNew[1]!;
  layer.x.write(waves(MAX_TOKENS * hidden, 1));
  layer.step(nNew);
  const y = (await layer.y.read()).slice(0, nTokens * hidden);
  console.log(
    `y [${nTokens}, ${hidden}]: … ${y
      .slice(-4)
      .map((x) => x.toFixed(4))
      .join(' ')}`,
  );
}
layer.destroy();
root.destroy();
device.destroy();
