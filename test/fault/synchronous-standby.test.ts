import t from 'tap'
import { recordUnderEachFreeze, standbyOf } from '../helper/freezing.js'
import { ownPostgres } from '../helper/servers.js'

t.test('a synchronous standby goes away with events in flight: their rows are there, and nobody is told', async (t) => {
  const server = await ownPostgres(t)
  await recordUnderEachFreeze(t, server, standbyOf(server))
})
