import { createServer } from 'node:net'
import t from 'tap'
import { freePort } from '../../servers/server-process.js'
import { listenOnFreePort } from '../helper/free-port.js'

t.test('a port that is taken is passed over', async (t) => {
  const server = createServer()
  t.teardown(() => { server.close() })
  const taken = await listenOnFreePort(server)
  const free = await freePort()
  const choices = [taken, taken, free]
  t.equal(await freePort(() => Number(choices.shift())), free)
})

t.test('when all are taken, the error of the last one says so', async (t) => {
  const server = createServer()
  t.teardown(() => { server.close() })
  const taken = await listenOnFreePort(server)
  await t.rejects(freePort(() => taken), { code: 'EADDRINUSE', port: taken })
})

t.test('a port is not one that an outgoing connection may get by itself', async (t) => {
  t.ok(await freePort() < 32_768)
})
