import { describe, expect, test } from 'vitest';
import { PageflashError } from '../../src/core/errors.js';
import { StepPlanner } from '../../src/paging/planner/stepPlanner.js';
import { plannerOf } from './pagingFixtures.js';

describe('wrong arguments', () => {
  test.each<{ why: string; call: (planner: StepPlanner) => unknown; message: string }>([
    {
      why: 'a step before the last is committed',
      call: (planner) => [planner.plan(), planner.plan()],
      message: 'StepPlanner.plan: the last step is not committed. Call commit with its samples.',
    },
    {
      why: 'a commit without a step',
      call: (planner) => planner.commit([]),
      message: 'StepPlanner.commit: no step is planned. Call plan first.',
    },
    {
      why: 'samples that are not as many as asked for',
      call: (planner) => [planner.plan(), planner.commit([1, 2])],
      message:
        'StepPlanner.commit: tokens and nRejected must have a number for each of 1 sampled sequences, not 2 and none.',
    },
    {
      why: 'more rejected than computed',
      call: (planner) => [planner.plan(), planner.commit([1], [4])],
      message: 'StepPlanner.commit: nRejected[0] must be a whole number from 0 to 3, not 4.',
    },
    {
      why: 'a priority that is not a number',
      call: (planner) => planner.add({ tokens: [1], priority: NaN }),
      message: 'StepPlanner.add: priority must be a finite number, not NaN.',
    },
    {
      why: 'what is in flight',
      call: (planner) => [planner.plan(), planner.append(0, [1])],
      message: 'StepPlanner.append: sequence 0 has 3 tokens in flight. Commit them first.',
    },
    {
      why: 'a fork of what is in flight',
      call: (planner) => [planner.plan(), planner.fork(0)],
      message: 'StepPlanner.fork: sequence 0 has 3 tokens in flight. Commit them first.',
    },
    {
      why: 'a fork of more than there is',
      call: (planner) => planner.fork(0, 4),
      message: 'StepPlanner.fork: nTokens must be a whole number from 0 to 3, not 4.',
    },
    {
      why: 'more tokens to keep than there are',
      call: (planner) => planner.truncate(0, 4),
      message: 'StepPlanner.truncate: nTokens must be a whole number from 0 to 3, not 4.',
    },
    {
      why: 'a prompt without tokens',
      call: (planner) => planner.add({ tokens: [] }),
      message:
        'StepPlanner.add: tokens must have at least one token, as an answer is sampled after the last.',
    },
    {
      why: 'tokens in place of options',
      call: (planner) => planner.add([1, 2, 3] as never),
      message: 'StepPlanner.add: the arguments must be one object, not [1, 2, 3].',
    },
    {
      why: 'a misspelt option',
      call: (planner) => planner.add({ tokens: [1], prority: 2 } as never),
      message: 'StepPlanner.add: there is no argument prority. There are tokens, priority, salt, isPrivate.',
    },
    {
      why: 'no tokens',
      call: (planner) => planner.add({} as never),
      message: 'StepPlanner.add: tokens must be an array of numbers, not undefined.',
    },
    {
      why: 'text for tokens',
      call: (planner) => planner.append(0, 'hello' as never),
      message: 'StepPlanner.append: tokens must be an array of numbers, not "hello".',
    },
    {
      why: 'a salt that is not an i32',
      call: (planner) => planner.add({ tokens: [1], salt: 0.5 }),
      message: 'StepPlanner.add: salt must be a whole number of 32 bits, not 0.5.',
    },
    {
      why: 'samples that are not a list',
      call: (planner) => [planner.plan(), planner.commit(7 as never)],
      message: 'StepPlanner.commit: tokens must be an array of numbers, not 7.',
    },
    {
      why: 'a misspelt option of reset',
      call: (planner) => planner.reset({ keepSwaped: true } as never),
      message: 'StepPlanner.reset: there is no argument keepSwaped. There are keepSwapped.',
    },
  ])('$why', ({ call, message }) => {
    const { planner } = plannerOf();
    planner.add({ tokens: [1, 2, 3] });
    expect(() => call(planner)).toThrow(new PageflashError('argument', message));
  });

  test('a planner with invalid options', () => {
    expect(() => plannerOf({ maxTokens: 0 })).toThrow(
      'StepPlanner: maxTokens must be a whole number ≥ 1, not 0.',
    );
    expect(() => plannerOf({ prefer: 'both' as 'decode' })).toThrow(
      `StepPlanner: prefer must be 'decode' or 'prefill', not "both".`,
    );
    expect(() => plannerOf({ watermark: 1 })).toThrow(
      'StepPlanner: watermark must be a share of the pages, at least 0 and below 1, not 1.',
    );
    expect(() => plannerOf({ watermark: '0.5' as never })).toThrow(PageflashError);
    expect(() => plannerOf({ preemption: 'swap' } as never)).toThrow(
      'StepPlanner: there is no argument preemption. There are pages, maxTokens, maxSequences, prefer, preempt, watermark.',
    );
    expect(() => new StepPlanner({} as never)).toThrow(
      'StepPlanner: pages must be a PageManager, not undefined.',
    );
    expect(() => new StepPlanner(undefined as never)).toThrow(
      'StepPlanner: the arguments must be one object, not undefined.',
    );
  });
});
