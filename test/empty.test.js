import t from 'tap'
t.test('x', async t => { t.pass() })
