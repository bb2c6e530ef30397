/**
 * The app with the plugin, as it ships: what `npm run build` made of it. With `--against`, it loads the plugin of an
 * older revision, too. This file uses only names that both have. Where names have changed, it is the place to tell them
 * apart.
 */
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import { LISTEN, POOL_SIZE } from '../harness/app-settings.js'
import { createQuietLog } from '../harness/quiet-log.js'
import { serveRuntime } from '../harness/runtime.js'
import { EVENT_TYPE, keyOf, payloadOf, USER_HEADER, USER_ID } from '../harness/workload.js'

serveRuntime(async ({ databaseUrl, redisUrl, plugin, port = 0 }) => {
  // An older plugin may differ from this type, which is the present one's
  const { default: messageJournal } = await import(plugin) as typeof import('../../plugin/index.js')
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
