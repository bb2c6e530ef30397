import t from 'tap'
import { freezeOf, recordUnderEachFreeze } from '../helper/freezing.js'
import { cannotFreezeAll, ownPostgres } from '../helper/servers.js'

t.test('Postgres is frozen with events in flight', { skip: cannotFreezeAll }, async (t) => {
  const server = await ownPostgres(t)
  await recordUnderEachFreeze(t, server, freezeOf(server))
})
