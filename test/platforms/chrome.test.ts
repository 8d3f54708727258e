import { suites } from './suites.js';
import { testOnPlatform } from './testOnPlatform.js';

testOnPlatform('chrome', suites);
