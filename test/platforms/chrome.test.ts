import { conformanceCases } from '../conformance/cases.js';
import { suites } from './suites.js';
import { testOnPlatform } from './testOnPlatform.js';

// Emulated matrices compile for minutes there.
const {
  attnMatrix: _,
  goldenMatrix: _goldens,
  masksOnMatrices: _masks,
  quantisedOnMatrices: _caches,
  ...others
} = suites;

// `varlen-values` is left to `npm run test:platforms`: it would take a minute, and attnVarlen has most of its values.
testOnPlatform('chrome', {
  ...others,
  'kvCache-values': conformanceCases('kvCache', 'values'),
  'merge-values': conformanceCases('merge', 'values'),
});
