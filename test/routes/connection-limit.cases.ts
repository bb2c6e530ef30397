import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { createSlots } from '../../routes/connection-limit.js'
import { startClient } from '../helper/redis-client.js'

/** What Redis has counted of a user's streams, over all processes, once it has answered what it was asked so far. */
async function counted ({ redis }: Awaited<ReturnType<typeof startClient>>, user: string): Promise<string[]> {
  return Object.values(await redis.hgetall(`user:${user}:slots`)).map((field) => field.split(':')[0] ?? '')
}

test('tries that are refused at once leave nothing counted', async (t) => {
  const client = await startClient(t)
  const user = randomUUID()
  const [one, two] = [createSlots(client.redis, 1, client.log), createSlots(client.redis, 1, client.log)]
  const giveBack = await one.take(user)

  const tries = await Promise.allSettled([two.take(user), two.take(user), two.take(user)])

  t.strictSame(tries.map(({ status }) => status), ['rejected', 'rejected', 'rejected'])
  t.strictSame(await counted(client, user), ['1'], 'the one that is open')
  giveBack()
  t.strictSame(await counted(client, user), [])
  t.strictSame(client.lines, [])
})

test('a stream that ends while another try is being refused leaves nothing counted', async (t) => {
  const client = await startClient(t)
  const user = randomUUID()
  const slots = createSlots(client.redis, 1, client.log)
  const giveBack = await slots.take(user)

  const refused = slots.take(user)
  giveBack()

  await t.rejects(refused, { code: 'FST_JOURNAL_TOO_MANY_CONNECTIONS' })
  t.strictSame(await counted(client, user), [])
})
