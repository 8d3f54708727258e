import type { AttnVarlenArgs, AttnWithKvCacheArgs } from '../../src/index.js';
import { fakeTensor } from '../runtime/fakeDevice.js';

/** Arguments that attnVarlen accepts, for tests to break: sequences of 3 and 5 queries, and of 5 and 7 keys. */
export function acceptedVarlen(): AttnVarlenArgs {
  return {
    q: fakeTensor('f16', [8, 4, 64]),
    k: fakeTensor('f16', [12, 2, 64]),
    v: fakeTensor('f16', [12, 2, 64]),
    cuSeqlensQ: [0, 3, 8],
    cuSeqlensK: [0, 5, 12],
  };
}

/** Arguments that attnWithKvCache accepts: two sequences with two queries each, which have room for 8 keys. */
export function acceptedKvCache(): AttnWithKvCacheArgs {
  return {
    q: fakeTensor('f16', [2, 2, 4, 64]),
    kCache: fakeTensor('f16', [2, 8, 2, 64]),
    vCache: fakeTensor('f16', [2, 8, 2, 64]),
    cacheSeqlens: [5, 3],
  };
}
