import { describe, expect, test } from 'vitest';
import { PageflashError } from '../../src/core/errors.js';
import { PageManager } from '../../src/paging/pageManager.js';
import type { PageManagerOptions } from '../../src/paging/pageStore.js';
import { addComputed, managerOf, tokensOf } from './pagingFixtures.js';

describe('wrong arguments', () => {
  const chatOf = (manager: PageManager) => addComputed(manager, tokensOf(5));

  test.each<{ why: string; call: (manager: PageManager) => unknown; message: string }>([
    {
      why: 'a double release',
      call: (manager) => [0, 1].map(() => manager.release(0)),
      message: 'PageManager.release: sequence 0 was released already. Release it once, and use it no more.',
    },
    {
      why: 'an unknown sequence',
      call: (manager) => manager.reserve(99, 1),
      message: 'PageManager.reserve: there is no sequence 99. Pass the id of one that was started.',
    },
    {
      why: 'a negative count',
      call: (manager) => manager.reserve(chatOf(manager), -1),
      message: 'PageManager.reserve: nTokens must be a whole number ≥ 0, not -1.',
    },
    {
      why: 'a token that is not an integer',
      call: (manager) => manager.append(chatOf(manager), [1, 0.5]),
      message: 'PageManager.append: tokens[1] must be a whole number of 32 bits, not 0.5.',
    },
    {
      why: 'a salt that is not an i32',
      call: (manager) => manager.add([1], { salt: 2 ** 40 }),
      message: 'PageManager.add: salt must be a whole number of 32 bits, not 1099511627776.',
    },
    {
      why: 'more rejected than computed',
      call: (manager) => manager.commit(chatOf(manager), 1),
      message: 'PageManager.commit: nRejected must be a whole number from 0 to 0, not 1.',
    },
    {
      why: 'a double unpin',
      call: (manager) => manager.unpin(7),
      message: 'PageManager.unpin: there is no pin 7. Unpin once what pin returned.',
    },
    {
      why: 'what is not swapped out',
      call: (manager) => manager.swapIn(chatOf(manager)),
      message: 'PageManager.swapIn: sequence 1 is not in host memory. Swap it out first.',
    },
    {
      why: 'what is swapped out',
      call: (manager) => {
        const chat = chatOf(manager);
        manager.swapOut(chat);
        manager.reserve(chat, 1);
      },
      message: 'PageManager.reserve: sequence 1 is in host memory. Swap it in first.',
    },
    {
      why: 'what is in flight',
      call: (manager) => {
        const chat = manager.add(tokensOf(5));
        manager.reserve(chat, 5);
        manager.fork(chat);
      },
      message: 'PageManager.fork: sequence 1 has 5 tokens in flight. Commit them first.',
    },
    {
      why: 'rejected tokens with others after them',
      call: (manager) => {
        const chat = manager.add(tokensOf(5));
        manager.reserve(chat, 3);
        manager.commit(chat, 1);
      },
      message:
        'PageManager.commit: sequence 1 has 2 tokens after those in flight, so none of these can be rejected. Truncate it instead.',
    },
    {
      why: 'tokens that are text',
      call: (manager) => manager.add('12' as never),
      message: 'PageManager.add: tokens must be an array of numbers, not "12".',
    },
    {
      why: 'tokens in lists',
      call: (manager) => manager.add([[1]] as never),
      message: 'PageManager.add: tokens[0] must be a whole number of 32 bits, not [1].',
    },
    {
      why: 'a salt in place of options',
      call: (manager) => manager.add([1], 7 as never),
      message: 'PageManager.add: the arguments must be one object, not 7.',
    },
    {
      why: 'a misspelt option',
      call: (manager) => manager.add([1], { private: true } as never),
      message: 'PageManager.add: there is no argument private. There are salt, isPrivate.',
    },
    {
      why: 'a flag that is not a boolean',
      call: (manager) => manager.add([1], { isPrivate: 1 as never }),
      message: 'PageManager.add: isPrivate must be true or false, not 1.',
    },
    {
      why: 'a misspelt option of reset',
      call: (manager) => manager.reset({ keepswapped: true } as never),
      message: 'PageManager.reset: there is no argument keepswapped. There are keepSwapped.',
    },
    {
      why: 'a count that is not a number',
      call: (manager) => manager.fork(0, null as never),
      message: 'PageManager.fork: nTokens must be a whole number from 0 to 1, not null.',
    },
    {
      why: 'a sequence that is a name',
      call: (manager) => manager.batch(['chat'] as never),
      message: 'PageManager.batch: there is no sequence "chat". Pass the id of one that was started.',
    },
    {
      why: 'one sequence in place of a list',
      call: (manager) => manager.batch(0 as never),
      message: 'PageManager.batch: sequences must be an array of numbers, not 0.',
    },
    {
      why: 'a pool that grows beyond its size',
      call: (manager) => manager.resize(17),
      message: 'PageManager.resize: nPages must be a whole number from 1 to 16, not 17.',
    },
  ])('$why', ({ call, message }) => {
    const manager = managerOf({ nHostPages: 4 });
    manager.add([1]);
    expect(() => call(manager)).toThrow(new PageflashError('argument', message));
  });

  test.each<{ why: string; options: unknown; message: string }>([
    { why: 'no options', options: undefined, message: 'the arguments must be one object, not undefined.' },
    {
      why: 'a misspelt option',
      options: { nPages: 4, pageSize: 4, widow: 3 },
      message:
        'there is no argument widow. There are nPages, pageSize, nHostPages, window, firstKeys, isCaching, onEvent.',
    },
    {
      why: 'a flag that is not a boolean',
      options: { nPages: 4, pageSize: 4, isCaching: 'no' },
      message: 'isCaching must be true or false, not "no".',
    },
    {
      why: 'a listener that is not a function',
      options: { nPages: 4, pageSize: 4, onEvent: {} },
      message: 'onEvent must be a function, not a plain object.',
    },
    {
      why: 'a number that is text',
      options: { nPages: '4', pageSize: 4 },
      message: 'nPages must be a whole number ≥ 1, not "4".',
    },
  ])('a manager with $why', ({ options, message }) => {
    expect(() => new PageManager(options as PageManagerOptions)).toThrow(
      new PageflashError('argument', `PageManager: ${message}`),
    );
  });
});
