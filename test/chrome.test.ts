import { suites } from './gpu/index.js';
import { testInChrome } from './support/testInChrome.js';

testInChrome(suites);
