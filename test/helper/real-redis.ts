/**
 * Options of a test that a stand-in cannot run: js-redis-server has no ACL and no CLIENT KILL, and its pub/sub is not
 * what a claim about Redis may rest on. Wherever there is a redis-server or valkey-server, the test runs.
 */
export const NEEDS_REAL_REDIS: { skip: string | false } = {
  skip: process.env['TEST_REDIS_KIND'] === 'js-redis-server' && 'needs a redis-server, and there is none on the PATH'
}
