import { everyPair } from './index.js';
import { testInChrome } from '../platforms/testInChrome.js';

// In a file of its own, which has a browser of its own: two cores are done sooner.
testInChrome(everyPair());
