import type pg from 'pg'

/**
 * Gives the database a clock that can be set, as an operator or NTP sets it: `now()` of every session that begins from now on is that
 * clock's. Called before the tables are made, so that their defaults go by it too. Returns what sets the clock by so many ms.
 */
export async function addClock (pool: pg.Pool): Promise<(byMs: number) => Promise<void>> {
  const { rows: [{ name }] } = await pool.query('select current_database() as name')
  await pool.query('create schema clock')
  await pool.query("create table clock.setting as select interval '0' as ahead")
  await pool.query("create function clock.now() returns timestamptz language sql stable as 'select pg_catalog.now() + ahead from clock.setting'")
  await pool.query(`alter database ${name} set search_path = public, clock, pg_catalog`)
  return async (byMs) => {
    await pool.query('update clock.setting set ahead = ahead + make_interval(secs => $1::float8 / 1000)', [byMs])
  }
}
