import { inject } from 'vitest';
import { testOnPlatform } from '../platforms/testOnPlatform.js';
import { conformanceCases } from './cases.js';

// `npm run test:platforms -- --suite varlenMatrix-pairs,kvCacheMatrix-pairs` has every pair.
testOnPlatform('node', { 'varlenMatrix-values': conformanceCases('varlenMatrix', 'values') }, inject('mesa'));
