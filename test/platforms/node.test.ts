import { inject } from 'vitest';
import { suites } from './suites.js';
import { testOnPlatform } from './testOnPlatform.js';

testOnPlatform('node', suites, inject('mesa'));
