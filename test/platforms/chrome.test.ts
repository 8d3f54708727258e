import { suites } from './suites.js';
import { testInChrome } from './testInChrome.js';

testInChrome(suites);
