import { once } from 'node:events'
import type { AddressInfo, Server } from 'node:net'

/** Has the server listen on a port of 127.0.0.1 that is free; resolves with it. */
export async function listenOnFreePort (server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port // it listens on TCP
}
