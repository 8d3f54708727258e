import { conformanceCases } from '../conformance/cases.js';
import { suites } from './suites.js';
import { testOnPlatform } from './testOnPlatform.js';

testOnPlatform('chrome', {
  ...suites,
  'varlen-values': conformanceCases('varlen', 'values'),
  'kvCache-values': conformanceCases('kvCache', 'values'),
  'merge-values': conformanceCases('merge', 'values'),
});
