import { conformanceCases } from '../conformance/cases.js';
import { suites } from './suites.js';
import { testOnPlatform } from './testOnPlatform.js';

// `varlen-values` is left to `npm run test:platforms`: it would take a minute, and attnVarlen has most of its values.
testOnPlatform('chrome', {
  ...suites,
  'kvCache-values': conformanceCases('kvCache', 'values'),
  'merge-values': conformanceCases('merge', 'values'),
});
