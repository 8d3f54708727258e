import { inject } from 'vitest';
import { testOnPlatform } from '../platforms/testOnPlatform.js';
import { conformanceCases } from './cases.js';

testOnPlatform('node', { 'varlen-pairs': conformanceCases('varlen', 'pairs') }, inject('mesa'));
