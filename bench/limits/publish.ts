/** What an event costs that is committed and then published, by `pg` and `ioredis` themselves. */
import pg from 'pg'
import { connectRedis } from '../harness/redis.js'
import { serveRuntime } from '../harness/runtime.js'
import { EVENT_TYPE, frameOf, keyOf, payloadOf, USER_ID } from '../harness/workload.js'

serveRuntime(async ({ databaseUrl, redisUrl }) => {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const { redis, close } = await connectRedis(redisUrl)

  return {
    url: '',
    async openWriter (messageId) {
      await client.query('insert into messages (message_id, user_id) values ($1, $2)', [messageId, USER_ID])
      const key = keyOf(messageId)
      return async (n) => {
        await client.query({
          name: 'insert',
          text: 'insert into message_events (message_id, sequence_no, event_type, payload) values ($1, $2, $3, $4)',
          values: [messageId, n, EVENT_TYPE, JSON.stringify(payloadOf(key, n))]
        })
        await redis.publish(messageId, frameOf('plain', key, n))
      }
    },
    async close () {
      await close()
      await client.end()
    }
  }
})
