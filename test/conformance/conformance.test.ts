import { inject } from 'vitest';
import { testOnPlatform } from '../platforms/testOnPlatform.js';
import { everyPair } from './index.js';

// In a file of its own, which has a process of its own beside the other cases.
testOnPlatform('node', everyPair(), inject('mesa'));
