import { inject } from 'vitest';
import { testOnPlatform } from '../platforms/testOnPlatform.js';
import { conformanceCases } from './cases.js';

// In a file of its own, which has a process of its own beside the other pairs.
testOnPlatform(
  'node',
  {
    'kvCache-pairs': conformanceCases('kvCache', 'pairs'),
    'merge-pairs': conformanceCases('merge', 'pairs'),
    // Their pairs take minutes: `npm run test:platforms -- --suite weights-pairs,cacheWeights-pairs`.
    'weights-values': conformanceCases('weights', 'values'),
    'cacheWeights-values': conformanceCases('cacheWeights', 'values'),
  },
  inject('mesa'),
);
