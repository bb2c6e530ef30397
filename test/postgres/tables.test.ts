import './start.cases.js'
import './failover.cases.js'
import './foreign-rows.cases.js'
import './database-habits.cases.js'
