import t from 'tap'
import { comparison, formatRatios, ratiosOf } from '../../bench/harness/comparison.js'
import type { Result } from '../../bench/harness/results.js'

t.test('a ratio is that of a pair, ours to theirs', async (t) => {
  const ours = [{ rate: 90 }, { rate: 220 }, { rate: 300 }]
  const theirs = [{ rate: 100 }, { rate: 200 }, { rate: 300 }]
  t.strictSame(ratiosOf(ours, theirs, 'rate'), [0.9, 1.1, 1])
})

t.test('zeros are equal, and a pair with a value that is missing does not count', async (t) => {
  t.strictSame(ratiosOf([{ errors: 0 }, { errors: 2 }], [{ errors: 0 }, { errors: 0 }], 'errors'), [1, Infinity])
  t.strictSame(ratiosOf([{ reads: 8 }, {}, { reads: 4 }, { reads: 4 }], [{ reads: 4 }, { reads: 8 }, {}], 'reads'), [2])
})

t.test('ratios are shown by their median and their spread', async (t) => {
  t.equal(formatRatios([1.05, 0.98, 0.92], 'd3926e1'), '0.98 × of d3926e1 (0.92–1.05)')
  t.equal(formatRatios([0.9, 1, 1.02, 1.3], 'd3926e1'), '1.01 × of d3926e1 (0.90–1.30)')
  t.equal(formatRatios([0.5], 'd3926e1'), '0.50 × of d3926e1')
})

/** As a run against d3926e1 leaves it, with the limit or without. */
function resultWith (limit: Array<{ rate: number }> | null): Result {
  const contenders = [
    { name: 'ours', what: 'ours', samples: [{ rate: 90, p50Ms: 2.2 }, { rate: 120, p50Ms: 3 }] },
    { name: 'd3926e1', what: 'the same', samples: [{ rate: 100, p50Ms: 1 }, { rate: 100, p50Ms: 2 }] }
  ]
  return {
    name: 'append',
    title: 'Append',
    description: '',
    absent: {},
    date: '',
    machine: { cpu: '', cores: 2, memoryGiB: 1, system: '', disk: '', versions: {} },
    metrics: {
      rate: { title: 'events', unit: '/s' },
      p50Ms: { title: 'p50', unit: 'ms' },
      none: { title: 'none', unit: '' }
    },
    contenders: limit === null ? contenders : [...contenders, { name: 'limit', what: 'least', samples: limit }],
    goals: [{ text: 'half of the limit', metric: 'rate', to: { contender: 'limit', by: 'ratio' }, atLeast: 0.5 }],
    pairs: [{ ours: 'ours', theirs: 'd3926e1' }]
  }
}

t.test('the report of a comparison has a ratio for each figure that there is', async (t) => {
  const report = comparison(resultWith([{ rate: 100 }, { rate: 100 }]), 'd3926e1')
  t.match(report, '| events | 1.05 × of d3926e1 (0.90–1.20) | 2 | more is better |')
  t.match(report, '| p50 | 1.85 × of d3926e1 (1.50–2.20) | 2 | less is better |')
  t.notMatch(report, '| none | ')
  t.match(report, '| half of the limit | 1.05 × (0.90–1.20) | met |')
})

t.test('a goal whose other side takes no part is left out', async (t) => {
  t.notMatch(comparison(resultWith(null), 'd3926e1'), 'half of the limit')
})

t.test('where ours takes part in more than one way, the figures say in which', async (t) => {
  const { contenders: [ours, theirs], ...result } = resultWith(null)
  const contenders = [
    { name: 'few', what: '', samples: ours?.samples ?? [] },
    { name: 'few, d3926e1', what: '', samples: theirs?.samples ?? [] }
  ]
  const pairs = [{ ours: 'few', theirs: 'few, d3926e1' }]
  t.match(comparison({ ...result, contenders, pairs }, 'd3926e1'), '| few: p50 | 1.85 × of d3926e1')
})
