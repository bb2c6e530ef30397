/** The app with the plugin, as it ships: what `npm run build` made of it. */
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import { LISTEN, POOL_SIZE } from '../harness/app-settings.js'
import { createQuietLog } from '../harness/quiet-log.js'
import { serveRuntime } from '../harness/runtime.js'
import { EVENT_TYPE, keyOf, payloadOf, USER_HEADER, USER_ID } from '../harness/workload.js'

// Not by a static import: where nothing is built yet, there is nothing that the type check could find
const built = new URL('../../dist/plugin/index.js', import.meta.url).href
const { default: messageJournal } = await import(built) as typeof import('../../plugin/index.js') // what it was built from

serveRuntime(async ({ databaseUrl, redisUrl, port = 0 }) => {
  const { log, complaints } = createQuietLog()
  const app = Fastify({ loggerInstance: log, forceCloseConnections: true })
  await app.register(postgres, { connectionString: databaseUrl, max: POOL_SIZE })
  await app.register(redis, { url: redisUrl })
  await app.register(messageJournal, { prefix: '/api', identify: ({ headers }) => headers[USER_HEADER]?.toString() ?? USER_ID, maxConnectionsPerUser: 0 })
  const url = await app.listen({ ...LISTEN, port })

  return {
    url,
    complaints,
    async openWriter (messageId) {
      const message = await app.journal.openMessage({ userId: USER_ID, messageId })
      const key = keyOf(messageId)
      return async (n) => {
        if (!await message.record(EVENT_TYPE, payloadOf(key, n))) throw new Error(`event ${n} was not recorded`)
      }
    },
    openUserWriter (userId) {
      const key = keyOf(userId)
      return async (n) => {
        if (await app.journal.publishUserEvent(userId, EVENT_TYPE, payloadOf(key, n)) === null) throw new Error(`notification ${n} was not published`)
      }
    },
    close: async () => { await app.close() }
  }
})
