import t from 'tap'
import type { Bench } from '../../bench/harness/bench.js'
import { orderOf, rivalName, startEntrants, type Entrant } from '../../bench/harness/entrants.js'
import type { Scenario } from '../../bench/harness/scenario.js'

/** Stand-ins: the scenario only tells them apart. */
const OURS = {} as Bench
const THEIRS = {} as Bench

/** A scenario whose contenders note who starts on which bench. */
function createScenario (): { scenario: Scenario, started: string[] } {
  const started: string[] = []
  const scenario: Scenario = {
    name: 'any',
    title: '',
    description: '',
    metrics: {},
    goals: [],
    absent: {},
    prepare: async (bench) => ['ours', 'limit', 'peer'].map((name) => ({
      name,
      what: name,
      ...name === 'ours' && { library: true },
      start () {
        started.push(`${name} on ${bench === OURS ? 'ours' : 'theirs'}`)
        return async () => ({})
      }
    }))
  }
  return { scenario, started }
}

const rival = { library: { name: 'd3926e1', plugin: '', command: '' }, bench: THEIRS, alone: false }
const names = (entrants: Entrant[]): string[] => entrants.map(({ name }) => name)

t.test('by itself, each contender is a group', async (t) => {
  const { scenario, started } = createScenario()
  t.strictSame((await startEntrants(scenario, OURS, null)).map(names), [['ours'], ['limit'], ['peer']])
  t.strictSame(started, ['ours on ours', 'limit on ours', 'peer on ours'])
})

t.test('an older revision is paired with ours, on its own bench', async (t) => {
  const { scenario, started } = createScenario()
  t.strictSame((await startEntrants(scenario, OURS, rival)).map(names), [['ours', 'd3926e1'], ['limit'], ['peer']])
  t.strictSame(started, ['ours on ours', 'ours on theirs', 'limit on ours', 'peer on ours'])
})

t.test('who takes no part is not started', async (t) => {
  const { scenario, started } = createScenario()
  t.strictSame((await startEntrants(scenario, OURS, { ...rival, alone: true })).map(names), [['ours', 'd3926e1']])
  t.strictSame(started, ['ours on ours', 'ours on theirs'])
})

t.test('a pair is not parted, and who is first in it alternates', async (t) => {
  const groups = await startEntrants(createScenario().scenario, OURS, rival)
  t.strictSame([0, 1, 2, 3].map((round) => names(orderOf(groups, round)).join()), [
    'ours,d3926e1,limit,peer',
    'limit,peer,d3926e1,ours',
    'peer,ours,d3926e1,limit',
    'd3926e1,ours,limit,peer'
  ])
})

t.test('the revision has the name of what it is compared with', async (t) => {
  t.equal(rivalName('ours', 'd3926e1'), 'd3926e1')
  t.equal(rivalName('ours, at once', 'd3926e1'), 'd3926e1, at once')
  t.equal(rivalName('1,000 rows', 'd3926e1'), '1,000 rows, d3926e1')
})
