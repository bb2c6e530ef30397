import t from 'tap'
import { createTestDatabase } from '../helper/database.js'
import { DEFAULTS, freezeOf, recordUnderEachFreeze, recordUnderFreeze, standbyOf } from '../helper/freezing.js'
import { cannotFreezeAll, ownPostgres } from '../helper/servers.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'

t.jobs = 8 // most of the time they wait

t.test('Postgres is frozen', { skip: cannotFreezeAll, buffered: true }, async (t) => {
  const server = await ownPostgres(t)
  await recordUnderEachFreeze(t, server, freezeOf(server), DEFAULTS)
})

t.test('a synchronous standby is away', { buffered: true }, async (t) => {
  const server = await ownPostgres(t)
  await recordUnderEachFreeze(t, server, standbyOf(server), DEFAULTS)
})

for (const direction of ['toServer', 'toClient'] as const) {
  for (const length of ['long', 'endless'] as const) {
    t.test(`no byte passes ${direction === 'toServer' ? 'to' : 'from'} Postgres (${length})`, { buffered: true }, async (t) => {
      const own = await createTestDatabase(t)
      const proxy = await startTcpProxy(t, own)
      const freeze = {
        begin () { proxy.set(direction, 'stall') },
        end () { proxy.set(direction, 'flow') }
      }
      await recordUnderFreeze(t, freeze, length, { app: proxy.url, own }, DEFAULTS)
    })
  }
}
