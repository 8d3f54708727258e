import { everyValue } from '../conformance/index.js';
import { suites } from './suites.js';
import { testOnPlatform } from './testOnPlatform.js';

testOnPlatform('chrome', { ...suites, ...everyValue() });
