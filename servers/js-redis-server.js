// Started by redis.ts in a process of its own, with the port as its argument. Plain JavaScript, so that it needs no loader.
import { Server } from 'node:net'
import { createRedisServer } from 'js-redis-server'

// The package has no option for the address and would listen on every interface
const listen = Server.prototype.listen
Server.prototype.listen = function (port) {
  return listen.call(this, port, '127.0.0.1')
}

await createRedisServer({ port: Number(process.argv[2]) })
console.log('Ready to accept connections')
