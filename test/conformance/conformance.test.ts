import { everyPair } from './index.js';
import { testOnPlatform } from '../platforms/testOnPlatform.js';

// In a file of its own, which has a browser of its own: two cores are done sooner.
testOnPlatform('chrome', everyPair());
