import t from 'tap'
import { createTestDatabase } from '../helper/database.js'
import { recordUnderFreeze } from '../helper/freezing.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'

t.jobs = 9 // most of the time they wait

for (const length of ['short', 'long', 'endless'] as const) {
  for (const direction of ['toServer', 'toClient'] as const) {
    t.test(`no byte passes ${direction === 'toServer' ? 'to' : 'from'} Postgres (${length})`, { buffered: true }, async (t) => {
      const own = await createTestDatabase(t)
      const proxy = await startTcpProxy(t, own)
      const freeze = {
        begin () { proxy.set(direction, 'stall') },
        end () { proxy.set(direction, 'flow') } // what was held arrives now, also on connections that were given up
      }
      await recordUnderFreeze(t, freeze, length, { app: proxy.url, own })
    })
  }
}

t.test('the connections that are open carry no byte any more, and new ones are well', { buffered: true }, async (t) => {
  const own = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, own)
  const freeze = {
    begin () { proxy.stallOpen() },
    end () {
      proxy.set('toServer', 'flow')
      proxy.set('toClient', 'flow')
    }
  }
  await recordUnderFreeze(t, freeze, 'long', { app: proxy.url, own })
})
