import type { Random } from '../../tools/random.js';
import { attnCall, kvCacheCall, planCall, varlenCall, weightsCall } from './attentionCalls.js';
import { createBlockMaskCall } from './blockMaskCalls.js';
import { drawTensor, DTYPES, type Maker, type PublicCall } from './callMaker.js';
import {
  modelCall,
  prepareCall,
  rotaryCall,
  runtimeCall,
  sizingCall,
  tuneCall,
  tuningCall,
  variantsCall,
} from './runtimeCalls.js';
import { cacheCall, copyCall, fromCall, mergeCall, readCall, tensorCall } from './tensorCalls.js';

/** A valid call of one of the public functions. */
export function drawCall(random: Random): PublicCall {
  return random.pick(MAKERS)({ random, tensor: drawTensor(random), dtypes: DTYPES, headDims: [32, 8, 5] });
}

/** A valid call that needs few kernels and has a reference. */
export function drawPlainCall(random: Random): PublicCall {
  return random.pick([attnCall, varlenCall])({
    random,
    tensor: drawTensor(random),
    dtypes: ['f32'],
    headDims: [32],
  });
}

/** The attentions more often, since they have most to get wrong. */
const MAKERS: readonly ((maker: Maker) => PublicCall)[] = [
  attnCall,
  attnCall,
  varlenCall,
  varlenCall,
  varlenCall,
  kvCacheCall,
  kvCacheCall,
  kvCacheCall,
  (maker) => planCall(maker, 'planAttnVarlen'),
  (maker) => planCall(maker, 'planAttnWithKvCache'),
  weightsCall,
  weightsCall,
  createBlockMaskCall,
  mergeCall,
  copyCall,
  cacheCall,
  tensorCall,
  fromCall,
  readCall,
  rotaryCall,
  variantsCall,
  modelCall,
  prepareCall,
  runtimeCall,
  sizingCall,
  tuneCall,
  tuningCall,
];
