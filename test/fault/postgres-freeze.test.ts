import t from 'tap'
import { recordUnderFreeze } from '../helper/freezing.js'
import { cannotFreezeAll, freezeAll, ownPostgres } from '../helper/servers.js'

t.test('Postgres is frozen with events in flight', { skip: cannotFreezeAll }, async (t) => {
  const server = await ownPostgres(t)
  for (const length of ['short', 'long', 'endless'] as const) {
    await t.test(length, async (t) => {
      let thaw = (): void => {}
      t.teardown(() => { thaw() })
      const freeze = {
        async begin () { thaw = await freezeAll(server) },
        end () { thaw() }
      }
      await recordUnderFreeze(t, freeze, length, { app: server.url, own: server.url })
    })
  }
})
