import * as tf from '@tensorflow/tfjs-core';
import { requestDevice } from 'pageflash';
import { createAttentionLayer, SHAPE, useDevice } from '../../examples/tensorflow/attentionLayer.js';
import { assertEqual } from '../platforms/gpuCase.js';
import { checkSteps, weights } from './layerSteps.js';

const { hidden, nHeads, headDim } = SHAPE;

globalThis.checkExample = async () => {
  const device = await requestDevice();
  const errors: string[] = [];
  device.addEventListener('uncapturederror', ({ error }) => errors.push(error.message));
  await useDevice(device);
  const layer = await createAttentionLayer({
    qkv: tf.tensor2d(weights.qkv, [weights.qkv.length / hidden, hidden]),
    out: tf.tensor2d(weights.out, [hidden, nHeads * headDim]),
  });
  const nTensors = tf.memory().numTensors;
  let x: tf.Tensor2D | undefined;
  let y: tf.Tensor2D | undefined;
  await checkSteps({
    device,
    write(rows) {
      x = tf.tensor2d(rows, [rows.length / hidden, hidden]);
    },
    step(nNew) {
      y = layer.step(x!, nNew);
    },
    async readY() {
      const numbers = await y!.data();
      x!.dispose();
      y!.dispose();
      return numbers;
    },
  });
  assertEqual(tf.memory().numTensors, nTensors, 'tensors of TensorFlow.js after the steps');
  layer.destroy();
  assertEqual(errors.join('\n'), '', 'errors of the device');
};
